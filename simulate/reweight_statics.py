"""Pressure and distances of another model, from frames of a run of LiF.

    python simulate/reweight_statics.py RUN_FOLDER OTHER_MODEL [--check OTHER_RUN]

The run needs output.positions_every_ps. For each temperature: the pressure, and the pair
distributions of Li-F at their first peak and of Li-Li at the distance of a split pair,
under the run's model and, reweighted, under the other one; with --check also from a run of
the other model itself.
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
from jaxtyping import Array

from jaxdiff import checkpoints, units
from jaxdiff.analysis.series import load_series
from jaxdiff.models.mace import Mace
from jaxdiff.objectives.reweight import reweight
from jaxdiff.objectives.statics import pressure, radial_distribution
from jaxdiff.objectives.surface import Surface, make_surface
from jaxdiff.objectives.transition import energies
from jaxdiff.system import from_ase

LI_F, LI_LI, WIDTH = 1.98, 2.24, 0.05  # Å


def frames_of(folder: Path) -> tuple[dict[float, np.ndarray], ase.Atoms, str]:
    """Positions by temperature, a crystal to make a surface of, and the model's name."""
    series = load_series(folder / "series.h5")
    found = {}
    for temperature in np.unique(series.temperature):
        mine = np.flatnonzero(series.temperature == temperature)
        kept = [series.position[k, : series.n_kept[k]] for k in mine]
        found[float(temperature)] = np.concatenate(kept)
    if not all(map(len, found.values())):
        raise SystemExit(f"{folder} kept no positions; run with output.positions_every_ps.")
    number = np.where(series.is_mobile, 3, 9)
    first = next(iter(found.values()))[0]
    atoms = ase.Atoms(number, first, cell=series.cell[0], pbc=True)
    return found, atoms, tomllib.loads(series.run_file)["model"]["name_or_path"]


def functions(model: Mace, surface: Surface, lithium: Array, kt: float):
    """Energy and observables of a model: (weights, positions) to a number."""

    def with_weights(weights):
        return dataclasses.replace(model, weights=weights)

    def energy(weights, x):
        return surface.energy(with_weights(weights), x)

    def pressure_gpa(weights, x):
        return pressure(surface, with_weights(weights), x, kt) / units.GIGAPASCAL

    def g(second, distance):
        at = jnp.array([distance])
        return lambda _, x: radial_distribution(
            x, surface.cell, lithium, second, at, WIDTH
        )[0]

    return energy, {
        "pressure, GPa": pressure_gpa,
        f"g Li-F({LI_F} Å)": g(~lithium, LI_F),
        f"g Li-Li({LI_LI} Å)": g(lithium, LI_LI),
    }


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a run that kept positions.")],
    model: Annotated[str, typer.Argument(help="The other model: a file or a name.")],
    check: Annotated[
        Path | None, typer.Option(help="Folder of a run of the other model.")
    ] = None,
) -> None:
    """Give pressure and distances of another model, from frames of a run."""
    jax.config.update("jax_enable_x64", True)
    frames, atoms, name = frames_of(run)
    own, other = (checkpoints.restrict(checkpoints.load(n), (3, 9)) for n in (name, model))
    lithium = jnp.asarray(atoms.numbers == 3)
    sources = [("run's model", own, frames), ("other model, reweighted", other, frames)]
    if check is not None:
        sources.append(("other model, its own run", other, frames_of(check)[0]))
    surfaces = {id(m): make_surface(m, from_ase(atoms)) for m in (own, other)}

    for temperature in frames:
        for label, wanted, source in sources:
            positions = jnp.asarray(source[temperature])
            drawn_with = own if source is frames else other
            reference = energies(drawn_with, surfaces[id(drawn_with)], positions)
            kt = units.KB * temperature
            energy, observables = functions(wanted, surfaces[id(wanted)], lithium, kt)
            found = {
                key: reweight(
                    energy, function, wanted.weights, positions, jnp.asarray(reference), kt
                )
                for key, function in observables.items()
            }
            values = ", ".join(
                f"{key} {x.value:.4f} ± {x.standard_error:.4f}" for key, x in found.items()
            )
            any_of = next(iter(found.values()))
            print(
                f"{temperature:g} K, {label}: {values}; {any_of.effective_size:.0f} of "
                f"{any_of.n_frames} frames count",
                flush=True,
            )


if __name__ == "__main__":
    typer.run(main)
