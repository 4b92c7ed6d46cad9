"""Progress of a run on the terminal."""

from collections.abc import Callable
from typing import Any

Progress = Callable[[str, float, float, int], None]
"""(phase, fraction of it, ns/day of all replicas together, changes of site so far)."""


class progress_bar:
    """A progress bar that follows a run; nothing where there is no terminal."""

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description:>13}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %  {task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        self._rich = Bar(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, Any] = {}
        self._rich.start()
        return self._show

    def __exit__(self, *error: object) -> None:
        self._rich.stop()

    def _show(self, phase: str, fraction: float, ns_per_day: float, changes: int) -> None:
        speed = f"{ns_per_day:.3g} ns/day  {changes} site changes"
        if phase not in self._tasks:
            self._tasks[phase] = self._rich.add_task(phase, total=1.0, speed=speed)
        self._rich.update(self._tasks[phase], completed=fraction, speed=speed)
