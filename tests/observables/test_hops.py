"""Tracker and defects on synthetic trajectories with known hops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quarters import QuarterHistory

from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.observables import (
    SiteSettings,
    initialize,
    new_entries,
    observe,
    reset,
)

CLASSES, N_HOP_CLASSES = ROCK_SALT.classes, ROCK_SALT.n_hop_classes
LATTICE, CELLS = 4.083428, (3, 3, 3)
CELL = LATTICE * np.diag(CELLS)
SUPERCELL = Supercell.of(ROCK_SALT, CELLS)
SETTINGS = SiteSettings()
KINDS = ["collinear", "noncollinear_1", "noncollinear_2", "direct"]


CHUNK = 50  # frames; one length, so that one compilation serves all tests


@functools.partial(jax.jit, static_argnums=0)
def scan(settings, state, position, first=0):
    def step(state, frame):
        return observe(settings, state, *frame), None

    index = first + jnp.arange(position.shape[0], dtype=jnp.int32)
    return jax.lax.scan(step, state, (position, index))[0]


def advance(settings, state, position):
    """All frames: chunks, then the rest one by one."""
    whole = len(position) // CHUNK * CHUNK
    for first in range(0, whole, CHUNK):
        state = scan(settings, state, position[first : first + CHUNK], first)
    for first in range(whole, len(position)):
        state = scan(settings, state, position[first : first + 1], first)
    return state


def start(settings, position, is_mobile):
    return initialize(settings, SUPERCELL, CELL, position, is_mobile)


def history(initial, state, supercell=SUPERCELL):
    """What the host makes of the log."""
    log = state.changes
    rows = new_entries(int(log.count), 0, len(log.frame))
    assert len(rows) == int(log.count)
    found = QuarterHistory(supercell, np.asarray(initial.site))
    for frame in np.unique(np.asarray(log.frame)[rows]):
        mine = rows[np.asarray(log.frame)[rows] == frame]
        sites = np.asarray(log.site)[mine].tolist()
        cations = np.asarray(log.cation)[mine].tolist()
        found.change(
            int(frame), [(c, tuple(s)) for c, s in zip(cations, sites, strict=True)]
        )
    found.finish(int(state.frames))
    return found


def run(trajectory, settings=SETTINGS, dtype="float64"):
    position = jnp.asarray(trajectory.position, dtype)
    initial = start(settings, position[0], trajectory.is_mobile)
    return history(initial, advance(settings, initial, position))


def hops(found):
    return [e for e in found.events if e.kind < N_HOP_CLASSES]


def jumps(found):
    return np.array([np.subtract(e.end, e.start) for e in hops(found)]).reshape(-1, 3)


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("noise", [0.15, 0.20, 0.25])
def test_nearly_all_hops_are_found_and_classed(trajectory, noise):
    """At least 99 % of some 320 hops of all classes; none lands in a wrong one."""
    found, put_in = np.zeros(len(CLASSES), int), np.zeros(len(CLASSES), int)
    for seed in range(4):
        rng = np.random.default_rng(1000 + seed)
        kinds = [str(k) for k in rng.choice(KINDS, 80, p=[0.6, 0.2, 0.1, 0.1])]
        case = trajectory(kinds, noise, seed)
        seen = run(case)
        found += np.bincount([e.kind for e in seen.events], minlength=len(CLASSES))
        put_in += np.bincount([CLASSES.index(k) for k in kinds], minlength=len(CLASSES))
        np.testing.assert_array_equal(jumps(seen).sum(0), case.jump.sum(0))
        assert seen.counts.frames == len(case.position)
    total = put_in.sum()
    assert abs(found.sum() - total) <= 0.01 * total
    assert np.abs(found - put_in).sum() <= 0.02 * total


def test_every_hop_is_an_event_at_its_time(trajectory):
    case = trajectory(KINDS * 5, 0.12, 5)
    seen = run(case)
    assert [CLASSES[e.kind] for e in seen.events] == case.kind
    # the frame after the last of the transit, plus the dwell and some noise
    delay = np.array([e.frame for e in seen.events]) - case.frame
    assert delay.min() >= -SETTINGS.dwell_frames
    assert delay.max() <= 3 * SETTINGS.dwell_frames
    np.testing.assert_array_equal(jumps(seen), case.jump)
    assert [e.end for e in seen.events[:-1]] == [e.start for e in seen.events[1:]]
    assert {e.defect for e in seen.events} == {0}
    assert [len(e.moves) for e in seen.events] == [2, 2, 2, 1] * 5


def test_steps_of_the_cations_add_up_to_their_displacement(trajectory):
    case = trajectory(KINDS * 5, 0.12, 6)
    position = jnp.asarray(case.position)
    initial = start(SETTINGS, position[0], case.is_mobile)
    final = advance(SETTINGS, initial, position)
    moved = np.zeros((int(case.is_mobile.sum()), 3))
    for event in history(initial, final).events:
        for cation, step in event.moves:
            moved[cation] += step
        assert sum(np.square(step).sum() for _, step in event.moves) in (4, 6)
    np.testing.assert_array_equal(moved, np.asarray(final.site - initial.site))


@pytest.mark.parametrize("noise", [0.15, 0.25])
@pytest.mark.parametrize("drift", [0.0, 0.02])
def test_a_static_crystal_does_not_hop(trajectory, noise, drift):
    """2000 frames with noise and, second, a drift of 40 Å: ten lattice constants."""
    seen = run(trajectory([], noise, 7, residence=2000, drift=drift))
    assert seen.events == []
    assert seen.counts.exposure == seen.counts.interstitial == seen.counts.frames == 2000


def test_single_precision_sees_the_same(trajectory):
    case = trajectory(KINDS * 3, 0.15, 8)
    assert run(case).events == run(case, dtype="float32").events


def test_replicas_under_vmap_are_single_runs(trajectory):
    cases = [trajectory(KINDS, 0.2, seed) for seed in (9, 10, 11)]
    n = min(len(c.position) for c in cases)
    position = jnp.asarray(np.stack([c.position[:n] for c in cases]))
    begin = jax.vmap(lambda x: start(SETTINGS, x, cases[0].is_mobile))
    batch = jax.vmap(lambda s, x: scan(SETTINGS, s, x))(begin(position[:, 0]), position)
    for k, case in enumerate(cases):
        single = start(SETTINGS, position[k, 0], case.is_mobile)
        single = advance(SETTINGS, single, position[k])
        assert_equal(jax.tree.map(lambda leaf, k=k: leaf[k], batch), single)


def test_chunks_add_up_to_one_scan(trajectory):
    case = trajectory(KINDS * 2, 0.2, 12)
    position = jnp.asarray(case.position)
    initial = start(SETTINGS, position[0], case.is_mobile)
    whole = scan(SETTINGS, initial, position)
    assert_equal(whole, advance(SETTINGS, initial, position))


def test_a_full_log_keeps_the_last_changes_and_counts_all(trajectory):
    case = trajectory(["collinear"] * 9, 0.12, 13)
    position, small = jnp.asarray(case.position), SiteSettings(log_capacity=4)
    initial = start(small, position[0], case.is_mobile)
    log = advance(small, initial, position).changes
    initial = start(SETTINGS, position[0], case.is_mobile)
    complete = advance(SETTINGS, initial, position).changes
    n = int(log.count)
    assert n == int(complete.count)
    assert n >= 18
    rows = new_entries(n, 0, 4)
    assert len(rows) == 4
    np.testing.assert_array_equal(log.site[rows], complete.site[n - 4 : n])
    np.testing.assert_array_equal(log.frame[rows], complete.frame[n - 4 : n])
    np.testing.assert_array_equal(new_entries(n, n - 1, 4), rows[-1:])


def visit(trajectory, visits):
    """A quiet crystal whose interstitial is put `(first, last, Å along x)`, in turn."""
    case = trajectory([], 1e-3, 21, residence=80, drift=0.0)
    for first, last, distance in visits:
        case.position[first:last, -1, 0] += distance
    return run(case)


@pytest.mark.parametrize(("frames", "n_hops"), [(1, 0), (2, 0), (3, 2), (10, 2)])
def test_a_site_counts_after_the_dwell(trajectory, frames, n_hops):
    """To the next 8c site and back: two hops, or none if it did not stay three frames."""
    seen = visit(trajectory, [(20, 20 + frames, LATTICE / 2)])
    assert [e.frame for e in hops(seen)] == [22, 22 + frames][:n_hops]


@pytest.mark.parametrize(("short_of_it", "n_hops"), [(0.80, 0), (0.74, 1)])
def test_a_site_counts_inside_its_core(trajectory, short_of_it, n_hops):
    """0.77 Å; the boundary between the two 8c sites is at 1.02 Å."""
    seen = visit(trajectory, [(20, None, LATTICE / 2 - short_of_it)])
    assert len(hops(seen)) == n_hops


def test_visits_to_different_sites_do_not_add_up(trajectory):
    away = LATTICE / 2
    assert hops(visit(trajectory, [(20, 22, away), (22, 24, -away)])) == []
    assert hops(visit(trajectory, [(20, 22, away), (24, 26, away)])) == []


def test_a_doubly_occupied_site_is_not_valid(trajectory):
    """A vacancy and two cations on one site, away from the one on 8c."""
    case = trajectory([], 1e-3, 22, residence=60)
    i, j = np.flatnonzero(case.is_mobile)[:2]
    edge = 3 * LATTICE
    shift = case.position[:, j] - case.position[:, i]
    case.position[20:40, i] += (shift - edge * np.round(shift / edge))[20:40]
    seen = run(case)
    assert (seen.counts.undefined, seen.counts.transit) == (20, 0)
    assert seen.events == []


@pytest.mark.parametrize("removed", [1, 2])
def test_without_interstitial_there_is_none(trajectory, removed):
    """One removed: the perfect crystal. Two: a vacancy."""
    case = trajectory([], 0.15, 14)
    keep = np.ones(len(case.is_mobile), bool)
    keep[-removed:] = False
    position = jnp.asarray(case.position[:, keep])
    initial = start(SETTINGS, position[0], case.is_mobile[keep])
    seen = history(initial, advance(SETTINGS, initial, position))
    assert [d.sign for d in seen.defects] == [-1] * (removed - 1)
    assert seen.counts.interstitial == seen.counts.undefined == 0
    assert seen.counts.vacancy == (removed - 1) * len(position)


def pushed(case, direction):
    """The interstitial's nearest neighbour on an 8c site in frames 20 to 40; its index."""
    mobile = np.flatnonzero(case.is_mobile)
    mean = case.position[:20].mean(axis=0)
    apart = mean[mobile[:-1]] - mean[mobile[-1]]  # the interstitial is the last one
    apart -= 3 * LATTICE * np.round(apart / (3 * LATTICE))
    distance = np.linalg.norm(apart, axis=1)
    neighbor = distance.argmin() if direction > 0 else distance.argmax()
    away = np.sign(apart[distance.argmin()]) * LATTICE / 4
    case.position[20:40, mobile[neighbor]] += away
    return mobile[neighbor]


