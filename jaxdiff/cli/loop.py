"""`jaxdiff loop`: sample, select, label, train, until the models agree."""

from pathlib import Path

from jaxdiff.cli import plain
from jaxdiff.cli.frame import computing
from jaxdiff.cli.options import Changes, RunToml
from jaxdiff.cli.progress import progress_bar
from jaxdiff.io.shown import visible


@computing
def loop(
    run_file: RunToml,
    changes: Changes = None,
) -> None:
    """Sample with the model, label what it does not know by DFT, train, and again.

    Goes on where it was cut off; a stage that was finished is not done again.
    """
    from jaxdiff.devices import use_every_core

    use_every_core()

    from jaxdiff.io import loopfile
    from jaxdiff.runs.loop import TABLE, TABLE_TEXT, Show, run_loop

    run = loopfile.load(run_file, changes or [])
    console = plain.console()

    def say(text: str) -> None:
        console.print(visible(text), soft_wrap=True)

    def table(text: str) -> None:
        for line in text.splitlines():
            say(line)

    with progress_bar() as progress:
        run_loop(run, Show(say, progress, table))
    for name in (TABLE, TABLE_TEXT):
        say(str(Path(run.output.directory) / name))
