"""The published numbers of DFT-D3: references of elements, damping of functionals.

They are data, with their source in `jaxdiff/data/dftd3.md`; in eV, Å here.
"""

import functools
import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Any, NamedTuple

import ase.data
import numpy as np
from jaxtyping import Bool, Float

from jaxdiff.units import BOHR, HARTREE

_COVALENT_SCALE = 4 / 3


class Damping(NamedTuple):
    """Parameters of Becke–Johnson damping; `a2` in Å, the others without a unit."""

    s6: float
    s8: float
    a1: float
    a2: float


class References(NamedTuple):
    """What DFT-D3 knows of some elements, and of their R reference systems together.

    - `coordination` [R]; `belongs` [elements, R]: whose reference it is.
    - `c6` [R, R], eV Å^6, of pairs of references.
    - `covalent_radius` [elements], Å, by which coordination is counted.
    - `moment` [elements], Å: the C8 of a pair is its C6 times three times those of both.
    - `vdw_radius` [elements, elements], Å, of pairs: of the three-body term alone.
    """

    coordination: Float[np.ndarray, " references"]
    belongs: Bool[np.ndarray, "elements references"]
    c6: Float[np.ndarray, "references references"]
    covalent_radius: Float[np.ndarray, " elements"]
    moment: Float[np.ndarray, " elements"]
    vdw_radius: Float[np.ndarray, "elements elements"]


def references(atomic_numbers: Sequence[int]) -> References:
    """Of these elements, in this order; ValueError for one that upstream has not."""
    table = _tables()
    last = len(table["moment"])
    if unknown := sorted({int(z) for z in atomic_numbers if not 1 <= z <= last}):
        names = ", ".join(ase.data.chemical_symbols[z] for z in unknown)
        raise ValueError(
            f"DFT-D3 has no references for {names}; it knows the elements from H to "
            f"{ase.data.chemical_symbols[last]}."
        )
    row = np.asarray(atomic_numbers, int) - 1
    belongs = table["atomic_number"][None] == row[:, None] + 1
    chosen = np.flatnonzero(belongs.any(axis=0))
    c6 = _square(table["c6_1e4"])[np.ix_(chosen, chosen)]
    return References(
        coordination=table["coordination_1e4"][chosen] / 1e4,
        belongs=belongs[:, chosen],
        c6=c6 / 1e4 * HARTREE * BOHR**6,
        covalent_radius=_COVALENT_SCALE * table["covalent_radius_1e2"][row] / 1e2,
        moment=table["moment"][row] * BOHR,
        vdw_radius=_square(table["vdw_radius_1e4"])[np.ix_(row, row)] / 1e4,
    )


def functionals() -> tuple[str, ...]:
    """Names of those that have damping parameters."""
    return tuple(_damping()["damping"])


def damping_of(functional: str) -> Damping:
    """Of a functional; capitals and hyphens do not count, as in "B3-LYP".

    Raises ValueError, with the names that are known, for another one.
    """
    known, also = (_damping()[key] for key in ("damping", "alias"))
    plain = {_plain(name): name for name in (*known, *also)}
    if _plain(functional) not in plain:
        raise ValueError(
            f"{functional!r} has no parameters of Becke-Johnson damping; give one of "
            f"{', '.join(known)}."
        )
    name = plain[_plain(functional)]
    row = known[also.get(name, name)]
    return Damping(row["s6"], row["s8"], row["a1"], row["a2"] * BOHR)


def _plain(name: str) -> str:
    return name.lower().replace("-", "")


def _square(triangle: np.ndarray) -> Float[np.ndarray, "n n"]:
    """A symmetric matrix from the rows of its upper triangle."""
    n = int(np.sqrt(2 * len(triangle)))
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n)] = triangle
    return np.maximum(matrix, matrix.T)


@functools.cache
def _tables() -> dict[str, np.ndarray]:
    with resources.files("jaxdiff").joinpath("data/dftd3.npz").open("rb") as file:
        return dict(np.load(file))


@functools.cache
def _damping() -> dict[str, dict[str, Any]]:
    text = resources.files("jaxdiff").joinpath("data/d3bj.toml").read_text("utf-8")
    return tomllib.loads(text)
