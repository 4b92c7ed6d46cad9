"""Commands of a page of Markdown as a reader copies them, and what it says they print."""

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(
    r"^```(sh|python)\n(.*?)^```$(?:\n\n```(text|log)\n(.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_NUMBER = re.compile(r"[-+−]?\d[\d.,:e+−-]*")
_LOG = re.compile(r"[EW]\d{4} ")  # of XLA, about programs that were compiled before
LEFT_OUT = "…"
"""A line of the page that stands for any lines."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A block of commands, and the lines of the block below it that must be printed again.

    Those of a block ```text must. A ```log is of dynamics, which rounds otherwise on other
    machines, so that counts and the sentences about them may differ.
    """

    language: str
    commands: str
    printed: tuple[str, ...]


def steps(text: str) -> Iterator[Step]:
    """Those of a page, in its order."""
    for language, commands, kind, printed in _BLOCK.findall(text):
        again = printed.splitlines() if kind == "text" else ()
        yield Step(language, commands, tuple(again))


def run(step: Step, folder: Path) -> str:
    """What it prints, in a folder with what a clone has; a failing command is an error."""
    for name in ("simulate", "training"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    shell = ["bash", "-e", "-o", "pipefail", "-c"] if step.language == "sh" else []
    command = [*(shell or [sys.executable, "-c"]), step.commands]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{step.commands}ended with {done.returncode}:\n{done.stdout}")
    lines = (line.rstrip() for line in done.stdout.splitlines())
    return "".join(f"{line}\n" for line in lines if not _LOG.match(line))


def missing(step: Step, output: str) -> list[str]:
    """Lines of the page that were not printed, whatever the numbers in them are."""
    found = {_words(line) for line in output.splitlines()}
    return [p for p in step.printed if p != LEFT_OUT and _words(p) not in found]


def _words(line: str) -> str:
    return " ".join(_NUMBER.sub("#", line).split())


def record(page: Path, folder: Path) -> None:
    """Run a page, and put what it prints into it, but where lines are left out."""
    text = page.read_text(encoding="utf-8")

    def printed(block: re.Match) -> str:
        output = run(Step(block[1], block[2], ()), folder)
        if block[4] is None or LEFT_OUT in block[4].splitlines():
            return block[0]
        return f"```{block[1]}\n{block[2]}```\n\n```{block[3]}\n{output.rstrip()}\n```"

    page.write_text(_BLOCK.sub(printed, text), encoding="utf-8")


if __name__ == "__main__":  # pages.py PAGE FOLDER
    record(Path(sys.argv[1]), Path(sys.argv[2]))
