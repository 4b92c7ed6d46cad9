"""Tasks of a folder started as the user asks: here, by Slurm, through Parsl."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from jaxdiff.io.shown import counted

if TYPE_CHECKING:
    from jaxdiff.runs.launchers import Outcome
    from jaxdiff.runs.task import Batch, Task


@dataclass(frozen=True)
class Launch:
    """The options, as they are given."""

    launcher: str
    workers: int | None
    retries: int
    parsl_config: Path | None
    accelerators: str | None = None


def launch(
    how: Launch, batch: "Batch", left: "Sequence[Task]", command: tuple[str, ...]
) -> "Outcome | None":
    """Run the tasks that are left; None where that is still to be done by hand.

    - `command`: of one task, before the name of its run file.
    """
    from jaxdiff.runs import launchers

    names = tuple(filter(None, (how.accelerators or "").split(",")))
    count = how.workers if how.workers is not None else max(1, len(names))
    if how.parsl_config is not None and how.launcher != "parsl":
        raise ValueError("--parsl-config is for --launcher parsl; add that.")
    if how.launcher == "slurm":
        _submit_by_hand(batch, left, command)
        return None
    if how.launcher == "local":
        return launchers.run_local(
            left,
            workers=count,
            accelerators=names,
            retries=how.retries,
            command=command,
            say=typer.echo,
        )
    from jaxdiff.runs import parsl_launcher

    return parsl_launcher.run_parsl(
        batch,
        left,
        workers=count,
        accelerators=names,
        retries=how.retries,
        config_file=how.parsl_config,
        command=command,
        say=typer.echo,
    )


def _submit_by_hand(
    batch: "Batch", left: "Sequence[Task]", command: tuple[str, ...]
) -> None:
    """Write the script, and say whether Slurm can run it as it is."""
    from jaxdiff.runs import slurm

    if not left:
        typer.echo("Nothing to submit.")
        return
    path = slurm.write_slurm(batch, left, command=(*command, *slurm.WAIT))
    submit = f"sbatch {shlex.quote(str(path))}"
    units = counted(len(left), "unit")
    try:
        why_not = slurm.refusal(path)
    except slurm.NoSlurm as why:
        typer.echo(
            f"{units} in {path}. Slurm could not be asked whether it can run "
            f"that ({why}). Edit its options, then: {submit}"
        )
        return
    if why_not is not None:
        raise ValueError(
            f"Slurm would never run {path} as it is ({why_not}); edit its options, and "
            "give this command again, which keeps them."
        )
    typer.echo(f"{units} in {path}, and Slurm can run it. Next: {submit}")
