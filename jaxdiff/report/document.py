"""A report as blocks, written as Markdown and as one self-contained HTML page.

What stands before the first heading is seen at once; each section after it is folded.
"""

import base64
import dataclasses
import functools
import html
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdiff.io import durable
from jaxdiff.io.shown import visible
from jaxdiff.report.figures.files import as_bytes, figure_of, save
from jaxdiff.report.figures.style import ONE_COLUMN


@dataclasses.dataclass(frozen=True)
class Mark:
    """A cell: passed, failed, or None for not made; told apart by sign, word and colour."""

    passed: bool | None

    @property
    def sign(self) -> str:
        """To see at a glance."""
        return {True: "✓", False: "✗", None: "○"}[self.passed]

    @property
    def word(self) -> str:
        """To read."""
        return {True: "passed", False: "failed", None: "not made"}[self.passed]


Cell = str | int | Mark


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
    """A figure with its caption; `name` of its files, without suffix."""

    name: str
    caption: str
    drawn: Axes | Figure

    @functools.cached_property
    def png(self) -> bytes:
        """As it stands in the page."""
        return as_bytes(self.drawn)

    @property
    def is_narrow(self) -> bool:
        """Whether two have place side by side."""
        return figure_of(self.drawn).get_figwidth() <= ONE_COLUMN


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
        """Write NAME.html, NAME.md and the figures; the path of the first.

        Into figures/ go PNG, PDF, SVG and the numbers of each figure as CSV.
        """
        figures = folder / "figures"
        figures.mkdir(exist_ok=True)
        for block in self.blocks:
            if isinstance(block, Picture):
                save(block.drawn, figures / block.name, png=block.png)
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
        first, *sections = _sections(self.blocks)
        body = "\n".join([_part(first), *map(_folded, sections)])
        title = html.escape(_code(self.title))
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
        )


def _sections(blocks: Sequence[Block]) -> list[list[Block]]:
    """Blocks before the first heading, then those of each section with its heading."""
    found: list[list[Block]] = [[]]
    for block in blocks:
        if isinstance(block, Heading):
            found.append([])
        found[-1].append(block)
    return found


def _folded(section: Sequence[Block]) -> str:
    heading, *blocks = section
    return f"<details><summary>{_html(heading)}</summary>\n{_part(blocks)}\n</details>"


def _part(blocks: Sequence[Block]) -> str:
    """Blocks one below the other; narrow figures that follow one another side by side."""
    return "\n".join(_rows(blocks))


def _rows(blocks: Sequence[Block]) -> Iterator[str]:
    def beside(block: Block) -> bool:
        return isinstance(block, Picture) and block.is_narrow

    for together, group in itertools.groupby(blocks, beside):
        body = "\n".join(map(_html, group))
        yield f'<div class="beside">\n{body}\n</div>' if together else body


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
    texts = [_cell(cell).replace("\n", " ").replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(texts) + " |"


def _cell(cell: Cell) -> str:
    if isinstance(cell, Mark):
        word = f"**{cell.word}**" if cell.passed is False else cell.word
        return f"{cell.sign} {word}"
    return _plain(str(cell))


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
        case Picture(name, caption, _):
            data = base64.b64encode(block.png).decode("ascii")
            text = html.escape(_code(caption))
            return (
                f'<figure id="{html.escape(name)}"><img alt="{text}" '
                f'src="data:image/png;base64,{data}"><figcaption>{text}</figcaption>'
                "</figure>"
            )
        case Code(text, _):
            return f"<pre>{html.escape(_code(text))}</pre>"


def _inline(cell: Cell) -> str:
    if isinstance(cell, Mark):
        kind = cell.word.replace(" ", "-")
        return f'<span class="{kind}">{cell.sign}\u00a0{cell.word}</span>'
    text = html.escape("\n".join(map(visible, str(cell).splitlines())))
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)


_STYLE = """
body { margin: 0; background: #fff; color: #1a1a1a;
  font: 16px/1.45 system-ui, "DejaVu Sans", Arial, sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: .6rem 1.5rem 3rem; }
h1 { font-size: 1.45rem; margin: .5rem 0; }
h2 { display: inline; font-size: 1.1rem; }
p { max-width: 62rem; margin: .6rem 0; overflow-wrap: anywhere; }
.verdict { font-size: 1.05rem; background: #eef4f9; border-left: 5px solid #0072b2;
  padding: .5rem .9rem; max-width: none; }
details { border-top: 1px solid #ccc; }
summary { cursor: pointer; padding: .55rem 0; }
details[open] { padding-bottom: .8rem; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .8rem; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top; }
th { border-bottom: 2px solid #888; }
.numbers td { white-space: nowrap; }
.numbers th:not(:first-child), .numbers td:not(:first-child) { text-align: right; }
.passed, .failed, .not-made { white-space: nowrap; padding: 0 .4rem; }
.passed { color: #00543d; background: #e0f3ec; }
.failed { color: #fff; background: #b34700; font-weight: bold; }
.not-made { color: #555; }
.beside { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1.5rem; }
figure { margin: .8rem 0; min-width: 0; } figure img { max-width: 100%; height: auto; }
.beside img { width: 100%; }
figcaption { font-size: .85rem; color: #444; }
pre { background: #f5f5f5; padding: .8rem; font-size: .75rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
@media (max-width: 700px) { main { padding: .4rem .8rem 2rem; }
  .beside { grid-template-columns: 1fr; } h1 { font-size: 1.2rem; } }
@media print { body { font-size: 10pt; } main { max-width: none; padding: 0; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .wide { overflow: visible; } table { font-size: 6.5pt; }
  th, td { padding: .1rem .25rem; } summary { break-after: avoid; }
  figure, tr { break-inside: avoid; } figure img { max-height: 20cm; } }
"""
