"""What the site adds to Markdown: formulas, names of files, and no silent loss."""

import importlib.util
import types
from pathlib import Path

import pytest

pytest.importorskip("latex2mathml", reason="pip install '.[docs]'")
HOOKS = Path(__file__).parents[2] / "docs" / "site_hooks.py"


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", HOOKS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name):
    return types.SimpleNamespace(file=types.SimpleNamespace(src_uri=name))


def test_links_out_of_the_docs_become_names_of_files(hooks):
    text = "[a run](../../simulate/li2o.toml), [hops](../hops.md#estimators)"
    found = hooks.on_page_markdown(text, page=page("tutorials/one.md"))
    assert found == "a run (`simulate/li2o.toml`), [hops](../hops.md#estimators)"
    with pytest.raises(FileNotFoundError, match="one.md links to ../none.json"):
        hooks.on_page_markdown("[x](../none.json)", page=page("one.md"))


def test_formulas_are_part_of_the_page(hooks):
    html = r'<div class="arithmatex">\[ D = a^2 &lt; 1 \]</div>'
    found = hooks.on_page_content(html, page=page("one.md"))
    assert found.startswith("<math")
    assert "<msup><mi>a</mi><mn>2</mn></msup>" in found
    assert "arithmatex" not in found


def test_a_mean_that_would_vanish_is_an_error(hooks):
    with pytest.raises(ValueError, match=r"one.md: \['l²'\] are no tags"):
        hooks.on_page_content("<p>D = <l²> f / 6</p>", page=page("one.md"))
