"""Run files of `jaxdiff finetune`: TOML, checked, units in the keys."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(_Section):
    """Labelled frames; paths are relative to the run file."""

    train: list[Path] = Field(min_length=1)
    valid: list[Path] = Field(min_length=1)
    test: dict[str, list[Path]] = {}
    energy_key: str = "REF_energy"
    forces_key: str = "REF_forces"
    stress_key: str = "REF_stress"
    allow_shared_frames: bool = False
    isolated_atom_ev: dict[str, float]


class ScratchSection(_Section):
    """Architecture of a model that starts from random weights."""

    cutoff_angstrom: float = Field(gt=1.0, lt=15.0)
    channels: int = Field(ge=1)
    max_ell: int = Field(ge=0, le=3)
    hidden: list[list[int]]
    correlation: list[int]
    interactions: list[str]
    radial_mlp: list[int]
    num_bessel: int = Field(default=8, ge=1)
    cutoff_power: int = Field(default=5, ge=2)
    mlp_channels: int = Field(default=16, ge=1)
    agnesi: bool = False
    pair_repulsion: bool = False


class LossSection(_Section):
    """Upstream's universal loss."""

    kind: Literal["universal"] = "universal"
    energy_weight: float = Field(default=1.0, ge=0)
    forces_weight: float = Field(default=10.0, ge=0)
    stress_weight: float = Field(default=10.0, ge=0)
    huber_delta: float = Field(default=0.01, gt=0)


class OptimizerSection(_Section):
    """AMSGrad with clipping, weight averaging and a plateau schedule."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0, lt=1)
    average_decay: float = Field(default=0.99, ge=0, lt=1)
    clip_norm: float = Field(default=10.0, gt=0)
    epoch_decay: float = Field(default=1.0, gt=0, le=1)
    plateau_factor: float = Field(default=0.8, gt=0, le=1)
    plateau_patience: int = Field(default=50, ge=0)


class StageSection(_Section):
    """Loss weights and schedule of one stage."""

    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0, lt=1)
    epoch_decay: float = Field(default=1.0, gt=0, le=1)
    energy_weight: float = Field(ge=0)
    forces_weight: float = Field(ge=0)
    stress_weight: float = Field(ge=0)


class StageTwoSection(StageSection):
    """Last epochs with other weights and a learning rate of their own, as upstream has.

    Forces come first in training; energies, whose gradients would drown theirs, here.
    `refit_species_energies` first removes what of the energy errors is linear in the
    composition, by least squares, through the isolated-atom energies.
    """

    energy_weight: float = Field(default=1000.0, ge=0)
    forces_weight: float = Field(default=100.0, ge=0)
    stress_weight: float = Field(default=10.0, ge=0)
    refit_species_energies: bool = False


class TrainFile(_Section):
    """A whole run file of `jaxdiff finetune`."""

    seed: int = Field(ge=0)
    directory: Path
    precision: Literal["float32", "float64"] = "float32"
    data: DataSection
    scratch: ScratchSection
    loss: LossSection = Field(default_factory=LossSection)
    optimizer: OptimizerSection
    stage_two: StageTwoSection | None = None

    @property
    def total_epochs(self) -> int:
        """Epochs of both stages."""
        return self.optimizer.epochs + (self.stage_two.epochs if self.stage_two else 0)

    def stage(self, epoch: int) -> StageSection:
        """Loss weights and schedule of an epoch, counted from 0."""
        loss, optimizer = self.loss, self.optimizer
        if self.stage_two is not None and epoch >= optimizer.epochs:
            return self.stage_two
        return StageSection(
            epochs=optimizer.epochs,
            learning_rate=optimizer.learning_rate,
            epoch_decay=optimizer.epoch_decay,
            energy_weight=loss.energy_weight,
            forces_weight=loss.forces_weight,
            stress_weight=loss.stress_weight,
        )


def read_train_file(path: Path, data_root: Path | None = None) -> TrainFile:
    """Read and check a run file.

    Data paths are relative to `data_root`, by default the folder of the run file; the
    output directory is relative to the working directory.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such run file.")
    try:
        content = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None
    try:
        run = TrainFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {key}: {first['msg']}.") from None
    here = path.parent if data_root is None else Path(data_root)
    data = run.data.model_copy(
        update={
            "train": [here / p for p in run.data.train],
            "valid": [here / p for p in run.data.valid],
            "test": {k: [here / p for p in v] for k, v in run.data.test.items()},
        }
    )
    return run.model_copy(update={"data": data})
