"""The format of a trajectory, by its content or as it is said, and its reader."""

from collections.abc import Callable
from pathlib import Path

from jaxdiff.io.ase_traj import open_ase_traj
from jaxdiff.io.compressed import is_packed
from jaxdiff.io.dcd import open_dcd
from jaxdiff.io.extxyz import open_extxyz
from jaxdiff.io.h5md import open_h5md
from jaxdiff.io.lammps_dump import open_lammps_dump
from jaxdiff.io.lines import Lines, apart
from jaxdiff.io.netcdf import open_netcdf
from jaxdiff.io.trajectory_source import Given, Source, no_complete_frame
from jaxdiff.io.xdatcar import open_xdatcar

FORMATS = ("lammps", "extxyz", "xdatcar", "h5md", "traj")
"""What is read and written."""

_READERS: dict[str, Callable[[Path, Given], Source]] = {
    "lammps": open_lammps_dump,
    "extxyz": open_extxyz,
    "xdatcar": open_xdatcar,
    "h5md": open_h5md,
    "traj": open_ase_traj,
    "netcdf": open_netcdf,
    "dcd": open_dcd,
}
_WITHOUT_ELEMENTS = ("h5md", "netcdf", "dcd")
_HDF5 = b"\x89HDF\r\n\x1a\n"


def open_source(path: Path, file_format: str | None, given: Given) -> Source:
    """An open trajectory of a format, or of that which its content shows."""
    form = _format(path) if file_format is None else file_format
    if form not in _READERS:
        raise ValueError(f"--file-format {form} is not one of {', '.join(_READERS)}.")
    if given.length_unit is not None and form != "h5md":
        raise ValueError(f"{path} has lengths in Å; --length-unit is for H5MD alone.")
    if given.topology is not None and form not in _WITHOUT_ELEMENTS:
        raise ValueError(
            f"{path} names elements or types; --topology is for H5MD, netCDF and DCD alone."
        )
    return _READERS[form](path, given)


def _format(path: Path) -> str:
    with path.open("rb") as file:
        magic = file.read(8)
    if magic == _HDF5:
        return "h5md"
    if magic.startswith(b"- of Ulm"):
        return "traj"
    if magic.startswith((b"CDF\x01", b"CDF\x02", b"CDF\x05")):
        return "netcdf"
    if b"CORD" in magic:
        return "dcd"
    with Lines(path) as lines:
        head = [lines.line()[:10_000] for _ in range(8)]
    return _text_format(path, head)


def _text_format(path: Path, head: list[bytes]) -> str:
    if not head[0]:  # packed, and cut before anything comes out
        raise no_complete_frame(path)
    if head[0].startswith(b"ITEM:"):
        return "lammps"
    if [len(apart(line).split()) for line in head[1:5]] == [1, 3, 3, 3]:
        return "xdatcar"
    if head[0].strip().isdigit():
        return "extxyz"
    if is_packed(path) and head[0].startswith((_HDF5[:4], b"- of Ulm", b"CDF")):
        raise ValueError(f"{path} is a packed binary file; unpack it first.")
    if b"DUMPCUSTOM" in head[0] or b"DUMPATOM" in head[0]:
        raise ValueError(
            f"{path} is a binary LAMMPS dump; turn it into text with LAMMPS's binary2txt."
        )
    raise ValueError(
        f"{path} is of no known format; known are LAMMPS text dumps, XYZ, XDATCAR, H5MD, "
        "ASE's .traj, netCDF and DCD. Convert it, or say its format by --file-format."
    )
