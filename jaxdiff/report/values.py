"""Numbers with their uncertainty, as a report shows them."""

import math
from collections.abc import Sequence

from jaxdiff.analysis.estimate import Estimate
from jaxdiff.report.document import Cell, Table

NOTHING = "–"
"""What is not known."""

VAST = 1e6
"""An interval whose ends differ by more than this factor leaves nothing known."""


def shown(estimate: Estimate, form: str = "") -> str:
    """Value with its 95 % interval; a bound alone where it is worth no observation.

    - `form`: of each number, such as {:.2f}; three digits where none is given.

    An interval that says nothing, of no width or from 0 to infinity, is not shown.
    One wider than `VAST` is told by its width alone: its value would be believed.
    """
    value, (low, high) = estimate.value, estimate.interval
    if not math.isfinite(value):
        return f"> {_text(low, form)}" if 0 < low < math.inf else NOTHING
    if low == 0 and not estimate.n_effective >= 1:
        return f"< {_text(high, form)}" if math.isfinite(high) else NOTHING
    if not has_interval(estimate):
        return f"{_text(value, form)} (error not known)"
    if low > 0 and VAST < high / low < math.inf:
        orders = math.log10(high / low)
        return f"unknown by {orders:.0f} orders of magnitude"
    return f"{_text(value, form)} [{_text(low, form)}, {_text(high, form)}]"


def in_unit(estimate: Estimate, unit: str) -> str:
    """The same with its unit, in a sentence."""
    text = shown(estimate)
    return text if text.startswith("unknown") else f"{text} {unit}"


def _text(value: float, form: str) -> str:
    if value == 0 or math.isinf(value):
        return "∞" if value else "0"
    if form or not 0.01 <= abs(value) < 1e5:
        return (form or "{:.2e}").format(value)
    after = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, after):.{max(after, 0)}f}"


def has_interval(estimate: Estimate) -> bool:
    """Whether the interval has a width and excludes anything."""
    low, high = estimate.interval
    return low < high and (low > 0 or math.isfinite(high))


def shown_if_known(estimate: Estimate, form: str = "") -> str:
    """The same; nothing where only the value is known, and stands elsewhere."""
    known = has_interval(estimate) or not math.isfinite(estimate.value)
    return shown(estimate, form) if known else NOTHING


def p_value(value: float) -> str:
    """To two digits."""
    return f"{value:.2g}" if math.isfinite(value) else NOTHING


def filled(
    header: Sequence[Cell], rows: Sequence[Sequence[Cell]], numbers: bool = True
) -> Table:
    """A table without the columns in which nothing is known."""
    use = [k for k in range(len(header)) if not rows or any(r[k] != NOTHING for r in rows)]
    return Table([header[k] for k in use], [[r[k] for k in use] for r in rows], numbers)


def rounded(value: float) -> str:
    """A large number to two digits: 34000."""
    size = max(0, math.floor(math.log10(max(value, 1))) - 1)
    return f"{round(value, -size):.0f}"


def scatter(dispersion: float) -> str:
    """What an over-dispersion means for the intervals."""
    if not dispersion > 1:
        return (
            "Over-dispersion 1: replicas scatter no more than their numbers of hops "
            "explain, so errors are not widened."
        )
    return (
        f"Over-dispersion {dispersion:.2f}: the variance over replicas is {dispersion:.2f} "
        "times what their numbers of hops explain, so standard errors were multiplied by "
        f"√{dispersion:.2f} = {math.sqrt(dispersion):.2f}."
    )
