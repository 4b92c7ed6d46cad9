"""Run files of `jaxdiff finetune`: TOML, checked, units in the keys."""

import difflib
import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from jaxdiff.io.barrierfile import PathName
from jaxdiff.io.runfile import CrystalSection, overridden

Group = Literal["embedding", "interactions", "products", "readouts"]
AtomicEnergyChoice = dict[str, float] | Literal["average", "foundation", "estimated"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSection(_Section):
    """The model that training starts from.

    - `name_or_path`: a registered name, or a native or upstream model file.
    - `head`: which of its heads, where it has several.
    - `elements`: "data" keeps those in the data, "all" all that the model has.
    """

    name_or_path: str = Field(min_length=1)
    head: str | None = None
    elements: Literal["data", "all"] = "data"


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


class DataSection(_Section):
    """Labelled frames; paths are relative to the run file.

    - `train`, `valid`, `test`: files that ASE reads, or folders in DeePMD's npy format.
    - `valid_fraction`: of the training frames, drawn with the seed, where `valid` is empty.
    - `frames_of_type`: how many frames of each config_type are drawn for training; none:
      all. Those not drawn are not used.
    - `largest_force_ev_per_angstrom`: frames with a larger component of a force are left
      out of training and validation, also of replay.
    - `draw_seed`: of all that is drawn, also replay frames; none: the run's seed. With one,
      runs of several seeds are a committee on the same frames.
    - `isolated_atom_ev`: energies by symbol, "average", "foundation" or "estimated";
      without it, from frames of config_type IsolatedAtom, or with a starting model
      "estimated".
    - `weight_of_type`: multiplies the terms of the loss of frames of a config_type.
    - `allow`: checks that may fail.
    """

    train: list[Path] = Field(min_length=1)
    valid: list[Path] = []
    valid_fraction: float = Field(default=0.1, gt=0, lt=1)
    test: dict[str, list[Path]] = {}
    frames_of_type: dict[str, int] = {}
    largest_force_ev_per_angstrom: float | None = Field(default=None, gt=0)
    draw_seed: int | None = Field(default=None, ge=0)
    energy_key: str = "REF_energy"
    forces_key: str = "REF_forces"
    stress_key: str = "REF_stress"
    virials_key: str = "REF_virials"
    isolated_atom_ev: AtomicEnergyChoice | None = None
    weight_of_type: dict[str, Annotated[float, Field(ge=0)]] = {}
    allow: list[Literal["shared_frames", "net_force", "stress", "energy_offset"]] = []


class ReplaySection(_Section):
    """Frames of what the starting model was trained on, for a head of their own.

    - `labels`: "file", or "model": those that the starting model gives (pseudolabels).
    - `count`: so many are drawn at random; none: all.
    - `weight`: of the head in the loss.
    - `least_target_ratio`: training frames are repeated until there are so many of them for
      each replay frame; upstream has 0.1.
    """

    train: list[Path] = Field(min_length=1)
    valid: list[Path] = Field(min_length=1)
    labels: Literal["file", "model"] = "file"
    count: int | None = Field(default=None, ge=1)
    weight: float = Field(default=1.0, gt=0)
    least_target_ratio: float = Field(default=0.1, ge=0)
    energy_key: str = "REF_energy"
    forces_key: str = "REF_forces"
    stress_key: str = "REF_stress"
    virials_key: str = "REF_virials"
    isolated_atom_ev: AtomicEnergyChoice = "foundation"


class FreezeSection(_Section):
    """Weights that stay as they are."""

    groups: list[Group] = Field(min_length=1)


class LoraSection(_Section):
    """Low-rank updates in place of the weights themselves; merged into them at the end."""

    rank: int = Field(default=4, ge=1)
    alpha: float = Field(default=1.0, gt=0)


class LossSection(_Section):
    """One of upstream's losses; with `virials`, `stress_weight` is that of virials.

    `start_weight`: of the weights' departure from the starting model's; see
    `jaxdiff.finetune.targets.departure`.
    """

    kind: Literal["weighted", "huber", "universal"] = "universal"
    energy_weight: float = Field(default=1.0, ge=0)
    forces_weight: float = Field(default=10.0, ge=0)
    stress_weight: float = Field(default=10.0, ge=0)
    huber_delta: float = Field(default=0.01, gt=0)
    virials: bool = False
    start_weight: float = Field(default=0.0, ge=0)


class TargetSection(CrystalSection):
    """A number from transition-state theory that the model should have, beside its labels.

    - `kind`: "barrier" of one path, "activation_energy" at a temperature, or ln of the
      defect "diffusivity", both of all `paths` together; interstitial or vacancy.
    - `target_ev` and `uncertainty_ev`, or `target_cm2_per_s` and `uncertainty_factor`: the
      factor is larger than 1, such as 1.1 for 10 %.
    - `radius_angstrom`: of the atoms that vibrate, for prefactors; none: all do.
    - `weight`: of ((value - target) / uncertainty)^2 in the loss.
    """

    kind: Literal["barrier", "activation_energy", "diffusivity"]
    paths: tuple[PathName, ...] = Field(min_length=1)
    target_ev: float | None = Field(default=None, gt=0)
    uncertainty_ev: float | None = Field(default=None, gt=0)
    target_cm2_per_s: float | None = Field(default=None, gt=0)
    uncertainty_factor: float | None = Field(default=None, gt=1)
    temperature_kelvin: float | None = Field(default=None, gt=0)
    radius_angstrom: float | None = Field(default=None, gt=0)
    weight: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _meant(self) -> Self:
        wanted = {"target_ev", "uncertainty_ev"}
        if self.kind == "diffusivity":
            wanted = {"target_cm2_per_s", "uncertainty_factor"}
        if self.kind != "barrier":
            wanted |= {"temperature_kelvin"}
        numbers = (
            "target_ev",
            "uncertainty_ev",
            "target_cm2_per_s",
            "uncertainty_factor",
            "temperature_kelvin",
        )
        given = {name for name in numbers if getattr(self, name) is not None}
        if given != wanted:
            raise ValueError(
                f'kind = "{self.kind}" takes {", ".join(sorted(wanted))}; given '
                f"{', '.join(sorted(given)) or 'none of them'}"
            )
        if self.kind == "barrier" and len(self.paths) > 1:
            raise ValueError("a barrier is that of one path; give one target for each")
        if len(set(self.paths)) < len(self.paths):
            raise ValueError(f"a path occurs twice in {', '.join(self.paths)}")
        if "vacancy" in self.paths and len(self.paths) > 1:
            raise ValueError(
                "the vacancy is another defect than the interstitial; give each a target"
            )
        return self

    @property
    def name(self) -> str:
        """Kind, paths and temperature: what it is called where its value is reported."""
        at = self.temperature_kelvin
        return "_".join((self.kind, *self.paths, *([] if at is None else [f"{at:g}K"])))

    @property
    def goal(self) -> float:
        """In eV, or ln of cm²/s."""
        return self.target_ev or math.log(self.target_cm2_per_s or 1.0)

    @property
    def uncertainty(self) -> float:
        """Of `goal`."""
        return self.uncertainty_ev or math.log(self.uncertainty_factor or math.e)


class OptimizerSection(_Section):
    """Adam of several kinds, clipping, weight averaging, schedules.

    - `batch_size`: graphs of a batch; or `batch_edges`: places of neighbour rows.
    - `kind`: "amsgrad" is PyTorch's; "amsgrad_corrected" is optax's, with small steps after
      huge first gradients.
    - `weight_decay`: on upstream's choice of weights.
    - `rate_factors`: of groups, multiply the learning rate.
    - `average_decay`: of the exponential average of the weights; 0 means none.
    - `epoch_decay`, `plateau_*`, `warmup_epochs`, `cosine_floor`: the learning rate falls
      each epoch by a factor, on a plateau by another, rises in the first epochs, and falls
      as a cosine to a fraction at the end; all are independent.
    - `patience`: training stops after so many epochs without a better one.
    """

    epochs: int = Field(ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    batch_edges: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(gt=0, lt=1)
    kind: Literal["amsgrad", "amsgrad_corrected", "adam", "adamw"] = "amsgrad"
    beta1: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-7, ge=0)
    rate_factors: dict[Group, Annotated[float, Field(ge=0)]] = {}
    average_decay: float = Field(default=0.99, ge=0, lt=1)
    clip_norm: float = Field(default=10.0, gt=0)
    epoch_decay: float = Field(default=1.0, gt=0, le=1)
    plateau_factor: float = Field(default=0.8, gt=0, le=1)
    plateau_patience: int = Field(default=50, ge=0)
    warmup_epochs: float = Field(default=0.0, ge=0)
    cosine_floor: float | None = Field(default=None, ge=0, lt=1)
    patience: int = Field(default=2048, ge=1)

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.batch_size is None) == (self.batch_edges is None):
            raise ValueError("give either batch_size or batch_edges")
        return self


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
    model: ModelSection | None = None
    scratch: ScratchSection | None = None
    replay: ReplaySection | None = None
    freeze: FreezeSection | None = None
    lora: LoraSection | None = None
    loss: LossSection = Field(default_factory=LossSection)
    targets: tuple[TargetSection, ...] = ()
    optimizer: OptimizerSection
    stage_two: StageTwoSection | None = None

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.model is None) == (self.scratch is None):
            raise ValueError("give either [model], to start from, or [scratch]")
        if self.scratch is not None and (self.targets or self.loss.start_weight):
            raise ValueError(
                "targets and loss.start_weight need a model to start from: give [model]"
            )
        names = [target.name for target in self.targets]
        if len(set(names)) < len(names):
            raise ValueError(
                f"two targets are the same ({', '.join(names)}); change kind, paths or "
                "temperature of one"
            )
        for section in ("replay", "freeze", "lora"):
            if self.scratch is not None and getattr(self, section) is not None:
                raise ValueError(f"[{section}] needs a model to start from: give [model]")
        return self

    @property
    def draw_seed(self) -> int:
        """Of the frames that are drawn."""
        return self.seed if self.data.draw_seed is None else self.data.draw_seed

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


