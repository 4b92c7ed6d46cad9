"""How far can one differentiate through a trajectory of LiF? Not to the next hop.

    python simulate/trajectory_gradient.py RUN_FOLDER [--copies 16] [--steps 500]

Copies start from frames of the hottest replicas of RUN_FOLDER (output.positions_every_ps),
with velocities of their own, and run without a thermostat. The observable is the squared
displacement of lithium, the direction the gradient of the collinear barrier (per eV of it).
Printed: the mean derivative over copies, its spread, and how many copies would make the
standard error a tenth of the mean; the rate at which the spread grows; and reverse mode
beside forward mode: the same number, and what it costs.
"""

import dataclasses
import time
import tomllib
from pathlib import Path
from typing import Annotated

import ase
import jax
import jax.numpy as jnp
import numpy as np
import typer

from jaxdiff import checkpoints, units
from jaxdiff.analysis.series import load_series
from jaxdiff.md.kinetics import maxwell_boltzmann
from jaxdiff.objectives.barrier import barrier_direction, find_barrier
from jaxdiff.objectives.paths import lithium_path
from jaxdiff.objectives.surface import make_surface
from jaxdiff.objectives.trajectory import trajectory, trajectory_slope
from jaxdiff.potential import cast
from jaxdiff.system import from_ase

TIMESTEP_FS = 2.0
REVERSE_STEPS = 50


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a run that kept positions.")],
    copies: Annotated[int, typer.Option(min=2, help="Trajectories.")] = 16,
    steps: Annotated[int, typer.Option(min=REVERSE_STEPS, help="Of each, of 2 fs.")] = 500,
) -> None:
    """Differentiate through trajectories, forwards and backwards."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    series = load_series(run / "series.h5")
    name = tomllib.loads(series.run_file)["model"]["name_or_path"]
    model = cast(checkpoints.restrict(checkpoints.load(name), (3, 9)), jnp.float64)
    path = lithium_path("collinear", (2, 2, 2))
    jump = make_surface(model, path.system)
    found = find_barrier(model, jump, path)
    direction = barrier_direction(model, jump, found.saddle.position, found.start.position)

    temperature = max(series.temperature)
    hottest = np.flatnonzero(series.temperature == temperature)
    frames = np.concatenate([series.position[k, : series.n_kept[k]] for k in hottest])
    chosen = np.linspace(0, len(frames) - 1, copies).astype(int)
    number = np.where(series.is_mobile, 3, 9)
    atoms = ase.Atoms(number, frames[0], cell=series.cell[0], pbc=True)
    surface = make_surface(model, from_ase(atoms))
    lithium = jnp.asarray(series.is_mobile)
    how = {"timestep": TIMESTEP_FS * units.FEMTOSECOND, "mass": surface.mass}
    kt = jnp.asarray(units.KB * temperature)

    def energy(weights, x):
        return surface.energy(dataclasses.replace(model, weights=weights), x)

    def start(k):
        momentum = maxwell_boltzmann(jax.random.key(k), surface.mass, kt)
        velocity = momentum / surface.mass[:, None]
        return jnp.asarray(frames[chosen[k]], jnp.float64), velocity

    def displacement(positions, origin):
        moved = jnp.where(lithium[:, None], positions - origin, 0.0)
        return jnp.sum(moved**2, axis=(-1, -2)) / jnp.sum(lithium)

    values, slopes = [], []
    for k in range(copies):
        position, velocity = start(k)
        positions, rates = trajectory_slope(
            energy,
            model.weights,
            direction,
            position,
            velocity,
            n_steps=steps,
            **how,
        )
        value, slope = jax.jvp(
            lambda x, origin=position: displacement(x, origin), (positions,), (rates,)
        )
        values.append(np.asarray(value))
        slopes.append(np.asarray(slope))
    report(np.array(values), np.array(slopes))

    position, velocity = start(0)

    @jax.jit
    def backwards(weights):
        def last(weights):
            positions = trajectory(
                energy, weights, position, velocity, n_steps=REVERSE_STEPS, **how
            )
            return displacement(positions[-1], position)

        return jax.grad(last)(weights)

    jax.block_until_ready(backwards(model.weights))
    begin = time.perf_counter()
    gradient = jax.block_until_ready(backwards(model.weights))
    seconds = time.perf_counter() - begin
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    along = sum(float(jnp.vdot(g, d)) for g, d in pairs)
    print(
        f"reverse mode, {REVERSE_STEPS} steps: {along:.10f}, forward mode "
        f"{slopes[0][REVERSE_STEPS - 1]:.10f} Å^2/eV; all weights in {seconds:.1f} s"
    )


def report(values: np.ndarray, slopes: np.ndarray) -> None:
    """A table over time; both [copies, steps]."""
    n_copies, n_steps = slopes.shape
    print("  t, fs   <dr^2>, Å^2   derivative, Å^2/eV    spread   copies for 10 %")
    for step in np.unique(np.geomspace(10, n_steps, 12).astype(int)):
        now = slopes[:, step - 1]
        mean, spread = now.mean(), now.std(ddof=1)
        print(
            f"{step * TIMESTEP_FS:7.0f} {values[:, step - 1].mean():13.3f} "
            f"{mean:11.3f} ± {spread / n_copies**0.5:<8.3f} {spread:8.3f} "
            f"{(10 * spread / mean) ** 2:18.3g}"
        )
    late = np.arange(n_steps // 2, n_steps)
    grown = np.log(slopes[:, late].std(axis=0, ddof=1))
    rate = np.polyfit(late * TIMESTEP_FS / 1000, grown, 1)[0]
    print(f"the spread grows as exp(t x {rate:.1f}/ps) in the second half")


if __name__ == "__main__":
    typer.run(main)
