"""Has training made the model better? Errors before and after, on frames not trained on."""

import math
from collections.abc import Collection, Sequence

from jaxdiff.finetune.errors import ErrorRow

_KINDS = {
    "energy": ("energy_rmse", "meV/atom"),
    "forces": ("forces_rmse", "meV/Å"),
    "stress": ("stress_rmse", "meV/Å^3"),
}
_SAME = 0.01  # relative; what differs less is not called better or worse


def verdict(
    before: Sequence[ErrorRow], after: Sequence[ErrorRow], held_out: Collection[str]
) -> list[str]:
    """Sentences, what has become worse first.

    - `held_out`: names of the sets that were not trained on.
    """
    start = {row.name: row for row in before}
    changes: dict[str, list[str]] = {"Worse": [], "Better": [], "Unchanged": []}
    for row in after:
        if row.name in held_out and row.name in start:
            for kind, (name, unit) in _KINDS.items():
                old, new = getattr(start[row.name], name), getattr(row, name)
                if not math.isnan(old):
                    text = f"{kind} of {row.name} {old:.2f} → {new:.2f} {unit}"
                    changes[_direction(old, new)].append(text)
    return [f"{word}: {', '.join(found)}." for word, found in changes.items() if found]


def _direction(old: float, new: float) -> str:
    if abs(new - old) <= _SAME * old:
        return "Unchanged"
    return "Better" if new < old else "Worse"
