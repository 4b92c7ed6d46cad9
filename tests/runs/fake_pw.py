"""A program in place of pw.x: it prints an output that the real one once wrote."""

import os
import stat
from pathlib import Path

RUN_FILE = """[dft]
template = "pw.in"
pseudopotential_folder = "."
pseudopotentials = {{ Li = "Li.upf", F = "F.upf" }}
command = "{command}"

[output]
directory = "{directory}"
"""
DATA = Path(__file__).parents[1] / "data/espresso"

SCRIPT = """#!/bin/sh
# in the folder of a frame; told what to do by a file of its name beside the labels
told="{folder}/told-$(basename "$PWD")"
echo $$ >> "{folder}/starts-$(basename "$PWD")"
what=converged
[ -f "$told" ] && what=$(cat "$told")
case "$what" in
  hold) while [ "$(cat "$told")" = hold ]; do sleep 0.1; done; what=converged ;;
  die) echo "no memory" >&2; exit 9 ;;
esac
cat "{data}/$what.out"
"""


class FakePw:
    """The script, and what it is told and has done, by number of the frame."""

    def __init__(self, folder: Path) -> None:
        """Written into a folder of its own."""
        self.folder = folder
        folder.mkdir()
        self.path = folder / "pw.x"
        self.path.write_text(SCRIPT.format(folder=folder, data=DATA))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)

    def tell(self, number: int, what: str) -> None:
        """Do this next time: die, hold until told otherwise, or the name of an output."""
        (self.folder / f"told-{number:04d}").write_text(what)

    def starts(self, number: int) -> list[int]:
        """Process numbers of all its starts for a frame."""
        path = self.folder / f"starts-{number:04d}"
        return [int(line) for line in path.read_text().split()] if path.is_file() else []

    def is_alive(self, number: int) -> bool:
        """Whether the last of them still runs."""
        try:
            os.kill(self.starts(number)[-1], 0)
        except ProcessLookupError:
            return False
        return True
