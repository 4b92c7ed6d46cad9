"""`jaxdiff analyze`: diffusion, conductivity and hops from trajectories that exist."""

from pathlib import Path
from typing import Annotated

import typer

from jaxdiff.cli.answer import tell
from jaxdiff.cli.frame import computing
from jaxdiff.cli.options import Mobile
from jaxdiff.cli.trajectory_options import (
    CellAngstrom,
    FileFormat,
    FramePs,
    LengthUnit,
    Species,
    Start,
    Stop,
    Stride,
    TimestepFs,
    Topology,
    Trajectories,
    Unwrapped,
    read_cell,
    read_species,
)

_OF_FILE = (
    *("timestep_fs", "frame_ps", "file_format", "unwrapped", "topology", "length_unit"),
    *("start", "stop", "stride"),
)

TemperatureKelvin = Annotated[
    list[float],
    typer.Option(
        metavar="KELVIN",
        help="Temperature of each trajectory in turn, or one for all.",
    ),
]
Out = Annotated[
    Path, typer.Option(metavar="FOLDER", help="Folder for the report and its data.")
]
Network = Annotated[
    str | None,
    typer.Option(
        metavar="SITES",
        help="Hops are counted between the sites of a structure file (CIF, POSCAR, "
        "extxyz), the `maxima` of the density, or those of `rock-salt`; `none`: "
        "displacements alone. Default: rock-salt where the crystal is, else none.",
    ),
]
Charge = Annotated[
    float | None,
    typer.Option(
        metavar="E",
        help="Charge of the mobile ion, e, for the conductivity. Default: its common "
        "oxidation state.",
    ),
]
Supercell = Annotated[
    str | None,
    typer.Option(
        metavar="CELLS",
        help="Conventional cells along each axis (5 or 4,4,6), or the vectors of the cell "
        "in units of a, nine numbers. Default: from the cell.",
    ),
]
DwellFrames = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Frames near a site before an arrival counts. Default: 0.06 ps.",
    ),
]
CoreRadius = Annotated[
    float,
    typer.Option(
        metavar="ANGSTROM", help="A mobile atom this near to a site has arrived, Å."
    ),
]
KeepFrames = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Frames kept for the mean squared displacement of the atoms; 0: none.",
    ),
]


@computing
def analyze(
    trajectory: Trajectories,
    temperature_kelvin: TemperatureKelvin,
    out: Out,
    network: Network = None,
    supercell: Supercell = None,
    mobile: Mobile = "Li",
    charge: Charge = None,
    species: Species = None,
    timestep_fs: TimestepFs = None,
    frame_ps: FramePs = None,
    file_format: FileFormat = None,
    unwrapped: Unwrapped = False,
    cell_angstrom: CellAngstrom = None,
    topology: Topology = None,
    length_unit: LengthUnit = None,
    start: Start = 0,
    stop: Stop = None,
    stride: Stride = 1,
    dwell_frames: DwellFrames = None,
    core_radius_angstrom: CoreRadius = 0.77,
    keep_frames: KeepFrames = 1000,
) -> None:
    """Find diffusivity, conductivity and hops in trajectories of any program."""
    asked = {k: v for k, v in locals().items() if k not in ("trajectory", "out")}
    from jaxdiff.io.folder import RunFolder
    from jaxdiff.io.trajectory import open_trajectory
    from jaxdiff.report import write_report, write_transport_report
    from jaxdiff.runs.analysis import choose
    from jaxdiff.runs.trajectories import Analysis

    of_file = {name: asked[name] for name in _OF_FILE}
    of_file |= {"species": read_species(species or []), "cell": read_cell(cell_angstrom)}
    opened = [open_trajectory(path, **of_file) for path in trajectory]
    found = choose(opened, asked | {"topology": topology and str(topology)})
    folder = RunFolder(out, "--out")
    folder.require_empty()
    with folder.claimed():
        if isinstance(found, Analysis):
            found.write_series(out)
            target = write_report(out)
        else:
            target = write_transport_report(*found.study(), out)
    for one in opened:
        if one.note:
            typer.echo(f"{one.path}: {one.note}")
    tell(target)
