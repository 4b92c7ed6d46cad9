"""Series and last states of units, joined to those that a single run writes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import h5py
import numpy as np

from jaxdiff.io import digest, durable
from jaxdiff.io.series import renew
from jaxdiff.runs.campaign import (
    COMPLETE,
    DIVERGED,
    FINAL_STATE,
    SERIES,
    Campaign,
    Unit,
    same_run_file,
    status,
)

SHARED = ("time_ps", "is_mobile", "atomic_number")
"""Last names of datasets that all units have alike; most others are [replicas, ...]."""

ROWS = ("sites/change_", "crossings/")
"""Beginnings of datasets of rows in the order of `replica`, a column that is counted on."""

UNEQUAL = "equilibration/"
"""Datasets as long as the unit's slowest replica took; filled up with not a number."""

_OWN = ("run_file", "provenance", "status", "n_parts")


@dataclass(frozen=True)
class _Head:
    """What a unit's series holds: shapes by name, attributes of the root."""

    unit: Unit
    shape: dict[str, tuple[int, ...]]
    attributes: dict[str, Any]

    @property
    def path(self) -> Path:
        return self.unit.directory / SERIES


def merge(campaign: Campaign) -> Path:
    """Write series and last states of the whole study into its directory; the series.

    Replicas lie along the first axis in their order, as in a single run; `provenance` is
    the list of those of the units. The status is that of a single run: diverged if any is.
    Series of an older format are rewritten, for units of both make one.
    """
    states = _final_states(campaign)
    for unit in campaign.units:
        renew(unit.directory / SERIES)
    heads = [_head(unit) for unit in campaign.units]
    study = campaign.study_text
    for head in heads:
        _check_origin(head)
        _check_like_first(head, heads[0])
    _merge_final(campaign)
    target = campaign.directory / SERIES
    with durable.replacing(target) as partial:
        with h5py.File(partial, "w") as file:
            _create(file, heads)
            _copy(file, heads)
            file.attrs["run_file"] = study
            file.attrs["status"] = DIVERGED if DIVERGED in states else COMPLETE
            file.attrs["provenance"] = json.dumps([_provenance(head) for head in heads])
        digest.seal(partial)
    return target


def _merge_final(campaign: Campaign) -> None:
    """The last states of all replicas, in their order: the units' files end to end."""
    target = campaign.directory / FINAL_STATE
    with durable.replacing(target) as partial, partial.open("wb") as file:
        for unit in campaign.units:
            file.write(_last_states(unit))


def _last_states(unit: Unit) -> bytes:
    path, replicas = unit.directory / FINAL_STATE, list(range(unit.first, unit.stop))
    if not path.is_file():
        raise ValueError(
            f"{path} is missing; copy it from where the unit was run, or move the unit's "
            "directory away and run it again."
        )
    found = [int(atoms.info.get("replica", -1)) for atoms in ase.io.iread(path, ":")]
    if found != replicas:
        raise ValueError(
            f"{path} has replicas {found}, but the unit has {replicas}; copy it from where "
            "the unit was run, or move the unit's directory away and run it again."
        )
    return path.read_bytes()


def _final_states(campaign: Campaign) -> list[str]:
    found = status(campaign)
    left = [f"{s.unit.name}: {s.state}" for s in found if not s.is_final]
    if left:
        names = "; ".join(left[:5]) + (f"; and {len(left) - 5} more" if left[5:] else "")
        raise ValueError(
            f"{len(left)} of {len(found)} units are not complete ({names}). Run them with "
            f"`jaxdiff campaign run {campaign.directory}`; the log of a unit that failed "
            "is beside its directory."
        )
    return [s.state for s in found]


