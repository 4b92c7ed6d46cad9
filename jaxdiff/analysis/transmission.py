r"""Crossings of the surface between two places of a defect, and which of them stay.

An arrangement has an interstitial on a site and all other mobile atoms on the lattice. A
frame belongs to the arrangement whose sites s are nearest, $\sum_i |r_i - s_i|^2$ least. So
between two of them that differ by steps d the dividing surface is the plane

$$ \sum_i (r_i - s_i) \cdot d_i = \tfrac12 \sum_i |d_i|^2 , $$

which holds the saddle wherever both ways over it are alike. Each frame that is beyond it,
after one that was not, is a crossing out of the place where the defect settled last; it
stays if the defect settles elsewhere before it settles there again. With n crossings and m
hops in the time t that a defect was there,

$$ k = \kappa\,\Phi , \qquad \Phi = n/t , \qquad \kappa = m/n : $$

the rate, the flux and the transmission coefficient (doi:10.1063/1.436049), the first of
which does not depend on the surface. Crossings there and back between two frames are not
seen: the flux is that of the time between frames, and kappa with it.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int
from scipy.stats import beta

from jaxdiff.analysis.estimate import Estimate, unknown
from jaxdiff.analysis.rates import compound_poisson, dispersion_index, hop_rate
from jaxdiff.analysis.series import Series
from jaxdiff.lattice.arrangements import assigned, numbers, on_lattice, places_of
from jaxdiff.lattice.jumps import INTERSTITIAL

LONGEST_PS = 0.05
"""Between two frames; a defect crosses back in less than that."""
UNKNOWN = -1
"""Number of a place where nothing has settled yet."""
_AGREE = 0.9  # of hops, whose new place is that of the frames, too


@dataclasses.dataclass(frozen=True)
class Excursions:
    """Ways out of a settled place, and what became of them; E of them.

    - `replica` [E]. `crossings` [E]: of the dividing surface, outwards, at least 1.
    - `stayed` [E]: it ended with a hop; else the defect settled where it came from.
    - `every_ps`: time between frames.
    """

    replica: Int[np.ndarray, " excursions"]
    crossings: Int[np.ndarray, " excursions"]
    stayed: Bool[np.ndarray, " excursions"]
    every_ps: float


@dataclasses.dataclass(frozen=True)
class Transmission:
    """Flux, hops and transmission coefficient at one temperature; intervals are of 95 %.

    - `flux`, `rate`, 1/ps; `coefficient`: rate over flux. `excursions`: how many.
    """

    temperature: float
    flux: Estimate
    rate: Estimate
    coefficient: Estimate
    excursions: int


def transmission(runs: Sequence[tuple[Series, Excursions]]) -> list[Transmission]:
    """By temperature, of runs with the excursions that were found in them.

    Intervals of rates and fluxes are widened by the dispersion of hops over all replicas.
    """
    kelvin = np.concatenate([run.temperature for run, _ in runs])
    exposure = np.concatenate([run.exposure_ps for run, _ in runs])
    first = np.cumsum([0, *(len(run.temperature) for run, _ in runs)])
    replica = np.concatenate(
        [found.replica + n for (_, found), n in zip(runs, first[:-1], strict=True)]
    )
    crossings = np.concatenate([found.crossings for _, found in runs])
    stayed = np.concatenate([found.stayed for _, found in runs])
    hops = np.bincount(replica[stayed], minlength=len(kelvin))
    noise = dispersion_index(hops, exposure, kelvin).noise
    results = []
    for temperature in np.unique(kelvin):
        time = float(exposure[kelvin == temperature].sum())
        own = kelvin[replica] == temperature
        n, square = crossings[own].sum(), (crossings[own] ** 2).sum()
        results.append(
            Transmission(
                float(temperature),
                compound_poisson(int(n), int(square), time, "1/ps", dispersion=noise),
                hop_rate(int(stayed[own].sum()), time, dispersion=noise),
                transmission_coefficient(crossings[own], stayed[own]),
                int(own.sum()),
            )
        )
    return results


def transmission_coefficient(
    crossings: Int[np.ndarray, " excursions"], stayed: Bool[np.ndarray, " excursions"]
) -> Estimate:
    """Hops per crossing, with the interval of Clopper and Pearson (doi:10.2307/2331986).

    Crossings of one excursion are not independent. Where hops scatter more over excursions
    than over as many independent crossings, so many fewer crossings count.
    """
    n, hops = int(crossings.sum()), int(stayed.sum())
    if n == 0:
        return unknown("1")
    value, independent = hops / n, float(n)
    if 0 < hops < n and len(crossings) > 1:
        square = np.sum((stayed - value * crossings) ** 2)
        square *= len(crossings) / (len(crossings) - 1)
        independent /= max(1.0, float(square) / (n * value * (1 - value)))
    yes, no = value * independent, (1 - value) * independent
    low = float(beta.ppf(0.025, yes, no + 1)) if yes > 0 else 0.0
    high = float(beta.ppf(0.975, yes + 1, no)) if no > 0 else 1.0
    error = math.sqrt(value * (1 - value) / independent)
    return Estimate(value, error, (low, high), independent, "1")


def find_excursions(series: Series, *, stride: int = 1) -> Excursions:
    """Of all replicas, from the positions that a run kept of every frame.

    - `stride`: take every so many of them, to see what a longer time between frames hides.

    Raises ValueError where they are kept too seldom, where the defect is not one
    interstitial, and where they are not those in which the hops were seen.
    """
    kept = np.s_[stride - 1 :: stride]
    time, position = series.position_time_ps[kept], series.position[:, kept]
    series = dataclasses.replace(series, position_time_ps=time, position=position)
    every = _spacing(series)
    dwell = math.ceil(series.dwell_frames * series.frame_ps / every - 1e-9)
    rows: list[tuple[int, int, bool]] = []
    agree, n_hops = 0, 0
    for replica in range(len(series.temperature)):
        near = nearest_arrangements(series, replica)
        place, hops = _settled(series, replica, near)
        agree += int(hops[near.place == place].sum())
        n_hops += int(hops.sum())
        found = excursions_of(near.place, place, hops, near.is_calm, dwell)
        rows += [(replica, n, stayed) for n, stayed in found]
    if agree < _AGREE * n_hops:
        raise ValueError(
            f"in {agree} of {n_hops} hops the interstitial is, by the positions that were "
            "kept, where the detector says that it went: these are not the positions of "
            "this run, or its detector sees what is no hop (hops.core_radius_angstrom, "
            "hops.dwell_strides)."
        )
    table = np.array(rows, int).reshape(-1, 3)
    return Excursions(table[:, 0], table[:, 1], table[:, 2] == 1, every)


def excursions_of(
    place: Int[np.ndarray, " frames"],
    settled: Int[np.ndarray, " frames"],
    hops: Int[np.ndarray, " frames"],
    is_calm: Bool[np.ndarray, " frames"],
    dwell: int,
) -> Iterator[tuple[int, bool]]:
    """Crossings outwards of each excursion of a defect, and whether it stayed.

    - `place`: nearest in each frame; `settled`: where the defect settled last. `hops`:
      that settle in a frame. `is_calm`: all atoms are in their cores. An excursion without
      a hop is over after `dwell` calm frames where it began, or with the run.
    """
    n, rest, before, home = 0, 0, UNKNOWN, UNKNOWN
    for here, now, n_hops, calm in zip(
        place.tolist(), settled.tolist(), hops.tolist(), is_calm.tolist(), strict=True
    ):
        n += before == home != UNKNOWN and here != home
        for _ in range(n_hops):  # one that no frame shows on its way has crossed, too
            yield max(n, 1), True
            n = 0
        rest = rest + 1 if calm and here == now else 0
        if n and rest >= dwell:
            yield n, False
            n = 0
        before, home = here, now
    if n:
        yield n, False


@dataclasses.dataclass(frozen=True)
class Arrangements:
    """Of the frames of a replica with one interstitial, in order; F of them.

    - `place` [F]: number of the place of the interstitial (`numbers`).
    - `is_calm` [F]: all mobile atoms lie within the cores of their sites.
    """

    place: Int[np.ndarray, " frames"]
    is_calm: Bool[np.ndarray, " frames"]


def nearest_arrangements(series: Series, replica: int) -> Arrangements:
    """Of the frames that a run kept, before the replica stopped or its log broke."""
    supercell, network = series.supercell, series.network
    time = series.position_time_ps[: series.n_kept[replica]]
    known = series.frames["frames"][replica] * series.frame_ps
    n = int(np.searchsorted(time, known + 1e-6))
    mobile = on_lattice(
        supercell, series.cell[replica], series.position[replica, :n], series.is_mobile
    )
    label = network.nearest(jnp.asarray(mobile))
    site = np.asarray(network.coordinates(label, jnp.zeros(0).dtype), float)
    number = numbers(supercell, site.reshape(-1, 3)).reshape(site.shape[:2])
    core = series.core_radius * network.edge / series.lattice_constant[replica]
    near = np.max(np.sum((mobile - site) ** 2, axis=-1), axis=-1) < core**2
    is_lattice, is_calm = places_of(supercell).is_lattice, np.zeros(n, bool)
    place = np.zeros(n, int)
    for k in range(n):
        own = number[k]
        alone = np.bincount(own[is_lattice[own]], minlength=1) == 1
        if alone.sum() == supercell.n_lattice:
            is_calm[k] = near[k]
        else:
            own, _ = assigned(supercell, mobile[k])
        place[k] = own[~is_lattice[own]][0]
    return Arrangements(place, is_calm)


def _spacing(series: Series) -> float:
    """Time between frames, ps, of a series that is fit for this."""
    if series.excess != 1 or series.frames["frenkel"].any():
        raise ValueError(
            f"there are {series.excess} mobile atoms beyond the perfect crystal and "
            f"{series.frames['frenkel'].sum()} frames with a Frenkel pair; crossings are "
            "counted for one interstitial alone."
        )
    time = series.position_time_ps
    every = float(time[0]) if len(time) else math.inf
    if every > LONGEST_PS:
        kept = f"every {every:g} ps" if len(time) else "never"
        raise ValueError(
            f"positions were kept {kept}, and a defect crosses back in less than "
            f"{LONGEST_PS} ps; run with output.positions_every_ps = {series.frame_ps:g}."
        )
    return every


def _settled(
    series: Series, replica: int, near: Arrangements
) -> tuple[Int[np.ndarray, " frames"], Int[np.ndarray, " frames"]]:
    """By frame: where the defect settled last, by the detector; hops that settle then."""
    events, n = series.events, len(near.place)
    mine = (events.replica == replica) & (events.sign == INTERSTITIAL)
    time = (events.frame[mine] + 1) * series.frame_ps  # frames are numbered from 1
    frame = np.searchsorted(series.position_time_ps[:n], time - 1e-6)
    start, end = (numbers(series.supercell, x[mine]) for x in (events.start, events.end))
    calm = near.place[near.is_calm]
    first = start[0] if len(start) else calm[0] if len(calm) else UNKNOWN
    place, hops = np.full(n, first), np.zeros(n, int)
    for k, there in zip(frame.tolist(), end.tolist(), strict=True):
        place[k:] = there
    np.add.at(hops, frame[(frame < n) & events.is_hop[mine]], 1)
    return place, hops
