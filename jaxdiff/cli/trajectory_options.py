"""Options that say what a trajectory file does not: species of types, the cell."""

from pathlib import Path
from typing import Annotated, Any

import typer

Trajectories = Annotated[
    list[Path],
    typer.Argument(
        metavar="TRAJECTORY",
        help="LAMMPS dump, XYZ, XDATCAR, H5MD, netCDF, DCD or ASE .traj; each a replica.",
    ),
]
Species = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TYPE=ELEMENT",
        help="Element of an atom type, such as 1=Li; once for each type.",
    ),
]
TimestepFs = Annotated[
    float | None,
    typer.Option(metavar="FS", help="MD time step, fs, where the file counts steps."),
]
FramePs = Annotated[
    float | None,
    typer.Option(metavar="PS", help="Time between frames, ps, where the file has none."),
]
FileFormat = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help="lammps, extxyz, xdatcar, h5md, traj, netcdf or dcd. Default: by content.",
    ),
]
Unwrapped = Annotated[
    bool, typer.Option("--unwrapped", help="Positions are unwrapped already.")
]
CellAngstrom = Annotated[
    str | None,
    typer.Option(
        metavar="EDGES",
        help="Cell of a file that has none: three edges, or nine numbers row by row, Å.",
    ),
]
Topology = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Structure file with the same atoms, for DCD and the like."
    ),
]
LengthUnit = Annotated[
    str | None,
    typer.Option(metavar="UNIT", help="angstrom or nm, for H5MD without units."),
]
Start = Annotated[
    int, typer.Option(metavar="N", help="First frame to read, counted from 0.")
]
Stop = Annotated[int | None, typer.Option(metavar="N", help="Frame to stop before.")]
Stride = Annotated[int, typer.Option(metavar="N", help="Read every Nth frame.")]


def read_species(given: list[str]) -> dict[int, str] | None:
    """Elements by type, from 1=Li and so on."""
    types = {}
    for entry in given:
        number, equals, symbol = entry.partition("=")
        if not (equals and number.strip().isdigit()):
            raise ValueError(
                f"--species {entry} is not of the form 1=Li; give it once for each type, "
                "such as --species 1=Li --species 2=F."
            )
        types[int(number)] = symbol.strip()
    return types or None


def read_cell(text: str | None) -> Any:
    """Lattice vectors as rows, Å, from three edges or nine numbers."""
    import numpy as np

    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.replace(";", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (3, 9):
        raise ValueError(
            f"--cell-angstrom {text} must be three edges or nine numbers, separated by "
            "commas."
        )
    return np.diag(numbers) if len(numbers) == 3 else np.reshape(numbers, (3, 3))
