"""DeePMD-kit's files as a tree of dictionaries, lists and arrays; nothing is executed.

A .dp file is HDF5: JSON in an attribute, in which everything below "@variables" is the
name of a dataset. A .yaml file is the same tree as text, its arrays as lists.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jax.numpy as jnp
import numpy as np
import yaml

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.io import durable, hdf5
from jaxdiff.io.shown import shown

YAML = (".yaml", ".yml")
_ATTRIBUTE = "json"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one, where it is built


def read_tree(path: Path) -> dict[str, Any]:
    """Everything in a .dp or .yaml file. Raises `CheckpointError` for other files."""
    try:
        tree = _read_yaml(path) if path.suffix.lower() in YAML else _read_hdf5(path)
    except (*hdf5.UNREADABLE, AttributeError, MemoryError, yaml.YAMLError) as error:
        reason = shown(" ".join(str(error).split()), quote="")
        raise CheckpointError(
            f"{path} cannot be read as a file of DeePMD-kit ({reason}). Write it again."
        ) from None
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path} is no file of DeePMD-kit: it holds no model.")
    return tree


def write_dp(path: Path, tree: dict[str, Any]) -> None:
    """A .dp file, all at once or not at all."""
    with durable.replacing(path) as partial, h5py.File(partial, "w") as file:

        def stored(array):
            return file.create_dataset(f"variable_{len(file):04d}", data=array).name

        file.attrs[_ATTRIBUTE] = json.dumps(_with_variables(tree, stored))


def _read_hdf5(path: Path) -> Any:
    with hdf5.opened(path) as file:
        hdf5.require_modest(file)
        if _ATTRIBUTE not in file.attrs:
            raise CheckpointError(f"{path} is an HDF5 file that holds no model.")
        text = file.attrs[_ATTRIBUTE]

        def array(name):
            link = file.get(name, getlink=True)  # never one into another file
            found = file[name] if isinstance(link, h5py.HardLink) else None
            if not isinstance(found, h5py.Dataset):
                raise ValueError(f"{name} is no array of this file")
            return _of_bytes(found[()])

        return _with_variables(json.loads(str(text)), array)


def _of_bytes(array: Any) -> Any:
    """bfloat16, which HDF5 has no name for, from numbers of two bytes without one."""
    is_nameless = isinstance(array, np.ndarray) and array.dtype == "V2"
    return array.view(jnp.bfloat16) if is_nameless else array


def _read_yaml(path: Path) -> Any:
    def array(node):
        if not isinstance(node, dict):
            return np.asarray(node)
        return np.asarray(node["value"], np.dtype(node["dtype"]))

    with path.open(encoding="utf-8") as file:
        return _with_variables(yaml.load(file, _LOADER), array)  # a safe one


def _with_variables(node: Any, of: Callable[[Any], Any], below: bool = False) -> Any:
    """The tree with `of` applied to what stands below "@variables"; None stays."""
    if isinstance(node, dict) and not (below and "@is_variable" in node):
        return {
            key: _with_variables(value, of, below or key == "@variables")
            for key, value in node.items()
        }
    if isinstance(node, list) and not below:
        return [_with_variables(value, of) for value in node]
    return of(node) if below and node is not None else node
