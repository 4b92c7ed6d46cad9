"""Crossings of the surface between two places, and the ones that stay."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from memory_walk import as_series, remember

from jaxdiff.analysis.history import Changes, read_history
from jaxdiff.analysis.series import Series
from jaxdiff.analysis.transmission import (
    Excursions,
    excursions_of,
    find_excursions,
    transmission,
    transmission_coefficient,
)
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.objectives.paths import lithium_path
from jaxdiff.observables import SiteSettings, initialize, observe

SUPERCELL, SETTINGS, FRAME_PS = Supercell.of(ROCK_SALT, 2), SiteSettings(), 0.02
REST = 12 * [0.0]
OUT_AND_BACK = [0.3, 0.7, 0.4, 0.2]
THREE_TIMES = [0.3, 0.6, 0.45, 0.55, 0.4, 0.6, 0.8]
THERE = 12 * [1.0]
PATH = [*REST, *OUT_AND_BACK, *REST, *THREE_TIMES, *THERE, 0.8, 0.3, *REST]


@jax.jit
def scan(state, position):
    def step(state, frame):
        return observe(SETTINGS, state, *frame), None

    index = jnp.arange(1, len(position) + 1, dtype=jnp.int32)
    return jax.lax.scan(step, state, (position, index))[0]


def series(name, along=PATH, *, noise=0.0, drift=0.0, turn=None):
    """A run of one replica that goes along a jump, and its hops as the tracker sees them.

    Positions are those of both ends, `along` of the way; noise, Å, is new in each frame.
    """
    path = lithium_path(name, (2, 2, 2))
    system, along = path.system, np.array(along)
    first, last = np.array(path.first), np.array(path.last)
    position = first + along[:, None, None] * (last - first)
    position += noise * np.random.default_rng(3).normal(size=position.shape)
    position += drift * np.arange(len(along))[:, None, None]
    turn = np.eye(3) if turn is None else turn
    cell, position = system.cell @ turn, position @ turn
    is_lithium = np.asarray(system.atomic_number) == 3
    start = initialize(SETTINGS, SUPERCELL, cell, jnp.asarray(position[0]), is_lithium)
    state = scan(start, jnp.asarray(position))
    log, n = state.changes, int(state.changes.count)
    site = ROCK_SALT.sites(np.asarray(log.site[:n]))
    frame, cation = np.asarray(log.frame[:n]) - 1, np.asarray(log.cation[:n])
    changes = Changes(np.zeros(n, int), frame, cation, site)
    begin, frames = ROCK_SALT.sites(np.asarray(start.site)), np.array([len(along)])
    events, defects, counts = read_history(SUPERCELL, begin[None], changes, frames)
    return Series(
        temperature=np.array([800.0]),
        frame_ps=FRAME_PS,
        lattice_constant=np.array([float(np.linalg.norm(cell[0])) / 2]),
        cell=cell[None],
        supercell=SUPERCELL,
        n_mobile=33,
        n_anion=32,
        dwell_frames=SETTINGS.dwell_frames,
        core_radius=SETTINGS.core_radius,
        events=events,
        defects=defects,
        frames=counts,
        lost_frame=np.array([-1]),
        diverged_ps=np.array([np.nan]),
        time_ps=np.zeros(0),
        kinetic_temperature=np.zeros((1, 0)),
        potential_energy=np.zeros((1, 0)),
        conserved_energy=np.zeros((1, 0)),
        position_time_ps=FRAME_PS * np.arange(1, len(along) + 1),
        position=position[None],
        is_mobile=is_lithium,
        run_file="",
        provenance="{}",
        status="complete",
    )


def told(found):
    return list(zip(found.crossings.tolist(), found.stayed.tolist(), strict=True))


TURN = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
ALL = [(1, False), (3, True), (1, True)]


@pytest.mark.parametrize(
    "name", ["collinear", "noncollinear_1", "noncollinear_2", "direct"]
)
@pytest.mark.parametrize("given", [{}, {"noise": 0.02, "drift": 0.02, "turn": TURN}])
def test_every_crossing_is_counted_and_what_became_of_it(name, given):
    """One that came back, three of which the last stayed, and the way back home."""
    assert told(find_excursions(series(name, **given))) == ALL


def test_crossings_between_two_frames_are_not_seen():
    """Of three to and fro, one is left in every second frame; hops are the detector's."""
    found = find_excursions(series("collinear"), stride=2)
    assert found.every_ps == pytest.approx(2 * FRAME_PS)
    assert found.stayed.sum() == 2
    assert found.crossings.sum() < sum(n for n, _ in ALL)


def test_a_crossing_of_another_plane_is_one_too():
    """Halfway to noncollinear sites and back, then a hop along the collinear path."""
    other = series("noncollinear_2", [*REST, *OUT_AND_BACK, *REST])
    assert told(find_excursions(other)) == [(1, False)]


