"""What the site needs beside Markdown: formulas as MathML, names of files outside docs."""

import html as entities
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).parents[1]
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_TAG = re.compile(r"<([A-Za-z][^\s/>]*)")
_TAGS = re.compile(
    "a|article|autoref|blockquote|br|code|del|div|em|h[1-6]|hr|img|li|ol|p|pre|small|span"
    "|strong|sub|sup|table|tbody|td|th|thead|tr|ul"
)
_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Links that leave the docs become names of files; one to nothing is an error."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def named(link: re.Match) -> str:
        text, target = link.groups()
        path = (folder / target).resolve()
        if path.is_relative_to(ROOT / "docs"):
            return link[0]
        if not path.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {target}: no such file.")
        return f"{text} (`{path.relative_to(ROOT)}`)"

    return _LINK.sub(named, markdown)


def on_page_content(html: str, *, page: Any, **_: Any) -> str:
    """Formulas are part of the page: no script, nothing to fetch.

    A mean written <x> would be taken for a tag and vanish: an error.
    """
    unknown = {tag for tag in _TAG.findall(html) if not _TAGS.fullmatch(tag)}
    if unknown:
        raise ValueError(f"{page.file.src_uri}: {sorted(unknown)} are no tags of HTML.")

    def formula(match: re.Match) -> str:
        display = "block" if match[1] == "div" else "inline"
        return convert(entities.unescape(match[2]), display=display)

    return _FORMULA.sub(formula, html)
