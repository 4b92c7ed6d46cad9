"""Rock-salt LiF with so many point defects, on sites drawn for each replica.

Sites are integers, a/4 (a: edge of the conventional cell), with a cation at the origin, as
in `lattice.rock_salt`. Distances between defects are those of the nearest images, so they
come in shells; up to inversion all sites of a kind are equivalent, and the shells around
one are those around any.
"""

import dataclasses
import operator

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.system import FLUORINE, LITHIUM, System

LITHIUM_FLUORIDE_LATTICE = 4.083428
"""Edge of the conventional LiF cell, Å: PBE, Materials Project mp-1138."""

LEAST_LIKE = 8
"""Least squared distance of two interstitials or two vacancies, (a/4)^2: a/√2. It keeps
interstitials off neighbouring tetrahedral sites, a/2 apart."""

LEAST_UNLIKE = 27
"""Least squared distance of an interstitial from a vacancy, (a/4)^2: √27a/4, 5.3 Å in LiF.

The shells below are √3, √11 and √19, in a/4. With lif-compact and 3x3x3 cells, FIRE to
0.05 eV/Å takes √3 and √19 back to the perfect crystal (at √19 the interstitial has only to
push a lattice cation into the vacancy beside it); √11 and all from √27 on stay. Staying is
at rest: at 1000 K 2 of 3 pairs at √11 and 2 of 6 at √27 were gone within 1 ps. (Vacancies
are not in the training data of that model.)"""

_ATTEMPTS = 200  # of placing all defects one after another, before giving up
_SITES, _SHELLS = 1, 2  # purposes of random numbers

_FCC = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
_TO_ANION = np.array([2, 0, 0])
_MASS = {LITHIUM: 6.941, FLUORINE: 18.9984032}  # u

Repeats = int | tuple[int, int, int]


def rock_salt(
    supercell: Repeats,
    lattice_constant: float = LITHIUM_FLUORIDE_LATTICE,
    *,
    interstitials: int = 0,
    vacancies: int = 0,
    frenkel_pairs: int = 0,
    seed: int = 0,
    replica: int = 0,
) -> System:
    """Rock-salt LiF with point defects on the Li sublattice; not relaxed.

    Sites depend on `seed` and `replica`, not on how many replicas there are. The first is
    drawn from all. The distance of the second (of a vacancy from the first interstitial,
    where there are both) is that of a shell: replicas go through the allowed shells in
    turn, in an order drawn with `seed`. All others are drawn from what is left at
    `LEAST_LIKE` and `LEAST_UNLIKE`. One defect is equivalent on all sites: there the draw
    only tells replicas apart.

    Order of the atoms: lattice Li, interstitial Li, F; the same for the same counts.

    - `supercell`: conventional cells (8 atoms each) along x, y, z, or one number for all.
    - `lattice_constant`: edge of the conventional cell, Å.
    - `interstitials`: Li atoms added at tetrahedral (8c) sites.
    - `vacancies`: Li atoms taken away.
    - `frenkel_pairs`: Li atoms moved from the lattice to tetrahedral sites; the same as so
      many interstitials and as many vacancies.
    """
    repeats = _repeats(supercell)
    for name, value in (
        ("interstitials", interstitials),
        ("vacancies", vacancies),
        ("frenkel_pairs", frenkel_pairs),
        ("seed", seed),
        ("replica", replica),
    ):
        if operator.index(value) < 0:
            raise ValueError(f"{name}={value}; give a whole number, 0 or more.")
    added, removed = interstitials + frenkel_pairs, vacancies + frenkel_pairs
    sites = _sites(repeats)
    chosen = _place(sites, added, removed, seed, replica)
    if chosen is None:
        raise ValueError(
            f"interstitials={interstitials}, vacancies={vacancies} and frenkel_pairs="
            f"{frenkel_pairs} find no room in {_cells(repeats)} cells (replica {replica}): "
            f"like defects stay {_in_a(LEAST_LIKE)} a apart, an interstitial and a vacancy "
            f"{_in_a(LEAST_UNLIKE)} a; use a larger supercell or fewer defects."
        )
    taken = np.zeros(len(sites.site), dtype=bool)
    taken[chosen] = True
    lattice = sites.site[~sites.is_tetrahedral & ~taken]
    lithium = np.concatenate([lattice, sites.site[chosen[sites.is_tetrahedral[chosen]]]])
    return _system(repeats, lattice_constant, lithium)


def rock_salt_interstitial(
    supercell: Repeats,
    lattice_constant: float = LITHIUM_FLUORIDE_LATTICE,
    *,
    site: int = 0,
) -> System:
    """Rock-salt LiF with one more Li at a given tetrahedral site; not relaxed.

    Order of the atoms: lattice Li, the interstitial Li, F.

    - `supercell`, `lattice_constant`: as in `rock_salt`.
    - `site`: index into `tetrahedral_sites`.
    """
    repeats = _repeats(supercell)
    tetrahedral = _tetrahedral(repeats)
    if not 0 <= site < len(tetrahedral):
        raise ValueError(
            f"site={site}, but a {_cells(repeats)} supercell has {len(tetrahedral)} "
            f"tetrahedral sites; use 0 to {len(tetrahedral) - 1}."
        )
    lithium = np.concatenate([_cations(repeats), tetrahedral[site : site + 1]])
    return _system(repeats, lattice_constant, lithium)


def tetrahedral_sites(
    supercell: Repeats, lattice_constant: float
) -> Float[np.ndarray, "sites 3"]:
    """The eight (±1/4, ±1/4, ±1/4) sites of each conventional rock-salt cell, Å."""
    return lattice_constant / 4 * _tetrahedral(_repeats(supercell))


