r"""What the sites of a crystal add to its displacements: hops, classes, stays, D by counts.

$$ D_{hop} = \frac{\sum l^2}{6Nt}, \qquad f = D^*/D_{hop}, $$

the diffusivity of N mobile atoms if no hop depended on the one before, and the correlation
factor, with D* from displacements.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxdiff import units
from jaxdiff.analysis.arrhenius import NotIdentifiableError, fit_arrhenius
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.rates import compound_poisson, hop_rate
from jaxdiff.analysis.tensor import ratio
from jaxdiff.analysis.transport import Transport
from jaxdiff.analysis.visits import Hops
from jaxdiff.lattice.sites import Sites, classes_of


@dataclasses.dataclass(frozen=True)
class Kind:
    """Sites of one kind at one temperature.

    - `n_sites`; `given`: their occupancy as the source says, NaN where it does not;
      `seen`: in the trajectory. `residence`, ps: mean time until the next hop, censored.
    """

    name: str
    n_sites: int
    given: float
    seen: float
    residence: Estimate


@dataclasses.dataclass(frozen=True)
class HopClass:
    """Hops of one length, Å, between two kinds of sites.

    - `rate`, 1/ns, of a mobile atom. `returning`: share that goes back to the site before.
    - `neighbours`: share between neighbouring sites; the others passed unseen through one.
    - `far`: whether ways no longer than this lead through the whole crystal. Classes below
      the first of these are motion within cages.
    """

    kinds: tuple[str, str]
    length: float
    n: int
    rate: Estimate
    returning: float
    neighbours: float
    far: bool


@dataclasses.dataclass(frozen=True)
class SiteRow:
    """One temperature; diffusivities in cm²/s.

    - `n_atoms`: of a trajectory. `in_core`, `doubly`: see `visits.Hops`.
    """

    temperature_kelvin: float
    n_atoms: int
    n_hops: int
    kinds: tuple[Kind, ...]
    classes: tuple[HopClass, ...]
    hop_diffusivity: Estimate
    correlation: Estimate
    in_core: float
    doubly: float


@dataclasses.dataclass(frozen=True)
class SiteStudy:
    """All temperatures.

    - `source`: of the sites. `halves`: maxima in each half of the trajectory and the share
      that both have; only of sites found in it. `core_radius`, Å; `dwell_ps`.
    - `activation_energy`, eV: of the hop rate of an atom, all classes; None below two
      temperatures.
    """

    source: str
    halves: tuple[int, int, float] | None
    core_radius: float
    dwell_ps: float
    rows: tuple[SiteRow, ...]
    activation_energy: Estimate | None


def study_sites(
    several: Sequence[tuple[Transport, Sequence[tuple[Sites, Hops, float]]]],
    *,
    halves: tuple[int, int, float] | None,
    core_radius: float,
    dwell_ps: float,
) -> SiteStudy:
    """Of each temperature its motion, and of its trajectories sites, hops and frame_ps."""
    rows = tuple(_row(motion, found) for motion, found in several)
    exposure = np.array([_exposure(found) for _, found in several])
    kelvin = np.array([row.temperature_kelvin for row in rows])
    count = np.array([row.n_hops for row in rows])
    try:
        energy = fit_arrhenius(kelvin, count, exposure).activation_energy
    except NotIdentifiableError:
        energy = None
    source = several[0][1][0][0].source
    return SiteStudy(source, halves, core_radius, dwell_ps, rows, energy)


def _row(motion: Transport, found: Sequence[tuple[Sites, Hops, float]]) -> SiteRow:
    exposure, spread = _exposure(found), _dispersion(found)
    steps = [sites.difference(hops.start, hops.end) for sites, hops, _ in found]
    square = np.concatenate([(step**2).sum(axis=1) for step in steps])
    diffusivity = compound_poisson(
        float(square.sum()),
        float((square**2).sum()),
        6 * exposure,
        "Å^2/ps",
        dispersion=spread,
    ).scaled(units.CM2_PER_S, "cm^2/s")
    return SiteRow(
        temperature_kelvin=motion.temperature_kelvin,
        n_atoms=found[0][1].n_atoms,
        n_hops=len(square),
        kinds=_kinds(found),
        classes=_classes(found, np.sqrt(square), exposure, spread),
        hop_diffusivity=diffusivity,
        correlation=ratio(motion.tracer.mean, diffusivity),
        in_core=float(np.mean([hops.in_core for _, hops, _ in found])),
        doubly=float(np.mean([hops.doubly for _, hops, _ in found])),
    )


def _exposure(found: Sequence[tuple[Sites, Hops, float]]) -> float:
    """Time of atoms, ps."""
    return sum(hops.n_atoms * hops.n_frames * frame_ps for _, hops, frame_ps in found)


def _dispersion(found: Sequence[tuple[Sites, Hops, float]]) -> float:
    """Variance of the hops of an atom over their mean; at least 1, that of Poisson."""
    count = np.concatenate([np.bincount(h.atom, minlength=h.n_atoms) for _, h, _ in found])
    if count.sum() == 0 or len(count) < 2:
        return 1.0
    return max(1.0, float(count.var(ddof=1) / count.mean()))


def _kinds(found: Sequence[tuple[Sites, Hops, float]]) -> tuple[Kind, ...]:
    result = []
    for number, name in enumerate(found[0][0].names):
        time, ended, seen, n_sites = 0.0, 0, [], 0
        for sites, hops, frame_ps in found:
            mine = sites.kind[hops.stay_site] == number
            time += float(hops.stay[mine].sum()) * frame_ps
            ended += int(hops.ended[mine].sum())
            seen.append(hops.occupancy[sites.kind == number].mean())
            n_sites = int((sites.kind == number).sum())
        rate = hop_rate(ended, time) if time > 0 else None
        stay = _inverse(rate)
        given = found[0][0].occupancy[number]
        result.append(Kind(name, n_sites, given, float(np.mean(seen)), stay))
    return tuple(result)


def _inverse(rate: Estimate | None) -> Estimate:
    """A time, ps, from a rate, 1/ps; infinite where there was no hop."""
    if rate is None or rate.interval[1] <= 0:
        return Estimate(float("nan"), float("nan"), (0.0, float("inf")), 0, "ps")
    low, high = rate.interval
    value = 1 / rate.value if rate.value > 0 else float("inf")
    error = rate.standard_error / rate.value**2 if rate.value > 0 else float("nan")
    bounds = (1 / high, 1 / low if low > 0 else float("inf"))
    return Estimate(value, error, bounds, rate.n_effective, "ps")


def _classes(
    found: Sequence[tuple[Sites, Hops, float]],
    length: Float[np.ndarray, " hops"],
    exposure: float,
    spread: float,
) -> tuple[HopClass, ...]:
    if len(length) == 0:
        return ()
    n = len(found[0][0].names)
    ends = [
        np.sort(np.stack([s.kind[h.start], s.kind[h.end]]), axis=0) for s, h, _ in found
    ]
    first, second = np.concatenate(ends, axis=1)
    returns = np.concatenate([hops.returns for _, hops, _ in found])
    near = np.concatenate([s.is_neighbour(h.start, h.end) for s, h, _ in found])
    number, known = classes_of(length, first * n + second)
    names, sites = found[0][0].names, found[0][0]
    result = []
    for index, (pair, mean) in enumerate(known):
        mine = number == index
        result.append(
            HopClass(
                kinds=(names[pair // n], names[pair % n]),
                length=mean,
                n=int(mine.sum()),
                rate=hop_rate(int(mine.sum()), exposure, dispersion=spread).scaled(
                    1000.0, "1/ns"
                ),
                returning=float(returns[mine].mean()),
                neighbours=float(near[mine].mean()),
                far=sites.reaches_far(float(length[mine].max())),
            )
        )
    return tuple(result)
