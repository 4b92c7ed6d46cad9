"""What a training run was made from, and whether a folder belongs to the same run."""

import json
from pathlib import Path
from typing import Any

from jaxdiff import checkpoints
from jaxdiff.finetune.scratch import with_family
from jaxdiff.io import durable
from jaxdiff.io.folder import RunFolder
from jaxdiff.io.provenance import provenance, sha256
from jaxdiff.io.trainfile import TrainFile

RUN = "run.json"

FREE = (
    "optimizer.epochs",
    "optimizer.patience",
    "stage_two",
    "data.test",
    "data.allow",
    "directory",
)


def run_folder(run: TrainFile) -> RunFolder:
    """Where it writes, with the keys that may change."""
    return RunFolder(run.directory, "directory", FREE)


def training_provenance(run: TrainFile) -> dict[str, Any]:
    """Run file, hashes of all data and of the starting model, versions, device."""
    asked = with_family(run).model_dump(mode="json", exclude={"directory"})
    return provenance(run_file=_without_folders(asked), **_hashes(run))


def require_same_run(run: TrainFile) -> None:
    """An error where the folder holds another run; a new folder becomes this run's."""
    kept = _without_folders(run.model_dump(mode="json", exclude={"directory"}))
    record = json.loads(json.dumps({**kept, **_hashes(run, test=False)}))
    path = run.directory / RUN
    if path.exists():
        run_folder(run).require_same(json.loads(path.read_text()), record)
    else:
        durable.write_json(path, record)


def _hashes(run: TrainFile, test: bool = True) -> dict[str, Any]:
    """SHA-256 of data files by name, and of the starting model."""
    files = [*run.data.train, *run.data.valid]
    if test:
        files += [path for paths in run.data.test.values() for path in paths]
    files += [*run.replay.train, *run.replay.valid] if run.replay else []
    found: dict[str, Any] = {
        "data_sha256": {path.name: sha256(path) for path in files if path.exists()}
    }
    if run.model is not None:
        with checkpoints.locate(run.model.name_or_path) as path:
            found["starting_model_sha256"] = sha256(path)
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
