"""Series of format 2 read as those of today: sites were integers in a/4 of rock salt."""

import json
import tomllib
from typing import Any

import h5py
import numpy as np

from jaxdiff.lattice.rock_salt import ROCK_SALT

FORMAT_VERSION = 2

_SITES = ("sites/initial", "sites/change_site", "crossings/site")


def is_old(file: h5py.File) -> bool:
    """Whether a file is of that format."""
    return file.attrs.get("format_version") == FORMAT_VERSION


def values(file: h5py.File, name: str) -> np.ndarray:
    """A dataset of a file of any format; sites as (index, image)."""
    found: Any = file[name]
    if name in _SITES and is_old(file):
        return ROCK_SALT.sites(found[...]).astype(np.int32)
    return found[...]


def attributes(file: h5py.File) -> dict[str, Any]:
    """Attributes of the root; the network and the species of an old file beside them."""
    found: dict[str, Any] = dict(file.attrs)
    if is_old(file):
        mobile, formula = _species(str(found.get("run_file", "")))
        found |= {"network": ROCK_SALT.to_json(), "mobile": mobile, "formula": formula}
    return found


def _species(run_file: str) -> tuple[str, str]:
    """As far as the run file says them: a crystal that was built was LiF.

    One from files is what they hold. Options of `jaxdiff analyze` are JSON.
    """
    try:
        system = tomllib.loads(run_file).get("system", {})
    except tomllib.TOMLDecodeError:
        return str(json.loads(run_file)["mobile"]), ""
    return "Li", "" if system.get("structure_files") else "LiF"
