"""Pages as a reader has them: their words alone, and what a browser makes of them."""

import html
import json
import re
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def words(page):
    """The text of an HTML page; a figure in it, which is random letters, is left out."""
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    return html.unescape(text)


def browser():
    """Path of a Chromium; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


REPORTS = """<script>addEventListener("load", () => {
  const root = document.documentElement, seen = {};
  seen.title = document.title;
  seen.inner = innerWidth;
  seen.page = root.scrollWidth;
  seen.open = document.querySelectorAll("details[open]").length;
  seen.bottoms = [...document.querySelectorAll("main > .beside img")].map(
    one => one.getBoundingClientRect().bottom);
  document.querySelectorAll("details").forEach(one => { one.open = true; });
  seen.unfolded = root.scrollWidth;
  seen.wide = [...document.querySelectorAll(".wide")].filter(
    one => one.scrollWidth > one.clientWidth).map(one => one.innerText.slice(0, 60));
  seen.blank = [...document.images].filter(one => !one.naturalWidth).length;
  seen.height = Math.max(0, ...[...document.querySelectorAll("table")].map(
    one => one.getBoundingClientRect().height));
  parent.postMessage(seen, "*");
});</script>"""

COLLECTS = """<!DOCTYPE html><title>all</title><body><script>
const all = [];
addEventListener("message", one => {
  all.push(one.data);
  document.body.dataset.seen = JSON.stringify(all);
});
</script>"""


def seen(path, pages, widths, folder):
    """What Chromium measures of pages at widths, px, by (page, width); its console's lines.

    All are frames of one page, which is opened once. Widths of the page and of what is in
    it are measured folded and unfolded.
    """
    frames = []
    for number, page in enumerate(pages):
        copy = folder / f"{number}.html"
        text = page.read_text(encoding="utf-8")
        assert "</body>" in text
        copy.write_text(text.replace("</body>", f"{REPORTS}</body>"), encoding="utf-8")
        for width in widths:
            frames.append(
                f'<iframe src="{copy.name}" width="{width}" height="900"></iframe>'
            )
    outer = folder / "all.html"
    outer.write_text(COLLECTS + "\n".join(frames), encoding="utf-8")
    command = [
        *(path, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"),
        *(f"--user-data-dir={folder / 'profile'}", outer.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stderr
    measured = json.loads(html.unescape(found[1]))
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return {(one["title"], one["inner"]): one for one in measured}, console
