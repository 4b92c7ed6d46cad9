"""What the help of every command says, and what the shell completes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from jaxdiff.cli import app
from jaxdiff.published import DEFAULT, FOUNDATIONS


def commands(group, path=()):
    """Every command with its name in words, groups too."""
    yield path, group
    for name, one in getattr(group, "commands", {}).items():
        yield from commands(one, (*path, name))


COMMANDS = dict(commands(get_command(app)))


def plain(text: str) -> str:
    """Words alone: without the frames around them, breaks of lines, and marks of code."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text.replace("`", "")).split())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_says_what_was_written(path, monkeypatch):
    """Brackets, braces and units are there: nothing is taken for markup."""
    monkeypatch.setenv("COLUMNS", "400")
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    shown = plain(result.output)
    command = COMMANDS[path]
    assert plain(command.help) in shown
    for parameter in command.params:
        assert parameter.help, f"{parameter.name} is not explained"
        assert plain(parameter.help) in shown


def completed(*words: str, folder: Path) -> list[str]:
    """What a shell is offered, in a process as it starts one."""
    environment = os.environ | {
        "_JAXDIFF_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("jaxdiff", *words)),
        "COMP_CWORD": str(len(words)),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    program = "import sys; sys.argv[0] = 'jaxdiff'; from jaxdiff.cli import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return done.stdout.split()


def test_the_shell_completes_names_of_models(tmp_path):
    names = [DEFAULT, *FOUNDATIONS]
    for words in (("model", "fetch"), ("model", "info"), ("init", "--model")):
        assert completed(*words, "mace-mh", folder=tmp_path) == ["mace-mh-0", "mace-mh-1"]
    assert completed("model", "info", "", folder=tmp_path) == names


def test_the_shell_completes_run_files(tmp_path):
    (tmp_path / "study").mkdir()
    for name in ("study/one.toml", "study/notes.txt", "straight.toml", "other.toml"):
        (tmp_path / name).write_text("")
    offered = completed("simulate", "st", folder=tmp_path)
    assert offered == ["straight.toml", "study/"]
    for command in (("finetune",), ("campaign", "plan")):
        assert completed(*command, "study/", folder=tmp_path) == ["study/one.toml"]