@pytest.mark.parametrize("direction", [1, -1])
def test_a_cation_off_its_site_is_in_transit_until_it_returns(trajectory, direction):
    """Pushed out by the interstitial, or by itself elsewhere: a close Frenkel pair."""
    case = trajectory([], 0.05, 15, residence=60)
    pushed(case, direction)
    seen = run(case)
    assert seen.counts.undefined == seen.counts.transit == 20
    assert seen.events == []


def test_a_displaced_anion_is_flagged(trajectory):
    case = trajectory([], 0.05, 16, residence=60)
    case.position[20:30, 3] += LATTICE / 4
    position = jnp.asarray(case.position)
    state = advance(SETTINGS, start(SETTINGS, position[0], case.is_mobile), position)
    assert int(state.anion_displaced_frames) == 10


def test_a_ring_of_lattice_cations_is_an_exchange(trajectory):
    """Two cations far from the defect swap: tracers move, the defect does not."""
    case = trajectory([], 0.05, 17, residence=60)
    place = case.position[0, case.is_mobile] - case.position[0, case.is_mobile][0]
    place -= 3 * LATTICE * np.round(place / (3 * LATTICE))
    length = np.linalg.norm(place, axis=1)
    i, j = np.flatnonzero(case.is_mobile)[[0, int(np.argsort(length)[1])]]
    mean = case.position[:, j].mean(0) - case.position[:, i].mean(0)
    swap = mean - 3 * LATTICE * np.round(mean / (3 * LATTICE))
    case.position[30:, i] += swap
    case.position[30:, j] -= swap
    (event,) = run(case).events
    assert (CLASSES[event.kind], event.defect) == ("exchange", -1)
    assert [np.square(step).sum() for _, step in event.moves] == [8, 8]  # a/√2 each


