"""Text of files in the terminal as it stands: no markup, nothing that moves the cursor."""

from typing import TYPE_CHECKING, Any

from jaxdiff.io.shown import visible

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """A console that takes nothing in a text for markup."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def cells(*texts: Any) -> list[str]:
    """Cells of a table from what a file says."""
    return [visible(str(text)) for text in texts]


def message(error: Exception) -> str:
    """An error, of which the lines stay lines."""
    return "\n".join(map(visible, str(error).splitlines()))