def _head(unit: Unit) -> _Head:
    shape: dict[str, tuple[int, ...]] = {}

    def note(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            shape[name] = thing.shape

    digest.verify_or_tell(unit.directory / SERIES)
    with h5py.File(unit.directory / SERIES, "r") as file:
        file.visititems(note)
        return _Head(unit, shape, dict(file.attrs))


def _check_origin(head: _Head) -> None:
    unit = head.unit
    text = str(head.attributes.get("run_file", ""))
    if not same_run_file(text, unit.run_file.read_text(encoding="utf-8")):
        raise ValueError(
            f"{head.path} is of another run file than {unit.run_file}; move the directory "
            "away and run the unit again."
        )
    for name, shape in head.shape.items():
        known = shape and (_kind(name) != "replicas" or shape[0] == unit.stop - unit.first)
        if not known:
            raise ValueError(
                f"{head.path}: /{name} has shape {shape}, but the unit has "
                f"{unit.stop - unit.first} replicas; it cannot be joined. Run it again."
            )


def _check_like_first(head: _Head, first: _Head) -> None:
    """Everything but the number of replicas and of rows is the same in all units."""
    where = f"{head.path} and {first.path} cannot be joined"
    cure = "Run all units with one version of jaxdiff and one model."
    if head.shape.keys() != first.shape.keys():
        names = sorted(head.shape.keys() ^ first.shape.keys())
        raise ValueError(f"{where}: only one has {', '.join(names)}. {cure}")
    for name, shape in head.shape.items():
        fixed = slice(None) if _kind(name) == "shared" else slice(1, None)
        if not name.startswith(UNEQUAL) and shape[fixed] != first.shape[name][fixed]:
            raise ValueError(
                f"{where}: /{name} has shapes {shape} and {first.shape[name]}. {cure}"
            )
    for name in sorted((head.attributes.keys() | first.attributes.keys()) - {*_OWN}):
        one, other = (np.asarray(h.attributes.get(name, "missing")) for h in (head, first))
        if not np.array_equal(one, other):
            raise ValueError(f"{where}: {name} is {one} and {other}. {cure}")
    one, other = (json.loads(h.attributes["provenance"]) for h in (head, first))
    if one.get("model_sha256") != other.get("model_sha256"):
        raise ValueError(f"{where}: their models are different files. {cure}")


def _kind(name: str) -> str:
    if name.rpartition("/")[2] in SHARED:
        return "shared"
    return "rows" if name.startswith(ROWS) else "replicas"


def _create(file: h5py.File, heads: list[_Head]) -> None:
    """Everything of the first unit without its values, for all replicas."""

    def create(name: str, source: Any) -> None:
        if isinstance(source, h5py.Dataset):
            target: Any = _create_like(file, name, source, _joined(name, heads))
        else:
            target = file.create_group(name)
        for key, value in source.attrs.items():
            target.attrs[key] = value

    with h5py.File(heads[0].path, "r") as first:
        first.visititems(create)
        for key, value in first.attrs.items():
            file.attrs[key] = value


def _joined(name: str, heads: list[_Head]) -> tuple[int, ...]:
    """Shape of a dataset of all units."""
    n, *rest = zip(*(head.shape[name] for head in heads), strict=True)
    together = max if _kind(name) == "shared" else sum
    return together(n), *map(max, rest)


def _create_like(
    file: h5py.File, name: str, source: h5py.Dataset, shape: tuple[int, ...]
) -> h5py.Dataset:
    limit = source.maxshape
    if source.chunks is None or limit is None:
        return file.create_dataset(name, shape, source.dtype)
    target = file.create_dataset(
        name,
        shape,
        source.dtype,
        chunks=source.chunks,
        maxshape=(None if limit[0] is None else shape[0], *limit[1:]),
        fletcher32=source.fletcher32,
        shuffle=source.shuffle,
        compression=source.compression,
        compression_opts=source.compression_opts,
        fillvalue=source.fillvalue,
    )
    if name.startswith(UNEQUAL):
        target[...] = np.nan
    return target


def _copy(file: h5py.File, heads: list[_Head]) -> None:
    """The values, unit after unit and chunk after chunk."""
    study_first, row = heads[0].unit.first, dict.fromkeys(heads[0].shape, 0)
    for head in heads:
        with h5py.File(head.path, "r") as unit:
            for name, shape in head.shape.items():
                source, target = unit[name], file[name]
                assert isinstance(source, h5py.Dataset)  # for the type checker
                assert isinstance(target, h5py.Dataset)
                if _kind(name) == "shared":
                    files = f"{head.path} and {heads[0].path}"
                    _copy_shared(source, target, row[name], files)
                    row[name] = max(row[name], shape[0])
                    continue
                is_index = _kind(name) == "rows" and name.endswith("replica")
                added = head.unit.first - study_first if is_index else 0
                for where in _parts(source):
                    block = source[where]
                    to = slice(row[name] + where[0].start, row[name] + where[0].stop)
                    target[(to, *where[1:])] = block + added if is_index else block
                row[name] += shape[0]


def _copy_shared(source: h5py.Dataset, target: h5py.Dataset, done: int, files: str) -> None:
    """What is longer than the first `done` rows of the target; the others are the same."""
    both = min(done, len(source))
    if not np.array_equal(source[:both], target[:both]):
        raise ValueError(
            f"{files} cannot be joined: they have other values of {source.name}. Run all "
            "units with one version of jaxdiff and one model."
        )
    target[both : len(source)] = source[both:]


def _parts(dataset: h5py.Dataset) -> Iterator[tuple[slice, ...]]:
    """Slices that cover it and are small enough to hold."""
    if 0 in dataset.shape:
        return iter(())
    if dataset.chunks is not None:
        return dataset.iter_chunks()
    return iter((tuple(slice(0, n) for n in dataset.shape),))


def _provenance(head: _Head) -> dict[str, Any]:
    unit = head.unit
    own: dict[str, Any] = json.loads(head.attributes["provenance"])
    return {"unit": unit.index, "replicas": [unit.first, unit.stop]} | own
