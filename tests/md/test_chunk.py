import jax
import jax.numpy as jnp
import numpy as np
import potentials
import pytest

from jaxdiff import md, neighbors
from jaxdiff.devices import devices_for
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial

THERMOSTATS = ("nve", "langevin", "nose-hoover", "csvr", "cell-rescaling")
SERIES = (
    "kinetic_temperature",
    "potential_energy",
    "conserved_energy",
    "pressure",
    "volume",
)


def trajectory(parts):
    """Everything that a run leaves behind, except for the sizes of chunks."""
    final = parts[-1].state
    rows = {
        name: np.concatenate([getattr(part.series, name) for part in parts])
        for name in SERIES
    }
    return (
        rows
        | {
            "position": np.asarray(final.motion.position),
            "momentum": np.asarray(final.motion.momentum),
            "cell": np.asarray(final.motion.cell),
            "step": np.concatenate([part.step for part in parts]),
        }
        | chain(final)
    )


def chain(state):
    """Momenta of the chain, of a program that has one."""
    own = state.integrators.get("nose-hoover")
    return {} if own is None else {"chain": np.asarray(own.chain_momentum)}


def assert_same(first, second):
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.slow
def test_replicas_beside_it_do_not_change_a_trajectory(lab):
    """Bit for bit, through rebuilds of the list, in batches of 4, 2 and 1."""
    kelvin = np.array([500.0, 900.0, 1500.0, 700.0])
    four = lab(temperature=kelvin, replica_id=np.arange(4), capacity=80)
    for batch in ([1, 2], [2]):
        few = lab(temperature=kelvin[batch], replica_id=np.array(batch), capacity=80)
        for thermostat in THERMOSTATS:
            every, some = (trajectory(x.run(100, thermostat)) for x in (four, few))
            for name in set(every) - {"step"}:
                column = every[name][:, 2] if name in SERIES else every[name][2]
                last = some[name][:, -1] if name in SERIES else some[name][-1]
                np.testing.assert_array_equal(last, column, err_msg=f"{name} {thermostat}")
    start = four.state.neighbors.reference
    assert not np.array_equal(
        four.run(100, "nve")[-1].state.neighbors.reference[2], start[2]
    )


@pytest.mark.slow
@pytest.mark.parametrize("n_devices", [2, 3, 4])
def test_devices_share_the_replicas_and_change_nothing(lab, n_devices):
    """Bit for bit, with lists that are rebuilt on the way, each device its own.

    Three devices do not divide four replicas.
    """
    options = {
        "temperature": [500.0, 900.0, 1500.0, 700.0],
        "capacity": 80,
        "integrators": ("nve", "langevin", "nose-hoover", "csvr"),
    }
    alone = lab(**options)
    shared = lab(**options, devices=tuple(jax.devices()[:n_devices]))
    for thermostat in ("langevin", "nose-hoover", "csvr"):
        one, many = (x.run(150, thermostat) for x in (alone, shared))
        assert_same(trajectory(one), trajectory(many))
    if n_devices != 3:
        assert len(many[-1].state.motion.position.sharding.device_set) == n_devices
    assert not np.array_equal(
        many[-1].state.neighbors.reference, shared.state.neighbors.reference
    )


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_groups_of_replicas_change_nothing_but_rounding(lab, size):
    """All at once or in pairs, and one by one; a rebuild leaves the others' lists alone."""
    options = {"temperature": [500.0, 900.0, 1500.0, 700.0], "capacity": 80}
    one, group = lab(**options), lab(**options, group_size=size)
    for thermostat in ("nve", "langevin", "nose-hoover", "csvr"):
        first, second = (trajectory(x.run(100, thermostat)) for x in (one, group))
        for name in first:
            scale = np.abs(first[name]).max()
            np.testing.assert_allclose(
                second[name], first[name], rtol=0, atol=1e-10 * scale, err_msg=name
            )
    with pytest.raises(ValueError, match="cannot be divided into groups of 3"):
        lab(**options, group_size=3)


