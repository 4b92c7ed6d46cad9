"""Jumps of defects: the one table of a crystal has one of these for each kind of jump.

Lengths are in units of the network, as in `lattice.network`.
"""

import dataclasses
import math
from collections.abc import Sequence

INTERSTITIAL, VACANCY = 1, -1

Vector = tuple[float, float, float]

OTHER_CLASSES = ("concerted", "exchange", "frenkel_creation", "recombination")
"""Classes of events beside the jumps of a network. Concerted: any other hop, of more atoms,
or of two jumps merged by the dwell. Exchange: mobile atoms changed places and no defect
moved (rings). The last two make and unmake a vacancy with an interstitial."""

SAME = 1e-6
"""Relative: squared lengths so near to each other are equal."""


@dataclasses.dataclass(frozen=True)
class Jump:
    """One kind of jump of a defect to a neighbouring site.

    - `sign`: of an interstitial (+1) or a vacancy (-1). `ends`: kinds of the two sites.
    - `steps`, network units: of each atom that moves, in one of the equivalent ways; each
      takes the place that the next one leaves.
    - `multiplicity`: how many such ways lead away from a site.
    - `tracer_correlation`: correlation factor of the mobile atoms where this jump alone is
      at work and the defect has no memory.
    """

    name: str
    sign: int
    ends: tuple[str, str]
    steps: tuple[Vector, ...]
    multiplicity: int
    tracer_correlation: float

    @property
    def n_moved(self) -> int:
        """Atoms that move."""
        return len(self.steps)

    @property
    def squared_length(self) -> float:
        """Square of what the defect moves by, network units."""
        return squared(total(self.steps))

    @property
    def length(self) -> float:
        """How far the defect goes, network units."""
        return math.sqrt(self.squared_length)

    @property
    def squared_steps(self) -> float:
        """Squared displacements summed over the atoms that move, network units."""
        return sum(squared(step) for step in self.steps)


def total(steps: Sequence[Vector]) -> Vector:
    """Their sum."""
    x, y, z = (sum(component) for component in zip((0.0, 0.0, 0.0), *steps, strict=True))
    return x, y, z


def difference(a: Vector, b: Vector) -> Vector:
    """a - b."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def squared(v: Vector) -> float:
    """Its squared length."""
    return v[0] ** 2 + v[1] ** 2 + v[2] ** 2
