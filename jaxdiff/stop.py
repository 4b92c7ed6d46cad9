"""How a program ends; asked to stop, a run finishes what it is computing and saves."""

import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)

FAILED, BAD_INPUT, DIVERGED = 1, 2, 3
"""Exit codes, beside 0 and, where a signal ended it, 128 and its number."""


class StopRequest:
    """Within it, the first SIGTERM or SIGINT is only noted; the second acts as always."""

    def __init__(self) -> None:
        """Nothing asked yet."""
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        """Take the signals over, where this is the main thread."""
        try:
            self._before = {s: signal.signal(s, self._note) for s in SIGNALS}
        except ValueError:  # another thread: it is asked by nobody
            self._before = {}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give them back."""
        self._give_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


class Stopped(Exception):
    """A run that was asked to stop and has saved itself."""

    def __init__(self, message: str, number: int) -> None:
        """With the signal that asked."""
        super().__init__(message)
        self.exit_code = 128 + number
