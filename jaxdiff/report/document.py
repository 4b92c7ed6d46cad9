"""A report as blocks, written as Markdown and as one self-contained HTML page."""

import base64
import dataclasses
import html
import re
from collections.abc import Sequence
from pathlib import Path

from jaxdiff.io import durable
from jaxdiff.io.shown import visible

Cell = str | int


@dataclasses.dataclass(frozen=True)
class Heading:
    """A section."""

    text: str


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph; **bold** is understood. `verdict`: set apart, for the first one."""

    text: str
    verdict: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells under a header; `numbers`: all but the first column to the right."""

    header: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    numbers: bool = True


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure as PNG with its caption; `name` without suffix."""

    name: str
    caption: str
    png: bytes


@dataclasses.dataclass(frozen=True)
class Code:
    """Text to be shown as it is."""

    text: str
    language: str


Block = Heading | Text | Table | Picture | Code


def spoken(blocks: Sequence[Block]) -> list[str]:
    """The paragraphs of blocks as plain text."""
    return [b.text.replace("**", "") for b in blocks if isinstance(b, Text)]


@dataclasses.dataclass(frozen=True)
class Document:
    """A title and blocks."""

    title: str
    blocks: Sequence[Block]

    def write(self, folder: Path, name: str) -> Path:
        """Write NAME.html, NAME.md and figures/*.png; the path of the first."""
        figures = folder / "figures"
        figures.mkdir(exist_ok=True)
        for block in self.blocks:
            if isinstance(block, Picture):
                durable.write_bytes(figures / f"{block.name}.png", block.png)
        durable.write_text(folder / f"{name}.md", self.markdown())
        target = folder / f"{name}.html"
        durable.write_text(target, self.html())
        return target

    def markdown(self) -> str:
        """The text, with links to figures/."""
        parts = [f"# {_plain(self.title)}", *(_markdown(block) for block in self.blocks)]
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """One page; nothing is loaded from elsewhere and nothing runs."""
        body = "\n".join(_html(block) for block in self.blocks)
        title = html.escape(_code(self.title))
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
        )


def _plain(text: str) -> str:
    """Text that Markdown shows as it is but for **bold**: no HTML, no links, no code."""
    lines = "\n".join(map(visible, text.splitlines()))
    lines = re.sub("<(?=[A-Za-z/!?])", "&lt;", lines)  # of a tag, not of a comparison
    return lines.replace("](", "]\\(").replace("`", "\\`")


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_plain(text)}"
        case Text(text, _):
            return _plain(text)
        case Table(header, rows, numbers):
            first, other = ("---", "---:" if numbers else "---")
            rule = [first] + [other] * (len(header) - 1)
            return "\n".join(_line(cells) for cells in (header, rule, *rows))
        case Picture(name, caption, _):
            caption = _plain(caption)
            return f"![{caption}](figures/{name}.png)\n\n*{caption}*"
        case Code(text, language):
            inside = max(map(len, re.findall("`+", text)), default=0)
            fence = "`" * max(3, inside + 1)
            return f"{fence}{language}\n{_code(text)}\n{fence}"


def _line(cells: Sequence[Cell]) -> str:
    texts = [_plain(str(cell)).replace("\n", " ").replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(texts) + " |"


def _code(text: str) -> str:
    return "\n".join(map(visible, text.strip().splitlines()))


def _html(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{html.escape(_code(text))}</h2>"
        case Text(text, verdict):
            kind = ' class="verdict"' if verdict else ""
            return f"<p{kind}>{_inline(text)}</p>"
        case Table(header, rows, numbers):
            kind = ' class="numbers"' if numbers else ""
            head = "".join(f"<th>{_inline(cell)}</th>" for cell in header)
            body = "\n".join(
                "<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>"
                for row in rows
            )
            return (
                f'<div class="wide"><table{kind}>\n<thead><tr>{head}</tr></thead>\n'
                f"<tbody>\n{body}\n</tbody></table></div>"
            )
        case Picture(name, caption, png):
            data = base64.b64encode(png).decode("ascii")
            text = html.escape(_code(caption))
            return (
                f'<figure id="{html.escape(name)}"><img alt="{text}" '
                f'src="data:image/png;base64,{data}"><figcaption>{text}</figcaption>'
                "</figure>"
            )
        case Code(text, _):
            return f"<pre>{html.escape(_code(text))}</pre>"


def _inline(cell: Cell) -> str:
    text = html.escape("\n".join(map(visible, str(cell).splitlines())))
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)


_STYLE = """
body { margin: 0; background: #fff; color: #1a1a1a;
  font: 16px/1.5 system-ui, "DejaVu Sans", Arial, sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem;
  border-bottom: 1px solid #ccc; }
.verdict { font-size: 1.1rem; background: #eef4f9; border-left: 5px solid #0072b2;
  padding: .7rem 1rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .82rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top; }
th { border-bottom: 2px solid #888; }
.numbers td { white-space: nowrap; }
.numbers th:not(:first-child), .numbers td:not(:first-child) { text-align: right; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; }
figcaption { font-size: .85rem; color: #444; }
pre { background: #f5f5f5; padding: .8rem; font-size: .75rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
@media print { body { font-size: 10pt; } main { max-width: none; padding: 0; }
  .wide { overflow: visible; } table { font-size: 6.5pt; }
  th, td { padding: .1rem .25rem; } h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; } figure img { max-height: 20cm; } }
"""
