"""What all commands share: how errors are told, and with which exit code they end."""

import inspect
import signal

import jax
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from jaxdiff.checkpoints import CheckpointError
from jaxdiff.cli import app
from jaxdiff.cli.frame import command, computing
from jaxdiff.io.runfile import RunFileError
from jaxdiff.runs.memory import OutOfMemory
from jaxdiff.stop import Stopped


def called(function, *arguments):
    own = typer.Typer()
    own.command()(function)
    return CliRunner().invoke(own, arguments)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ValueError("a\n  b"), 2, "error: a b\n"),
        (OSError("no room"), 2, "error: no room\n"),
        (CheckpointError("no model"), 2, "error: no model\n"),
        (OutOfMemory("too little"), 2, "error: too little\n"),
        (RunFileError("one.\ntwo."), 2, "error: one.\ntwo.\n"),  # a line for each fault
        (FloatingPointError("the loss is nan"), 3, "diverged: the loss is nan\n"),
        (Stopped("saved", signal.SIGTERM), 143, "saved\n"),
        (typer.Exit(1), 1, ""),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_code(error, code, told):
    @command
    def fails() -> None:
        raise error

    result = called(fails)
    assert (result.exit_code, result.stderr, result.stdout) == (code, told, "")


def test_a_fault_of_the_program_is_told_as_one():
    @command
    def fails() -> None:
        raise AssertionError("ours")

    assert isinstance(called(fails).exception, AssertionError)


def test_options_and_help_are_those_of_the_function():
    @command
    def adds(one: int, other: int = 2) -> None:
        """Add two numbers."""
        typer.echo(one + other)

    assert called(adds, "1", "--other", "4").stdout == "5\n"
    assert "Add two numbers." in called(adds, "--help").stdout


def test_a_command_that_computes_sets_the_precision():
    names = "jax_enable_x64", "jax_default_matmul_precision"
    before = [getattr(jax.config, name) for name in names]

    @computing
    def shows() -> None:
        typer.echo([getattr(jax.config, name) for name in names])

    try:
        for name, value in zip(names, (False, None), strict=True):
            jax.config.update(name, value)
        assert called(shows).stdout == "[True, 'highest']\n"
    finally:
        for name, value in zip(names, before, strict=True):
            jax.config.update(name, value)


def test_every_command_is_in_the_frame():
    group = get_command(app)
    nested = [c for c in group.commands.values() if hasattr(c, "commands")]
    every = [c for g in (group, *nested) for c in g.commands.values() if c not in nested]
    assert len(every) > 15
    for one in every:
        source = inspect.getsource(inspect.unwrap(one.callback))  # with its decorators
        assert "@command\n" in source or "@computing\n" in source, one.name
