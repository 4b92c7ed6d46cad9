"""Run files to begin with: every key worth moving, with what it means."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.io.barrierfile import BarrierFile
from jaxdiff.io.config import Section, checked
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.trainfile import TrainFile
from jaxdiff.runs.reference import keys, toml
from jaxdiff.system import read_structure

KINDS = ("simulate", "lattice", "barrier", "finetune")
_LEAST_HEIGHT = 10.0  # Å, of the cell of an ensemble

Table = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Case:
    """What a run file is for.

    - `directory`: of the run file and the run. `structures`: files; none: LiF is built.
    - `data`: labelled frames. `mobile`: element that moves.
    """

    kind: str
    directory: Path
    model: str
    mobile: str
    structures: Sequence[Path] = ()
    data: Sequence[Path] = ()

    @property
    def path(self) -> Path:
        """Of the run file."""
        return self.directory / f"{self.kind}.toml"


def run_file(case: Case) -> str:
    """Its text, which the command of that kind takes unchanged.

    Raises `ValueError` where files are missing that the kind needs.
    """
    kind, table = _KINDS[case.kind](case)
    checked(kind, table)
    meaning = {key.name: key.meaning for key in keys(kind)}
    lines = [
        f"# jaxdiff {case.kind} {case.path}",
        "# Keys that are not here: jaxdiff schema --keys",
        *_lines(table, meaning, ""),
    ]
    return "\n".join(lines) + "\n"


def _lines(table: Mapping[str, Any], meaning: Mapping[str, str], within: str) -> list[str]:
    lines = []
    for name, value in table.items():
        if not isinstance(value, dict):
            sentence = meaning.get(f"{within}{name}", "").split(". ")[0].rstrip(".")
            lines += [f"# {sentence}.", f"{name} = {toml(value)}"]
    for name, value in table.items():
        if isinstance(value, dict):
            named = f"{within}{name}."
            lines += ["", f"[{named.rstrip('.')}]"]
            known = {k.replace(".NAME.", f".{name}."): v for k, v in meaning.items()}
            lines += _lines(value, known, named)
    return lines


def _ensemble(case: Case) -> tuple[type[Section], Table]:
    output = {"directory": str(case.directory / "run"), "checkpoint_minutes": 10.0}
    table: Table = {
        "model": {"name_or_path": case.model, "precision": "float32"},
        "system": {"supercell": [3, 3, 3], "lattice_constant_angstrom": 4.083428},
        "ensemble": {
            "temperatures_kelvin": [600.0, 700.0, 800.0],
            "replicas_per_temperature": 4,
            "timestep_fs": 1.25,
            "seed": 1,
        },
        "equilibration": {"duration_ps": 2.0, "longest_ps": 10.0},
        "production": {"duration_ps": 20.0, "thermostat": "csvr"},
        "hops": {"stride_fs": 20.0, "dwell_strides": 3, "core_radius_angstrom": 0.77},
        "output": output,
    }
    if case.structures:
        table["system"] = _any_crystal(case)
        table["ensemble"]["timestep_fs"] = 1.0
        table["hops"]["network"] = _network(case.structures[0])
        output["positions_every_ps"] = 0.06
    else:
        table["system"] |= {"interstitials": 1, "vacancies": 0}
    return RunFile, table


def _any_crystal(case: Case) -> Table:
    cell = np.asarray(read_structure(case.structures[0]).cell)
    height = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return {
        "structure_files": [str(path) for path in case.structures],
        "repeat": [max(1, math.ceil(_LEAST_HEIGHT / h)) for h in height.tolist()],
        "mobile": case.mobile,
        "vacancies": 0,
    }


def _network(structure: Path) -> str:
    """A CIF has ideal sites; other files may be of atoms that vibrate."""
    return str(structure) if structure.suffix.lower() == ".cif" else "none"


def _lattice(case: Case) -> tuple[type[Section], Table]:
    if case.structures:
        raise ValueError(
            "--kind lattice is for LiF alone, whose lattice constant a study needs; leave "
            "--structure out."
        )
    kind, table = _ensemble(case)
    table["system"] |= {"interstitials": 0}
    table["production"] = {"duration_ps": 10.0}
    table["barostat"] = {"pressure_gpa": 0.0}
    table.pop("hops")
    return kind, table


def _barrier(case: Case) -> tuple[type[Section], Table]:
    table: Table = {
        "model": {"name_or_path": case.model},
        "system": {"supercell": [3, 3, 3], "paths": ["collinear", "noncollinear_1"]},
        "search": {"images": 7, "max_steps": 400, "rattle_angstrom": 0.05},
        "output": {"directory": str(case.directory / "run")},
    }
    if case.structures:
        if len(case.structures) != 2:
            raise ValueError(
                f"--kind barrier takes two structures, before and after the jump; "
                f"--structure was given {len(case.structures)} times."
            )
        first, last = map(str, case.structures)
        table["ends"] = {"jump": {"first": first, "last": last}}
        table.pop("system")
    return BarrierFile, table


def _finetune(case: Case) -> tuple[type[Section], Table]:
    if not case.data:
        raise ValueError(
            "--kind finetune needs labelled frames; give --data FILE (extended XYZ, or a "
            "folder of DeePMD), the last of several for validation."
        )
    *train, valid = (str(path.resolve()) for path in case.data)  # relative to the run file
    data: Table = {"train": train, "valid": [valid], "isolated_atom_ev": "estimated"}
    if not train:
        data = {"train": [valid], "valid_fraction": 0.1, "isolated_atom_ev": "estimated"}
    return TrainFile, {
        "seed": 1,
        "directory": str(case.directory / "run"),
        "model": {"name_or_path": case.model},
        "data": data,
        "loss": {"energy_weight": 1.0, "forces_weight": 10.0, "stress_weight": 10.0},
        "optimizer": {"epochs": 20, "batch_size": 4, "learning_rate": 0.001},
    }


_KINDS = {
    "simulate": _ensemble,
    "lattice": _lattice,
    "barrier": _barrier,
    "finetune": _finetune,
}