def test_devices_for_replicas():
    """Two or more; there are four devices here."""
    assert len(jax.devices()) == 4
    counts = [len(devices_for(n)) for n in (1, 2, 3, 4, 5, 6, 8)]
    assert counts == [2, 2, 3, 4, 4, 4, 4]


@pytest.mark.slow
def test_length_of_chunks_does_not_change_a_trajectory(lab):
    short, long = (
        lab(
            temperature=[500.0, 900.0, 1500.0, 700.0],
            frames_per_chunk=n,
            capacity=80,
            integrators=("nve", "nose-hoover"),
        )
        for n in (10, 100)
    )
    first, second = short.run(237, "nose-hoover"), long.run(237, "nose-hoover")
    assert (len(first), len(second)) == (5, 1)
    assert_same(trajectory(first), trajectory(second))
    assert_same(trajectory(first), trajectory(short.run(237, "nose-hoover")))


def test_exactly_the_steps_asked_for(lab):
    """237 steps, 5 per frame: 47 frames and two steps more."""
    crystal = lab(potentials.einstein, cutoff=2.0, integrators=("nve",))
    parts = crystal.run(237, "nve")
    assert int(parts[-1].state.step) == 237
    assert sum(part.n_steps for part in parts) == 237
    np.testing.assert_array_equal(
        np.concatenate([part.step for part in parts]), np.arange(5, 237, 5)
    )
    more = crystal.run(13, "nve", parts[-1].state)  # frames go on where they were
    np.testing.assert_array_equal(more[0].step, [240, 245, 250])
    assert crystal.run(0, "nve") == []


@pytest.mark.slow
def test_one_compilation_for_a_whole_run(lab):
    """First force, equilibration, production and a short last chunk: one program."""
    counted, traces = potentials.counting(potentials.pairs)
    crystal = lab(counted, temperature=[500.0, 700.0], capacity=80)
    state = crystal.run(60, "langevin")[-1].state
    crystal.run(123, "nose-hoover", md.restart(state))
    crystal.run(5, "nve", md.restart(state))
    assert len(traces) == 1
    assert len(crystal.run_chunk) == 1


def hot(lab, integrators=("nve",), **options):
    return lab(
        temperature=[1500.0, 600.0],
        skin=0.2,
        frames_per_chunk=20,
        integrators=integrators,
        **options,
    )


def force_error(crystal, state):
    """Force of the state against one with a list made for its positions."""
    position, cell = state.motion.position, state.motion.cell
    fresh = neighbors.allocate(position, cell, crystal.plan.cutoff, 0.0)
    exact = jax.vmap(potentials.pairs, (None, 0, 0, 0))(
        crystal.params, position, cell, fresh
    )[1]
    return float(jnp.abs(state.force - exact).max())


@pytest.mark.slow
def test_force_and_energy_belong_to_the_position(lab):
    """At the start, after every chunk, and after lists have been rebuilt."""
    crystal = hot(lab, capacity=80)
    assert force_error(crystal, crystal.state) < 1e-10
    assert int(crystal.state.step) == 0
    for part in crystal.run(300, "nve"):
        assert force_error(crystal, part.state) < 1e-10
    start = crystal.state.neighbors.reference
    assert not np.array_equal(part.state.neighbors.reference, start)
    again = md.evaluate(crystal.run_chunk, crystal.params, crystal.conditions, part.state)
    np.testing.assert_allclose(part.series.potential_energy[-1], again.energy, rtol=1e-13)


@pytest.mark.long
def test_a_list_that_is_never_rebuilt_would_be_noticed(lab, monkeypatch):
    """The break that the test above is there for."""
    monkeypatch.setattr(neighbors, "refresh", lambda position, cell, old, *_: old)
    fresh = potentials.counting(potentials.pairs)[0]  # a program of its own
    crystal = hot(lab, capacity=80, potential=fresh)
    assert force_error(crystal, crystal.run(300, "nve")[-1].state) > 1e-6