def _system(
    repeats: tuple[int, int, int], lattice_constant: float, lithium: Int[np.ndarray, "li 3"]
) -> System:
    """The crystal with these Li sites, a/4, in this order; F on all its sites."""
    if not lattice_constant > 0:
        raise ValueError(
            f"lattice_constant={lattice_constant} Å; it must be positive "
            f"({LITHIUM_FLUORIDE_LATTICE} Å for LiF in PBE)."
        )
    fluorine = _cations(repeats) + _TO_ANION
    number = np.repeat([LITHIUM, FLUORINE], [len(lithium), len(fluorine)])
    return System(
        atomic_number=number.astype(np.int32),
        mass=np.where(number == LITHIUM, _MASS[LITHIUM], _MASS[FLUORINE]),
        position=lattice_constant / 4 * np.concatenate([lithium, fluorine]),
        velocity=None,
        cell=lattice_constant * np.diag(np.asarray(repeats, dtype=np.float64)),
    )


@dataclasses.dataclass(frozen=True)
class _Sites:
    """All sites of a cell: tetrahedral, then cation; the edges of the cell, a/4."""

    site: Int[np.ndarray, "sites 3"]
    is_tetrahedral: Bool[np.ndarray, " sites"]
    edge: Int[np.ndarray, "3"]

    def squared_distance(self, row: int) -> Int[np.ndarray, " sites"]:
        """From the nearest image of one site, (a/4)^2."""
        apart = (self.site - self.site[row] + self.edge // 2) % self.edge - self.edge // 2
        return (apart**2).sum(axis=1)


def _sites(repeats: tuple[int, int, int]) -> _Sites:
    tetrahedral, cation = _tetrahedral(repeats), _cations(repeats)
    return _Sites(
        site=np.concatenate([tetrahedral, cation]),
        is_tetrahedral=np.repeat([True, False], [len(tetrahedral), len(cation)]),
        edge=4 * np.array(repeats),
    )


def _place(
    sites: _Sites, n_interstitial: int, n_vacancy: int, seed: int, replica: int
) -> Int[np.ndarray, " defects"] | None:
    """Rows of all defects of a replica among the sites; None if they find no room."""
    kind = [True] * n_interstitial + [False] * n_vacancy  # on a tetrahedral site or not
    if n_interstitial and n_vacancy:  # the first pair is unlike
        kind.insert(1, kind.pop())
    if len(kind) > len(sites.site):
        return None
    shell = None
    if len(kind) > 1:
        shell = _shell(sites, kind, seed, replica)
        if shell is None:
            return None
    random = _generator(seed, replica, _SITES)
    for _ in range(_ATTEMPTS):
        chosen = _attempt(sites, kind, shell, random)
        if chosen is not None:
            return chosen
    return None


def _shell(sites: _Sites, kind: list[bool], seed: int, replica: int) -> int | None:
    """Squared distance of the first two defects, (a/4)^2; None: no pair is allowed."""
    start = int(np.flatnonzero(sites.is_tetrahedral == kind[0])[0])
    squared = sites.squared_distance(start)[sites.is_tetrahedral == kind[1]]
    least = LEAST_LIKE if kind[0] == kind[1] else LEAST_UNLIKE
    shells = np.unique(squared[squared >= least])
    if len(shells) == 0:
        return None
    order = _generator(seed, 0, _SHELLS).permutation(shells)
    return int(order[replica % len(order)])


def _attempt(
    sites: _Sites, kind: list[bool], shell: int | None, random: np.random.Generator
) -> Int[np.ndarray, " defects"] | None:
    """Place one defect after another; None if one of them finds no site."""
    chosen: list[int] = []
    free = np.ones(len(sites.site), dtype=bool)
    for k, on_tetrahedral in enumerate(kind):
        same_kind = sites.is_tetrahedral == on_tetrahedral
        candidate = free & same_kind
        if k == 1:
            candidate &= sites.squared_distance(chosen[0]) == shell
        rows = np.flatnonzero(candidate)
        if len(rows) == 0:
            return None
        chosen.append(int(random.choice(rows)))
        least = np.where(same_kind, LEAST_LIKE, LEAST_UNLIKE)
        free &= sites.squared_distance(chosen[-1]) >= least
    return np.array(chosen, dtype=int)


def _generator(seed: int, replica: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, replica, purpose]))


def _cations(repeats: tuple[int, int, int]) -> Int[np.ndarray, "sites 3"]:
    return (_corners(repeats)[:, None] + _FCC).reshape(-1, 3)


def _tetrahedral(repeats: tuple[int, int, int]) -> Int[np.ndarray, "sites 3"]:
    inside = 2 * np.array(list(np.ndindex(2, 2, 2))) + 1
    return (_corners(repeats)[:, None] + inside).reshape(-1, 3)


def _corners(repeats: tuple[int, int, int]) -> Int[np.ndarray, "cells 3"]:
    return 4 * np.array(list(np.ndindex(*repeats)))


def _cells(repeats: tuple[int, int, int]) -> str:
    return "x".join(str(n) for n in repeats)


def _in_a(squared: int) -> str:
    return f"{squared**0.5 / 4:.2f}"


def _repeats(supercell: Repeats) -> tuple[int, int, int]:
    given = (
        (operator.index(supercell),) * 3
        if not isinstance(supercell, tuple | list)
        else tuple(operator.index(n) for n in supercell)
    )
    if len(given) != 3 or min(given) < 1:
        raise ValueError(
            f"supercell={supercell}; give one number of conventional cells, or three, "
            "each at least 1, such as 3 or (3, 3, 3)."
        )
    return given[0], given[1], given[2]