def test_reset_forgets_the_log_and_keeps_places(trajectory):
    case = trajectory(["collinear", "direct"] * 3, 0.12, 18)
    position = jnp.asarray(case.position)
    cut = int(case.frame[2]) + 15
    fresh = start(SETTINGS, position[0], case.is_mobile)
    before = advance(SETTINGS, fresh, position[:cut])
    again = reset(before)
    assert_equal(again.site, before.site)
    assert_equal(again.dwell, before.dwell)
    assert_equal(again.changes, fresh.changes)
    seen = history(again, advance(SETTINGS, again, position[cut:]))
    assert [CLASSES[e.kind] for e in hops(seen)] == case.kind[3:]
    assert seen.counts.exposure == len(position) - cut
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), before)
    assert_equal(jax.vmap(reset)(batch), reset(batch))


def test_settings_and_structures_that_make_no_sense_are_refused(trajectory):
    case = trajectory([], 0.1, 20)
    position = jnp.asarray(case.position[0])
    with pytest.raises(ValueError, match="below √3a/8"):
        start(SiteSettings(core_radius=0.9), position, case.is_mobile)
    with pytest.raises(ValueError, match="at least 1"):
        SiteSettings(dwell_frames=0)
    wrong = Supercell.of(ROCK_SALT, (3, 3, 4))
    with pytest.raises(ValueError, match=r"108 host atoms .*, but the supercell"):
        initialize(SETTINGS, wrong, CELL, position, case.is_mobile)
    with pytest.raises(ValueError, match="is not cubic rock salt"):
        initialize(SETTINGS, SUPERCELL, CELL * [[1, 1, 1.2]], position, case.is_mobile)


