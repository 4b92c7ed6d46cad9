"""What users and files say is shown as it stands, in the terminal, Markdown and HTML."""

import pytest

from jaxdiff.cli import plain
from jaxdiff.io.shown import shown, visible
from jaxdiff.report.document import Code, Document, Heading, Table, Text

HOSTILE = "a [/red] <script>alert(1)</script> [x](http://evil) `b` \x1b[2J\u202e"


@pytest.fixture
def document():
    blocks = (
        Heading(HOSTILE),
        Text(HOSTILE),
        Table(("model",), [(HOSTILE,)], False),
        Code("```\n</pre>\x1b[2J", "toml"),
    )
    return Document(HOSTILE, blocks)


def test_markdown_and_html_have_no_markup_of_others(document):
    for text in (document.markdown(), document.html()):
        assert "<script>" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert r"\x1b[2J\u202e" in text
        assert "[/red]" in text
    assert "](http" not in document.markdown()
    assert "````toml\n```\n</pre>\\x1b[2J\n````" in document.markdown()
    assert "&lt;/pre&gt;" in document.html()


def test_what_is_meant_stays(document):
    known = Document("t", (Text("**Ea** is < 0.3 eV, p < 0.05, Å³, 95 %"),))
    assert "**Ea** is < 0.3 eV, p < 0.05, Å³, 95 %" in known.markdown()
    assert "<strong>Ea</strong>" in known.html()


def test_the_terminal_shows_it_as_it_is():
    console = plain.console()
    with console.capture() as capture:
        console.print(visible(HOSTILE), soft_wrap=True)
    assert "[/red] <script>" in capture.get()
    assert r"\x1b[2J\u202e" in capture.get()
    assert plain.cells("[bold]", 3) == ["[bold]", "3"]
    assert plain.message(ValueError("one\ntwo\x07")) == "one\ntwo\\x07"


def test_long_texts_are_cut():
    assert len(shown("x" * 10**6)) < 110
