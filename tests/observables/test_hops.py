"""The detector on synthetic trajectories with known hops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.observables import (
    CLASSES,
    UNITS,
    HopSettings,
    counters,
    initialize,
    observe,
    reset,
)

LATTICE, CELLS = 4.083428, (3, 3, 3)
SETTINGS = HopSettings(lattice_constant=LATTICE, supercell=CELLS)
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


def run(settings, trajectory, dtype="float64"):
    position = jnp.asarray(trajectory.position, dtype)
    start = initialize(settings, position[0], trajectory.is_mobile)
    return advance(settings, start, position)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("noise", [0.15, 0.20, 0.25])
def test_nearly_all_hops_are_found_and_classed(trajectory, noise):
    """At least 99 % of some 320 hops of all classes; none lands in a wrong one."""
    found, put_in = np.zeros(len(CLASSES), int), np.zeros(len(CLASSES), int)
    for seed in range(4):
        rng = np.random.default_rng(1000 + seed)
        kinds = [str(k) for k in rng.choice(KINDS, 80, p=[0.6, 0.2, 0.1, 0.1])]
        case = trajectory(kinds, noise, seed)
        state = run(SETTINGS, case)
        found += np.asarray(state.counts.hops_by_class)
        put_in += np.bincount([CLASSES.index(k) for k in kinds], minlength=len(CLASSES))
        np.testing.assert_array_equal(state.counts.defect_displacement, case.jump.sum(0))
        assert int(state.counts.frames) == len(case.position)
        assert int(state.counts.anion_displaced_frames) <= 1e-3 * len(case.position)
    total = put_in.sum()
    assert abs(found.sum() - total) <= 0.01 * total
    assert np.abs(found - put_in).sum() <= 0.02 * total


def test_every_hop_is_logged_at_its_time(trajectory):
    case = trajectory(KINDS * 5, 0.12, 5)
    counts = run(SETTINGS, case).counts
    n = len(case.kind)
    assert int(counts.event_count) == n
    assert [CLASSES[k] for k in counts.event_class[:n]] == case.kind
    # the frame after the last of the transit, plus the dwell and some noise
    delay = np.asarray(counts.event_frame[:n]) - case.frame
    assert delay.min() >= -SETTINGS.dwell_frames
    assert delay.max() <= 3 * SETTINGS.dwell_frames
    jump = np.asarray(counts.event_to[:n] - counts.event_from[:n])
    np.testing.assert_array_equal(jump, case.jump)
    np.testing.assert_array_equal(counts.event_to[: n - 1], counts.event_from[1:n])
    assert np.all(np.asarray(counts.event_frame[n:]) == -1)
    assert int(counts.first_hop_frame) == int(counts.event_frame[0])


def test_sums_over_hops_are_those_put_in(trajectory):
    case = trajectory(KINDS * 5, 0.12, 6)
    counts = run(SETTINGS, case).counts
    unit = case.jump / np.linalg.norm(case.jump, axis=1, keepdims=True)
    cosine = (unit[1:] * unit[:-1]).sum(1)
    assert int(counts.squared_defect_displacement) == (case.jump**2).sum()
    assert int(counts.squared_atom_steps) == 5 * (6 + 6 + 6 + 4)
    assert int(counts.cosine_count) == len(cosine)
    np.testing.assert_allclose(counts.cosine_sum, cosine.sum(), atol=1e-10)
    np.testing.assert_allclose(counts.cosine_squared_sum, (cosine**2).sum(), atol=1e-10)
    np.testing.assert_array_equal(counts.atoms_moved_histogram, [0, 5, 15, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("noise", [0.15, 0.25])
@pytest.mark.parametrize("drift", [0.0, 0.02])
def test_a_static_crystal_does_not_hop(trajectory, noise, drift):
    """2000 frames with noise and, second, a drift of 40 Å: ten lattice constants."""
    case = trajectory([], noise, 7, residence=2000, drift=drift)
    counts = run(SETTINGS, case).counts
    assert int(counts.hops_by_class.sum()) == 0
    assert int(counts.event_count) == 0
    assert int(counts.squared_atom_steps) == 0
    assert int(counts.exposure_frames) == int(counts.frames)
    assert int(counts.first_hop_frame) == -1


def test_single_precision_sees_the_same(trajectory):
    case = trajectory(KINDS * 3, 0.15, 8)
    double, single = run(SETTINGS, case), run(SETTINGS, case, "float32")
    assert single.counts.cosine_sum.dtype == jnp.float32
    np.testing.assert_array_equal(double.counts.event_class, single.counts.event_class)
    np.testing.assert_array_equal(double.counts.event_frame, single.counts.event_frame)


def test_replicas_under_vmap_are_single_runs(trajectory):
    cases = [trajectory(KINDS, 0.2, seed) for seed in (9, 10, 11)]
    n = min(len(c.position) for c in cases)
    position = jnp.asarray(np.stack([c.position[:n] for c in cases]))
    start = jax.vmap(lambda x: initialize(SETTINGS, x, cases[0].is_mobile))(position[:, 0])
    batch = jax.vmap(lambda s, x: scan(SETTINGS, s, x))(start, position)
    for k, case in enumerate(cases):
        single = initialize(SETTINGS, position[k, 0], case.is_mobile)
        single = advance(SETTINGS, single, position[k])
        assert_equal(jax.tree.map(lambda leaf, k=k: leaf[k], batch), single)


def test_chunks_add_up_to_one_scan(trajectory):
    case = trajectory(KINDS * 2, 0.2, 12)
    position = jnp.asarray(case.position)
    start = initialize(SETTINGS, position[0], case.is_mobile)
    assert_equal(scan(SETTINGS, start, position), run(SETTINGS, case))


def test_a_full_log_goes_on_counting(trajectory):
    case = trajectory(["collinear"] * 9, 0.12, 13)
    small = HopSettings(lattice_constant=LATTICE, supercell=CELLS, log_capacity=4)
    counts, complete = run(small, case).counts, run(SETTINGS, case).counts
    assert counts.event_frame.shape == (4,)
    assert int(counts.event_count) == 9
    np.testing.assert_array_equal(counts.event_to, complete.event_to[:4])
    assert int(counts.hops_by_class.sum()) == 9


def visit(trajectory, visits):
    """A quiet crystal whose interstitial is put `(first, last, Å along x)`, in turn."""
    case = trajectory([], 1e-3, 21, residence=80, drift=0.0)
    for first, last, distance in visits:
        case.position[first:last, -1, 0] += distance
    return run(SETTINGS, case).counts


@pytest.mark.parametrize(("frames", "hops"), [(1, 0), (2, 0), (3, 2), (10, 2)])
def test_a_site_counts_after_the_dwell(trajectory, frames, hops):
    """To the next 8c site and back: two hops, or none if it did not stay three frames."""
    counts = visit(trajectory, [(20, 20 + frames, LATTICE / 2)])
    assert int(counts.event_count) == hops
    if hops:
        np.testing.assert_array_equal(counts.event_frame[:2], [22, 22 + frames])


@pytest.mark.parametrize(("short_of_it", "hops"), [(0.80, 0), (0.74, 1)])
def test_a_site_counts_inside_its_core(trajectory, short_of_it, hops):
    """0.77 Å; the boundary between the two 8c sites is at 1.02 Å."""
    counts = visit(trajectory, [(20, None, LATTICE / 2 - short_of_it)])
    assert int(counts.event_count) == hops


def test_visits_to_different_sites_do_not_add_up(trajectory):
    away = LATTICE / 2
    assert int(visit(trajectory, [(20, 22, away), (22, 24, -away)]).event_count) == 0
    assert int(visit(trajectory, [(20, 22, away), (24, 26, away)]).event_count) == 0


def test_a_doubly_occupied_site_is_not_valid(trajectory):
    """A vacancy and two cations on one site, next to the one on 8c."""
    case = trajectory([], 1e-3, 22, residence=60)
    i, j = np.flatnonzero(case.is_mobile)[:2]
    edge = 3 * LATTICE
    shift = case.position[:, j] - case.position[:, i]
    case.position[20:40, i] += (shift - edge * np.round(shift / edge))[20:40]
    counts = run(SETTINGS, case).counts
    assert int(counts.undefined_frames) == 20
    assert int(counts.frenkel_frames) == 0
    assert int(counts.exchanges) == 0


@pytest.mark.parametrize("removed", [1, 2])
def test_without_interstitial_nothing_is_defined(trajectory, removed):
    """One removed: the perfect crystal. Two: a vacancy."""
    case = trajectory([], 0.15, 14)
    keep = np.ones(len(case.is_mobile), bool)
    keep[-removed:] = False
    position = jnp.asarray(case.position[:, keep])
    state = initialize(SETTINGS, position[0], case.is_mobile[keep])
    counts = advance(SETTINGS, state, position).counts
    assert int(counts.undefined_frames) == int(counts.frames) == len(position)
    assert int(counts.exposure_frames) == 0
    assert int(counts.event_count) == 0


def test_a_frenkel_pair_is_flagged_and_is_no_hop(trajectory):
    case = trajectory([], 0.05, 15, residence=60)
    far = np.flatnonzero(case.is_mobile)[0]
    case.position[20:40, far] += LATTICE / 4  # along <111>, to an empty 8c site
    counts = run(SETTINGS, case).counts
    assert int(counts.frenkel_frames) == 20
    assert int(counts.undefined_frames) == 20
    assert int(counts.transit_frames) == 0
    assert int(counts.exposure_frames) == int(counts.frames)
    assert int(counts.event_count) == 0


@pytest.mark.parametrize(("direction", "transits"), [(1, 20), (-1, 0)])
def test_a_cation_pushed_out_by_the_interstitial_is_in_transit(
    trajectory, direction, transits
):
    """Away from the defect along <111>, to the opposite 8c site; or to one elsewhere."""
    case = trajectory([], 0.05, 15, residence=60)
    mobile = np.flatnonzero(case.is_mobile)
    mean = case.position[:20].mean(axis=0)
    apart = mean[mobile[:-1]] - mean[mobile[-1]]  # the interstitial is the last one
    apart -= 3 * LATTICE * np.round(apart / (3 * LATTICE))
    neighbor = np.linalg.norm(apart, axis=1).argmin()
    away = np.sign(apart[neighbor]) * LATTICE / 4
    if direction < 0:  # any of the three other faces of the neighbour's cube
        away[0] *= -1
        neighbor = np.linalg.norm(apart, axis=1).argmax()
    case.position[20:40, mobile[neighbor]] += away
    counts = run(SETTINGS, case).counts
    assert int(counts.undefined_frames) == 20
    assert int(counts.transit_frames) == transits
    assert int(counts.event_count) == 0


def test_a_displaced_anion_is_flagged(trajectory):
    case = trajectory([], 0.05, 16, residence=60)
    case.position[20:30, 3] += LATTICE / 4
    assert int(run(SETTINGS, case).counts.anion_displaced_frames) == 10


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
    counts = run(SETTINGS, case).counts
    assert int(counts.exchanges) == 1
    assert int(counts.event_count) == 0
    assert int(counts.squared_atom_steps) == 2 * 8  # a/√2 each


def test_reset_forgets_counts_and_keeps_places(trajectory):
    case = trajectory(["collinear", "direct"] * 3, 0.12, 18)
    position = jnp.asarray(case.position)
    cut = int(case.frame[2]) + 15
    fresh = initialize(SETTINGS, position[0], case.is_mobile)
    before = advance(SETTINGS, fresh, position[:cut])
    start = reset(before)
    assert_equal(start.memory, before.memory)
    assert_equal(start.counts, fresh.counts)
    counts = advance(SETTINGS, start, position[cut:]).counts
    assert int(counts.event_count) == 3
    assert int(counts.exposure_frames) == len(position) - cut
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), before)
    assert_equal(jax.vmap(reset)(batch), reset(batch))


def test_every_counter_has_a_unit(trajectory):
    case = trajectory([], 0.1, 19)
    state = run(SETTINGS, case)
    assert list(counters(state)) == list(UNITS)
    assert set(UNITS) == set(state.counts.__dataclass_fields__)


def test_settings_and_structures_that_make_no_sense_are_refused(trajectory):
    with pytest.raises(ValueError, match="below √3a/8"):
        HopSettings(lattice_constant=LATTICE, supercell=CELLS, core_radius=0.9)
    with pytest.raises(ValueError, match="at least 2"):
        HopSettings(lattice_constant=LATTICE, supercell=(1, 3, 3))
    with pytest.raises(ValueError, match="at least 1"):
        HopSettings(lattice_constant=LATTICE, supercell=CELLS, dwell_frames=0)
    case = trajectory([], 0.1, 20)
    wrong = HopSettings(lattice_constant=LATTICE, supercell=(3, 3, 4))
    with pytest.raises(ValueError, match="108 anions, but supercell"):
        initialize(wrong, jnp.asarray(case.position[0]), case.is_mobile)