def test_the_crossing_frame_is_the_one_halfway(trajectory):
    """A hop spread over 6 frames: the interstitial is midway between its two sites."""
    settings = SiteSettings(crossing_capacity=8)
    case = trajectory(["direct"] * 4, 0.05, 23)
    position = jnp.asarray(case.position)
    initial = start(settings, position[0], case.is_mobile)
    log = advance(settings, initial, position).crossings
    assert int(log.count) == 4
    assert int(initial.mobile_index[log.cation[0]]) == len(case.is_mobile) - 1
    for k, end in enumerate(case.frame):
        frame = int(log.frame[k])
        assert end - 6 <= frame < end
        np.testing.assert_allclose(log.position[k], case.position[frame], rtol=1e-6)
        middle = (case.position[end - 8, -1] + case.position[end + 2, -1]) / 2
        # a step of the transit is a/14 = 0.3 Å; noise 0.05 Å per axis
        assert np.abs(case.position[frame, -1] - middle).max() < 0.35


def test_a_breathing_and_turned_cell_shows_the_same_hops(trajectory):
    """Constant-pressure frames in any orientation: only fractional coordinates matter."""
    case = trajectory(KINDS * 2, 0.12, 24)
    straight = run(case)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    initial = start(SETTINGS, jnp.asarray(case.position[0]), case.is_mobile)
    state = initial
    for frame, position in enumerate(case.position):
        stretch = 1 + 0.01 * np.sin(0.1 * frame)
        strain = stretch * turn
        to_sites = jnp.asarray(SUPERCELL.to_sites(CELL @ strain))
        state = state.replace(to_sites=to_sites)
        state = scan(SETTINGS, state, jnp.asarray(position @ strain)[None], frame)
    assert [e.kind for e in history(initial, state).events] == [
        e.kind for e in straight.events
    ]