def _sentence(fault: Any) -> str:
    """What is wrong with the first key that cannot be meant, and what is allowed there."""
    # of a union the alternatives stand in the path
    parts = [p for p in fault["loc"] if "[" not in str(p)]
    where = ".".join(map(str, parts)) or "the run file"
    if where.startswith("data.isolated_atom_ev"):
        return (
            f"data.isolated_atom_ev = {json.dumps(fault['input'], default=str)}; give "
            'energies by symbol, "average", "foundation" or "estimated".'
        )
    if fault["type"] != "extra_forbidden":
        message = str(fault["msg"]).removeprefix("Value error, ")
        return f"{where}: {message[0].lower()}{message[1:]}."
    section: Any = TrainFile
    for part in (p for p in parts[:-1] if isinstance(p, str)):
        section = _section(section.model_fields[part].annotation)
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(parts[-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}."
    return f"{where} is not known; {hint}"


def _section(annotation: Any) -> Any:
    """The section in an annotation that may allow None."""
    return next((a for a in get_args(annotation) if a is not type(None)), annotation)


def read_train_file(
    path: Path, data_root: Path | None = None, overrides: list[str] | None = None
) -> TrainFile:
    """Read and check a run file.

    Data paths are relative to `data_root`, by default the folder of the run file; the
    output directory is relative to the working directory. `overrides` are such as
    `optimizer.epochs=3` or `seed=1`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such run file.")
    try:
        content = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None
    for override in overrides or []:
        key, equals, value = override.partition("=")
        if equals and key.strip() in ("seed", "directory", "precision"):
            text = value.strip() if key.strip() == "seed" else json.dumps(value.strip())
            content |= tomllib.loads(f"{key} = {text}")
        else:
            content = overridden(content, [override])
    try:
        run = TrainFile.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {_sentence(error.errors()[0])}") from None
    here = path.parent if data_root is None else Path(data_root)

    def found(paths: list[Path]) -> list[Path]:
        return [here / p for p in paths]

    data = run.data.model_copy(
        update={
            "train": found(run.data.train),
            "valid": found(run.data.valid),
            "test": {k: found(v) for k, v in run.data.test.items()},
        }
    )
    replay = run.replay and run.replay.model_copy(
        update={"train": found(run.replay.train), "valid": found(run.replay.valid)}
    )
    return run.model_copy(update={"data": data, "replay": replay})
