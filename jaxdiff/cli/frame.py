"""What all commands share: arithmetic, how errors are told, exit codes, being stopped."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from jaxdiff.cli.plain import message
from jaxdiff.io.shown import visible
from jaxdiff.stop import BAD_INPUT, DIVERGED, Stopped

Given = ParamSpec("Given")
Found = TypeVar("Found")


def command(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """A command whose errors that the user can mend are told in a sentence.

    Exit codes: 2 bad input, 3 diverged, 128 and the signal where it was stopped.
    """

    @functools.wraps(function)
    def framed(*given: Given.args, **named: Given.kwargs) -> Found:
        try:
            return function(*given, **named)
        except (typer.Exit, KeyboardInterrupt):
            raise
        except Stopped as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(error.exit_code) from None
        except FloatingPointError as error:
            typer.echo(f"diverged: {error}", err=True)
            raise typer.Exit(DIVERGED) from None
        except _of_the_user() as error:
            typer.echo(f"error: {_sentence(error)}", err=True)
            raise typer.Exit(BAD_INPUT) from None

    return framed


def computing(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """A command that computes: in 64 bits where it says so, products in full precision."""

    @command
    @functools.wraps(function)
    def exact(*given: Given.args, **named: Given.kwargs) -> Found:
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_default_matmul_precision", "highest")
        return function(*given, **named)

    return exact


def _of_the_user() -> tuple[type[Exception], ...]:
    """Errors of what was given; with them comes JAX, so only once there is one."""
    from jaxdiff.checkpoints import CheckpointError
    from jaxdiff.runs.memory import OutOfMemory

    return ValueError, OSError, CheckpointError, OutOfMemory


def _sentence(error: Exception) -> str:
    """On one line; of a run file a line for each fault."""
    from jaxdiff.io.config import RunFileError

    if isinstance(error, RunFileError):
        return message(error)
    return visible(" ".join(str(error).split()))
