"""Is the derivative of a rate right? Predict it from frames, then count hops to both sides.

    python simulate/rate_direction.py RUN_FOLDER OUTPUT_FOLDER [--barrier-step-ev 0.03]

RUN_FOLDER: a run of LiF with hops.crossings_per_chunk and output.positions_every_ps. The
direction is the collinear barrier's gradient over all weights. Printed: d ln k per eV of
the barrier, from crossings and other frames. Written: `lower.safetensors` and
`higher.safetensors`, the model a step to each side, for two runs whose hops, N, give the
same derivative as (ln N_higher - ln N_lower) / (2 step).
"""

import dataclasses
import tomllib
from pathlib import Path
from typing import Annotated

import ase
import jax
import jax.numpy as jnp
import numpy as np
import typer

from jaxdiff import checkpoints, units
from jaxdiff.analysis.crossings import load_ensembles
from jaxdiff.analysis.series import load_series
from jaxdiff.checkpoints.native import save_native
from jaxdiff.objectives.barrier import barrier_direction, find_barrier
from jaxdiff.objectives.paths import lithium_path
from jaxdiff.objectives.surface import make_surface
from jaxdiff.objectives.transition import energy_slopes, log_rate_slope
from jaxdiff.potential import cast
from jaxdiff.system import from_ase


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a run that kept crossings.")],
    output: Annotated[Path, typer.Argument(help="Folder for the two models.")],
    barrier_step_ev: Annotated[
        float, typer.Option(help="What each model's barrier differs by.")
    ] = 0.03,
) -> None:
    """Predict the derivative of a rate, and write two models that test it."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    series = load_series(run / "series.h5")
    name = tomllib.loads(series.run_file)["model"]["name_or_path"]
    model = cast(checkpoints.restrict(checkpoints.load(name), (3, 9)), jnp.float64)
    path = lithium_path("collinear", (2, 2, 2))
    surface = make_surface(model, path.system)
    found = find_barrier(model, surface, path)
    direction = barrier_direction(
        model, surface, found.saddle.position, found.start.position
    )
    output.mkdir(parents=True, exist_ok=True)
    for side, sign in (("lower", -1), ("higher", 1)):
        moved = jax.tree.map(
            lambda w, d, step=sign * barrier_step_ev: w + step * d,
            model.weights,
            direction,
        )
        trial = dataclasses.replace(model, weights=moved)
        there = find_barrier(trial, surface, path)
        print(f"{side}: barrier {found.forward_ev:.4f} -> {there.forward_ev:.4f} eV")
        save_native(output / f"{side}.safetensors", cast(trial, jnp.float32))

    number = np.where(series.is_mobile, 3, 9)
    for own in load_ensembles(run):
        atoms = ase.Atoms(number, own.reactant[0], cell=series.cell[0], pbc=True)
        place = make_surface(model, from_ase(atoms))
        slopes = [
            energy_slopes(model, place, jnp.asarray(frames), direction)
            for frames in (own.transition, own.reactant)
        ]
        kt = units.KB * own.temperature
        found_slope = log_rate_slope(*slopes, kt)
        print(
            f"{own.temperature:g} K: d ln k / d barrier = {found_slope.value:.2f} ± "
            f"{found_slope.standard_error:.2f} per eV (-1/kT = {-1 / kt:.2f}); "
            f"{len(slopes[0])} crossings, {len(slopes[1])} frames"
        )


if __name__ == "__main__":
    typer.run(main)
