"""The lattice of a model from a run at constant pressure."""

import math
import tomllib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxdiff import units
from jaxdiff.analysis.lattice import LatticeStudy, study_lattice
from jaxdiff.io import digest, runfile
from jaxdiff.io.series import SERIES


def study_of_run(directory: str | Path) -> LatticeStudy:
    """a(T), expansion and bulk modulus from the series of a run with a barostat."""
    digest.verify(Path(directory) / SERIES)
    with h5py.File(Path(directory) / SERIES) as file:

        def data(name: str) -> np.ndarray:
            return np.asarray(file[name])

        text: Any = file.attrs["run_file"]
        run = runfile.parse(tomllib.loads(str(text)))
        if run.barostat is None:
            raise ValueError(
                f"{directory} was not run with a barostat; give a run of jaxdiff lattice."
            )
        return study_lattice(
            data("thermo/volume_angstrom3"),
            data("thermo/time_ps"),
            data("temperature_kelvin"),
            n_cells=math.prod(run.system.supercell or ()),
            target_pressure=run.barostat.pressure_gpa * units.GIGAPASCAL,
            pressure=data("thermo/pressure_gpa") * units.GIGAPASCAL,
        )
