"""How the rates of a run of LiF would change with another model, from frames that it kept.

    python simulate/rate_change.py RUN_FOLDER OTHER_MODEL

The run needs hops.crossings_per_chunk and output.positions_every_ps. For each temperature:
ln(k'/k) with its standard error and the fractions of frames that count; from several, the
change of the activation energy.
"""

import tomllib
from pathlib import Path
from typing import Annotated

import ase
import jax
import numpy as np
import typer

from jaxdiff import checkpoints, units
from jaxdiff.analysis.crossings import load_ensembles
from jaxdiff.analysis.series import load_series
from jaxdiff.objectives.surface import make_surface
from jaxdiff.objectives.transition import energies, log_rate_change
from jaxdiff.system import from_ase


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a run that kept crossings.")],
    model: Annotated[str, typer.Argument(help="The other model: a file or a name.")],
) -> None:
    """Say how the rates of a run would change with another model."""
    jax.config.update("jax_enable_x64", True)
    series = load_series(run / "series.h5")
    number = np.where(series.is_mobile, 3, 9)
    names = tomllib.loads(series.run_file)["model"]["name_or_path"], model
    models = [checkpoints.restrict(checkpoints.load(name), (3, 9)) for name in names]

    inverse, changes = [], []
    for own in load_ensembles(run):
        atoms = ase.Atoms(number, own.reactant[0], cell=series.cell[0], pbc=True)
        difference = []
        for frames in (own.transition, own.reactant):
            old, new = (
                energies(one, make_surface(one, from_ase(atoms)), frames) for one in models
            )
            difference.append(new - old)
        kt = units.KB * own.temperature
        change = log_rate_change(*difference, kt, n_blocks=10)
        inverse.append(1 / kt)
        changes.append(change)
        counts = [
            f"{size:.0f} of {len(d)}"
            for size, d in zip(change.effective_size, difference, strict=True)
        ]
        print(
            f"{own.temperature:g} K: ln(k'/k) = {change.value:.3f} ± "
            f"{change.standard_error:.3f}; {counts[0]} crossings count, {counts[1]} frames"
        )
    if len(changes) > 1:
        value, error = (
            [getattr(c, n) for c in changes] for n in ("value", "standard_error")
        )
        fit, cov = np.polyfit(inverse, value, 1, w=1 / np.array(error), cov="unscaled")
        print(f"Ea' - Ea = {-fit[0]:.4f} ± {cov[0, 0] ** 0.5:.4f} eV (standard error)")


if __name__ == "__main__":
    typer.run(main)