@pytest.mark.slow
def test_overflow_replays_the_chunk(lab):
    """With the fewest places that do at the start, and with plenty from the start."""
    system = rock_salt_interstitial(2)
    needed = neighbors.neighbor_rows(system.position, system.cell, 4.2)[0].shape[1]
    tight, wide = (hot(lab, ("nve", "nose-hoover"), capacity=n) for n in (needed, 80))
    parts, reference = tight.run(100, "nose-hoover"), wide.run(100, "nose-hoover")
    assert sum(part.n_replays for part in parts) >= 1
    assert sum(part.n_replays for part in reference) == 0
    assert parts[-1].state.neighbors.capacity > needed
    first, second = trajectory(parts), trajectory(reference)
    for name in first:  # sums over rows of another length round differently
        np.testing.assert_allclose(first[name], second[name], rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_more_places_within_the_cutoff_change_no_bit(lab):
    """32 of 64 places are too few for hot ions; 64 from the start are enough."""
    few, enough = (
        hot(lab, ("nve", "nose-hoover"), capacity=64, close=close) for close in (32, 64)
    )
    parts, reference = few.run(100, "nose-hoover"), enough.run(100, "nose-hoover")
    assert sum(part.n_replays for part in parts) == 1
    assert parts[-1].state.neighbors.close == 64
    assert parts[-1].state.neighbors.capacity == 64
    assert_same(trajectory(parts), trajectory(reference))
    assert force_error(few, parts[-1].state) < 1e-10


def explosive(params, position, cell, lists):
    """Not a number once an atom is 0.3 Å from its site."""
    energy, force, strain = potentials.einstein(params, position, cell, lists)
    far = jnp.max(jnp.abs(position - params["site"])) > 0.3
    return jnp.where(far, jnp.nan, energy), force, strain


def count_frames(state, position, frame):
    return state + 1


STOPPING = {  # of three replicas: one program for sound ones, one for explosive ones
    "cutoff": 2.0,
    "integrators": ("nve",),
    "observe": count_frames,
    "observer": lambda position, cell: jnp.zeros((), jnp.int32),
}


@pytest.mark.slow
def test_a_replica_that_diverges_stops_and_the_others_keep_their_bits(lab):
    """It stays at its last good frame; nothing of it is counted from there on."""
    options = STOPPING | {"temperature": [20.0, 1000.0, 25.0]}
    hot, sound = lab(explosive, **options), lab(potentials.einstein, **options)
    parts, reference = hot.run(1000, "nve"), sound.run(1000, "nve")
    final = parts[-1].state
    bad_step = int(final.bad_step[1])
    np.testing.assert_array_equal(final.bad_step, [-1, bad_step, -1])
    assert [part.diverged for part in parts if part.diverged] == [(1,)]
    first, second = trajectory(parts), trajectory(reference)
    for name in SERIES:
        np.testing.assert_array_equal(first[name][:, [0, 2]], second[name][:, [0, 2]])
        good = np.isfinite(first[name][:, 1])
        np.testing.assert_array_equal(good, first["step"] < bad_step)
        np.testing.assert_array_equal(first[name][good, 1], second[name][good, 1])
    np.testing.assert_array_equal(first["position"][[0, 2]], second["position"][[0, 2]])
    last = (bad_step - 1) // 5
    np.testing.assert_array_equal(final.hops, [200, last, 200])
    at_last_frame = sound.run(5 * last, "nve")[-1].state.motion
    np.testing.assert_array_equal(first["position"][1], at_last_frame.position[1])
    np.testing.assert_array_equal(first["momentum"][1], at_last_frame.momentum[1])
    short = lab(explosive, **options, frames_per_chunk=3).run(1000, "nve")
    assert_same(trajectory(short), first)
    assert f"diverged at {bad_step / 1000:.4f} ps: its energy" in md.why(
        final, hot.conditions, 1
    )


def test_a_run_goes_on_at_no_cost_when_its_last_replica_has_diverged(lab):
    crystal = lab(explosive, **STOPPING, temperature=[1000.0, 1200.0, 1400.0])
    parts = crystal.run(5000, "nve")
    final = parts[-1].state
    assert (np.asarray(final.bad_step) > 0).all()
    assert np.isfinite(final.motion.position).all()
    assert int(final.step) == sum(part.n_steps for part in parts) == 5000
    assert np.isnan(parts[-1].series.potential_energy).all()
    assert "replica 0 (1000 K) diverged at" in md.why(final, crystal.conditions, 0)


def test_too_hot_is_divergence_too(lab):
    kelvin = [100.0, 2000.0, 150.0]
    crystal = lab(
        potentials.einstein, **STOPPING, temperature=kelvin, max_temperature=900.0
    )
    final = crystal.run(100, "nve")[-1].state
    np.testing.assert_array_equal(final.bad_step, [-1, 1, -1])
    assert "above 900 K" in md.why(final, crystal.conditions, 1)
    assert int(md.restart(final).bad_step[1]) == 0  # and it stays so
    why = md.why(md.restart(final), crystal.conditions, 1)
    assert "diverged at a step of equilibration: its temperature reached" in why
    assert "above 900 K" in why
    assert not np.asarray(md.restart(final).info.max_temperature)[[0, 2]].any()


def test_chunks_end_at_boundaries_and_fit_their_time(lab):
    crystal = lab(potentials.einstein, cutoff=2.0)

    def lengths(**options):
        parts = md.advance(
            crystal.run_chunk, crystal.plan, crystal.params, crystal.conditions,
            crystal.state, n_steps=200, integrator="nve", **options,
        )  # fmt: skip
        return [part.n_steps for part in parts]

    assert lengths() == [50] * 4
    assert lengths(boundary=30) == [30] * 6 + [20]
    assert lengths(boundary=70) == [50, 20, 50, 20, 50, 10]
    assert lengths(seconds=0.0) == [5] * 40
    slow = lengths(
        seconds=1e6
    )  # one frame, whose time holds the compilation, then one more
    assert slow == [5, 5, 50, 50, 50, 40]


def test_observer_sees_every_frame_once(lab):
    """A stand-in: frame numbers summed, and the last position."""

    def observe(state, position, frame):
        count, total, _ = state
        return count + 1, total + frame, position

    def observer(position, cell):
        return jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), position

    crystal = lab(
        potentials.einstein, temperature=[300.0, 600.0], cutoff=2.0,
        observe=observe, observer=observer,
    )  # fmt: skip
    final = crystal.run(235, "nose-hoover")[-1].state
    np.testing.assert_array_equal(final.hops[0], [47, 47])
    np.testing.assert_array_equal(final.hops[1], [47 * 48 // 2] * 2)
    np.testing.assert_array_equal(final.hops[2], final.motion.position)


def test_restart_zeroes_counts_and_chains(lab):
    crystal = lab(potentials.einstein, cutoff=2.0)
    state = md.restart(crystal.run(20, "nose-hoover")[-1].state)
    assert int(state.step) == 0
    assert not state.integrators["nose-hoover"].chain_momentum.any()
    assert not state.info.max_temperature.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: md.Plan(4.0, 0.4, 0, 10), "steps_per_frame=0"),
        (lambda: md.temperature_grid([], 1), r"temperatures=\[\] K"),
        (lambda: md.temperature_grid([300.0], 0), "replicas_per_temperature=0"),
    ],
)
def test_impossible_settings(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_negative_number_of_steps(lab):
    with pytest.raises(ValueError, match="n_steps=-1"):
        lab(potentials.einstein, cutoff=2.0).run(-1, "nve")


def test_positions_of_the_wrong_shape():
    system = rock_salt_interstitial(2)
    with pytest.raises(ValueError, match="2 replicas of 65 atoms need"):
        md.initialize(
            system, np.array([300.0, 300.0]), cutoff=4.0, skin=0.4, seed=1,
            position=system.position[None],
        )  # fmt: skip