def test_flux_times_coefficient_is_the_rate_of_hops():
    run = series("collinear", noise=0.02)
    (one,) = transmission([(run, find_excursions(run))])
    hops = run.hop_count.sum() / run.exposure_ps.sum()
    assert hops > 0
    assert one.rate.value == pytest.approx(hops)
    assert one.flux.value * one.coefficient.value == pytest.approx(hops)
    assert one.flux.value == pytest.approx(5 / run.exposure_ps.sum())
    (two,) = transmission([(run, find_excursions(run))] * 2)
    assert two.rate.value == pytest.approx(hops)
    assert two.rate.n_effective == 2 * one.rate.n_effective


def test_a_hop_that_no_frame_shows_has_crossed():
    """Settled elsewhere at once; the last excursion ends with the run."""
    place = np.array([5, 5, 5, 7, 7, 5, 7, 8])
    settled = np.array([5, 5, 7, 7, 7, 7, 7, 7])
    hops = np.array([0, 0, 1, 0, 0, 0, 0, 0])
    found = excursions_of(place, settled, hops, np.ones(8, bool), 3)
    assert list(found) == [(1, True), (2, False)]


def test_an_excursion_is_over_after_the_dwell():
    """Two crossings with one calm frame between them are one excursion, with three two."""
    for rest, expected in ((1, [(2, False)]), (3, [(1, False), (1, False)])):
        place = np.array([1, 2, *rest * [1], 2, 1, 1, 1])
        calm = place == 1
        home, none = np.ones_like(place), np.zeros_like(place)
        assert list(excursions_of(place, home, none, calm, 3)) == expected


def logs_of(kind, count, rng):
    """Crossings of so many excursions, whether each stayed, and the true coefficient."""
    first = rng.random(count) < 0.5  # half of them are of each sort
    if kind == "rattling":  # pass at once, or go to and fro and come back
        return np.where(first, 1, 6), first, 1 / 7
    stays = (0.6, 0.6) if kind == "independent" else (0.9, 0.25)
    # a crossing stays, or comes back; then the excursion is over, or goes on, in turn
    over = [p + (1 - p) / 2 for p in stays]
    crossings, p = rng.geometric(np.where(first, *over)), np.where(first, *stays)
    stayed = rng.random(count) < p / np.where(first, *over)
    hops = sum(p / end for p, end in zip(stays, over, strict=True))
    return crossings, stayed, hops / sum(1 / end for end in over)


@pytest.mark.parametrize("mean", [4, 60])
@pytest.mark.parametrize("kind", ["independent", "clustered", "rattling"])
def test_the_interval_of_the_coefficient_holds_the_truth(mean, kind):
    """1000 logs of a Poisson number of excursions: 95 % less three standard errors, less
    another 6 % where four excursions have to say how much they scatter.
    """
    rng, inside, n = np.random.default_rng(5), 0, 1000
    for _ in range(n):
        *log, truth = logs_of(kind, max(1, rng.poisson(mean)), rng)
        low, high = transmission_coefficient(*log).interval
        inside += low <= truth <= high
    few = 0.06 if mean == 4 else 0
    assert inside / n > 0.95 - 3 * np.sqrt(0.95 * 0.05 / n) - few


def test_without_crossings_nothing_is_known():
    none = transmission_coefficient(np.zeros(0, int), np.zeros(0, bool))
    assert np.isnan(none.value)
    all_stay = transmission_coefficient(np.ones(20, int), np.ones(20, bool))
    assert all_stay.value == 1
    assert all_stay.interval[0] == pytest.approx(0.025 ** (1 / 20))


def test_runs_that_do_not_show_crossings_are_refused():
    run = series("collinear")
    seldom = {"position_time_ps": 1.0 * np.arange(1, run.position.shape[1] + 1)}
    with pytest.raises(ValueError, match="every 1 ps.*positions_every_ps = 0.02"):
        find_excursions(dataclasses.replace(run, **seldom))
    none = {"position_time_ps": np.zeros(0), "position": run.position[:, :0]}
    with pytest.raises(ValueError, match="positions were kept never"):
        find_excursions(dataclasses.replace(run, **none))
    still = np.repeat(run.position[:, :1], run.position.shape[1], axis=1)
    with pytest.raises(ValueError, match="in 1 of 2 hops"):
        find_excursions(dataclasses.replace(run, position=still))
    walk = remember(np.full(2, 1.0), 5.0, kind="vacancy", back=0.0, seed=1)
    with pytest.raises(ValueError, match="one interstitial alone"):
        find_excursions(as_series(walk, 600.0, kind="vacancy"))


def test_runs_and_temperatures_are_pooled():
    run = series("collinear")
    found = find_excursions(run)
    hotter = dataclasses.replace(run, temperature=np.array([900.0]))
    nothing = Excursions(*(np.zeros(0, kind) for kind in (int, int, bool)), FRAME_PS)
    cold, hot = transmission([(run, found), (hotter, nothing)])
    assert (cold.temperature, hot.temperature) == (800.0, 900.0)
    assert (cold.excursions, hot.excursions, hot.rate.value) == (3, 0, 0.0)
