"""What a training run was made from, and whether a folder belongs to the same run."""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from jaxdiff import checkpoints
from jaxdiff.io.atomic import write_text
from jaxdiff.io.trainfile import TrainFile

RUN = "run.json"
_PACKAGES = ("jaxdiff", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_MAY_CHANGE = {
    "directory": True,
    "stage_two": True,
    "data": {"test", "allow"},
    "optimizer": {"epochs", "patience"},
}


def provenance(run: TrainFile) -> dict[str, Any]:
    """Run file, hashes of all data and of the starting model, versions, device."""
    return {
        "run_file": _without_folders(run.model_dump(mode="json", exclude={"directory"})),
        **_hashes(run),
        "versions": {name: version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "device": f"{jax.devices()[0].device_kind} ({jax.default_backend()})",
    }


def require_same_run(run: TrainFile) -> None:
    """An error where the folder holds another run; a new folder becomes this run's.

    Number of epochs, patience, stage two, test sets and allowed faults may change from
    one call to the next.
    """
    kept = _without_folders(run.model_dump(mode="json", exclude=_MAY_CHANGE))
    record = json.loads(json.dumps({**kept, **_hashes(run, test=False)}))
    path = run.directory / RUN
    if not path.exists():
        write_text(path, json.dumps(record, indent=1) + "\n")
        return
    before, now = _flat(json.loads(path.read_text())), _flat(record)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{run.directory} holds a run with {name} = {before.get(name)}, and now it "
                f"is {now.get(name)}. Choose another directory, or change it back to go on."
            )


def _hashes(run: TrainFile, test: bool = True) -> dict[str, Any]:
    """SHA-256 of data files by name, and of the starting model."""
    files = [*run.data.train, *run.data.valid]
    if test:
        files += [path for paths in run.data.test.values() for path in paths]
    files += [*run.replay.train, *run.replay.valid] if run.replay else []
    found: dict[str, Any] = {
        "data_sha256": {path.name: _sha256(path) for path in files if path.exists()}
    }
    if run.model is not None:
        with checkpoints.locate(run.model.name_or_path) as path:
            found["starting_model_sha256"] = _sha256(path)
    return found


def _without_folders(content: dict[str, Any]) -> dict[str, Any]:
    """Data files and models by name: where they lie does not matter, and is nobody's."""
    for section in ("data", "replay"):
        for key in ("train", "valid"):
            if content.get(section):
                names = [Path(path).name for path in content[section][key]]
                content[section][key] = names
    for name, paths in content["data"].get("test", {}).items():
        content["data"]["test"][name] = [Path(path).name for path in paths]
    if content["model"]:
        name = content["model"]["name_or_path"]
        content["model"]["name_or_path"] = Path(name).name
    return content


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables to one, with dotted names."""
    flat = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _sha256(path: Path) -> str:
    """Of a file, or of all files of a folder in their order."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for part in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(part.name.encode() + part.read_bytes())
    return total.hexdigest()
