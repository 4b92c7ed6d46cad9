"""What the hop detector costs: time per frame, and a run with it against one without.

python benchmarks/detector_cost.py [RECORD.json] [--tiny]

217 atoms of LiF at 600 K, 8 steps of 2.5 fs per frame, the embedded model in float32, state
and detector in float64. `observe` alone is timed for 8 replicas; the runs have 2. Chunks
with and without the detector take turns, so that other load on the machine meets both.
"""

import functools
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import typer
from harness import Record, Tiny, write

from jaxdiff import md, observables, potential, units
from jaxdiff.checkpoints import load_default
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell

STEPS_PER_FRAME, FRAMES = 8, 4
SETTINGS, SKIN = observables.SiteSettings(), 0.3


def observe_alone(system, cells: int, n_replicas=8, n_frames=200) -> list[float]:
    """Milliseconds per frame of all replicas."""
    begin = initial_state(system, cells)
    position = jnp.broadcast_to(system.position, (n_replicas, system.n_atoms, 3))
    noise = 0.2 * jax.random.normal(jax.random.key(0), (n_frames, *position.shape))
    state = jax.vmap(begin, (0, None))(position, system.cell)

    @jax.jit
    def scan(state, frames):
        def step(state, frame):
            see = jax.vmap(observables.observe, (None, 0, 0, None))
            return see(SETTINGS, state, *frame), None

        return jax.lax.scan(step, state, (frames, jnp.arange(n_frames)))[0]

    times = []
    for _ in range(6):
        start = time.perf_counter()
        jax.block_until_ready(scan(state, position + noise))
        times.append(1e3 * (time.perf_counter() - start) / n_frames)
    return times[1:]


def initial_state(system, cells: int):
    """(position, cell) -> state of the detector."""
    mobile = np.asarray(system.atomic_number) == 3
    supercell = Supercell.of(ROCK_SALT, cells)
    return lambda x, cell: observables.initialize(SETTINGS, supercell, cell, x, mobile)


def runs(system, cells: int, n_chunks: int, n_replicas=2) -> dict[str, list[float]]:
    """Seconds of each chunk, with and without the detector."""
    model = potential.cast(load_default(), jnp.float32)
    kelvin = np.full(n_replicas, 600.0)
    plan = md.Plan(model.architecture.cutoff, SKIN, STEPS_PER_FRAME, FRAMES)
    function = potential.make_energy_and_force(model, system.atomic_number)
    conditions = md.conditions(
        system,
        kelvin,
        timestep=2.5 * units.FEMTOSECOND,
        damping_time=100 * units.FEMTOSECOND,
        friction=5 / units.PICOSECOND,
        seed=0,
    )
    watch = functools.partial(observables.observe, SETTINGS)
    programs, states = {}, {}
    for name, observe, begin in (
        ("off", None, None),
        ("on", watch, initial_state(system, cells)),
    ):
        programs[name] = md.make_chunk(plan, function, observe)
        states[name] = md.initialize(
            system, kelvin, cutoff=plan.cutoff, skin=SKIN, seed=0, observer=begin
        )
        states[name] = md.evaluate(programs[name], model, conditions, states[name])
    times = {"off": [], "on": []}
    n_steps, bath = jnp.asarray(plan.steps_per_chunk), plan.number("langevin")
    for k in range(n_chunks + 1):
        for name in ("off", "on") if k % 2 else ("on", "off"):
            start = time.perf_counter()
            state, _ = programs[name](
                model, conditions, states[name], n_steps.astype(jnp.int32), bath
            )
            states[name] = jax.block_until_ready(state)
            times[name].append(time.perf_counter() - start)
    return {name: t[1:] for name, t in times.items()}


def main(record: Record = None, tiny: Tiny = False) -> None:
    """Time the hop detector alone, and runs with it and without."""
    jax.config.update("jax_enable_x64", True)
    cells, n_chunks = (2, 1) if tiny else (3, 4)
    system = rock_salt_interstitial(cells)
    alone, chunk = observe_alone(system, cells), runs(system, cells, n_chunks)
    observe_ms = statistics.median(alone) / 8
    md_ms = 1e3 * statistics.median(chunk["off"]) / (2 * FRAMES)
    found = {
        "atoms": system.n_atoms,
        "observe_ms_per_frame_and_replica": round(observe_ms, 4),
        "md_ms_per_frame_and_replica": round(md_ms, 2),
        "observe_percent_of_md": round(100 * observe_ms / md_ms, 3),
        "chunk_s_without": [round(t, 3) for t in chunk["off"]],
        "chunk_s_with": [round(t, 3) for t in chunk["on"]],
        "with_over_without": round(
            statistics.median(chunk["on"]) / statistics.median(chunk["off"]), 4
        ),
        "jax": jax.__version__,
    }
    print(json.dumps(found, indent=1))
    if record is not None:
        write(record, found)


if __name__ == "__main__":
    typer.run(main)
