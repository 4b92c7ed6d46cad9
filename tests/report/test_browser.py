"""Reports of all kinds in a real browser, at the widths of a desk and of a telephone."""

import dataclasses

import browsing
import pytest
from test_lattice_report import study as lattice_study

from jaxdiff.analysis import load_series, summarize
from jaxdiff.analysis.checks import Check
from jaxdiff.report import write_lattice_report, write_report
from jaxdiff.report.compare import write_comparison
from jaxdiff.report.report import as_document

WIDTHS = (1200, 400)
TITLES = (
    "Li hops in LiF: report",
    "Failures",
    "Lattice over temperature",
    "Comparison of runs",
)


@pytest.fixture
def browser():
    found = browsing.browser()
    if found is None:
        pytest.skip("no Chromium: install it (Debian: apt-get install chromium)")
    return found


def failures(folder):
    """A report whose checks all failed, with long sentences, and every kind of event."""
    series = load_series(folder)
    study = summarize(series)
    made = [Check(f"check {k}", False, "seen " * 30, "advice " * 30) for k in range(12)]
    document = as_document(series, dataclasses.replace(study, checks=tuple(made)))
    (folder / "failures").mkdir()
    return dataclasses.replace(document, title=TITLES[1]).write(folder / "failures", "all")


@pytest.mark.slow
def test_pages_fit_and_say_nothing_on_the_console(browser, write_series, tmp_path):
    """First two figures at once, the rest folded; nothing to scroll sideways at 1200 px."""
    runs = [
        write_series(seed=k, replicas=2, positions=6, folder=tmp_path / f"run{k}")
        for k in range(2)
    ]
    made = [
        *(write_report(runs[0]), failures(runs[1])),
        write_lattice_report(lattice_study(), tmp_path / "lattice"),
        write_comparison(runs, tmp_path / "compared"),
    ]
    found, console = browsing.seen(browser, made, WIDTHS, tmp_path)
    assert console == []
    assert set(found) == {(title, width) for title in TITLES for width in WIDTHS}
    for (title, width), one in found.items():
        assert one["page"] == one["unfolded"] == width, title
        assert one["open"] == 0
        assert one["blank"] == 0
        assert len(one["bottoms"]) == 2
        assert one["height"] > 50  # of a table: what was folded can be read
        if width == 1200:
            assert one["wide"] == [], title
            assert max(one["bottoms"]) < 900, title


def test_the_browser_sees_what_it_has_to(browser, tmp_path):
    """A page that breaks every rule."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><title>bad</title><body><main><p style='width: 3000px'>x</p>"
        '<div class="wide" style="overflow-x: auto; width: 100px"><table><tr><td>'
        f"{'x' * 300}</td></tr></table></div><img src='nothing.png'>"
        "<script>nothing();</script></main></body>"
    )
    found, console = browsing.seen(browser, [page], [1200], tmp_path)
    assert found["bad", 1200]["page"] >= 3000
    assert len(found["bad", 1200]["wide"]) == 1
    assert found["bad", 1200]["blank"] == 1
    assert any("nothing is not defined" in line for line in console)
