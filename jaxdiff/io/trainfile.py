"""Run files of `jaxdiff finetune`: TOML, checked, units in the keys."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, model_validator

from jaxdiff.io.barrierfile import PathName
from jaxdiff.io.config import RunFileError, Section, checked, overridden, read_table
from jaxdiff.io.labelsections import DataSection, ReplaySection
from jaxdiff.io.runfile import CrystalSection, ModelFile
from jaxdiff.lattice.rock_salt import ROCK_SALT

Group = Annotated[str, Field(min_length=1)]  # of weights, as its family names them


class StartSection(ModelFile):
    """The model that training starts from."""

    head: str | None = Field(None, examples=["default"])
    """Which of its heads training starts from, where it has several."""
    elements: Literal["data", "all"] = "data"
    """"data" keeps the elements of the data, "all" all that the model has."""

    @model_validator(mode="before")
    @classmethod
    def _without_dispersion(cls, given: Any) -> Any:
        if isinstance(given, dict) and any("dispersion" in str(key) for key in given):
            raise ValueError(
                "dispersion is no part of a model that is trained; leave it out here, give "
                "labels without it, and add it where the model is used (jaxdiff simulate, "
                "lattice, barrier)"
            )
        return given


class ScratchSection(Section, extra="allow"):
    """A model that starts from random weights; each family has further keys."""

    family: str | None = Field(None, examples=["mace"])
    """Kind of the model; left out: "mace"."""
    cutoff_angstrom: float = Field(gt=1.0, lt=15.0, examples=[4.5])
    """Of the edges between neighbours."""


class FreezeSection(Section):
    """Weights that stay as they are; MACE has the groups embedding, interactions, products
    and readouts."""

    groups: list[Group] = Field(min_length=1, examples=[["embedding", "interactions"]])
    """Groups of weights that stay as they are; MACE has embedding, interactions, products
    and readouts.
    """


class LoraSection(Section):
    """Low-rank updates in place of the weights themselves; merged into them at the end."""

    rank: int = Field(default=4, ge=1, le=4096)
    """Rank of the updates."""
    alpha: float = Field(default=1.0, gt=0)
    """Updates are scaled by alpha / rank."""


class LossSection(Section):
    """One of upstream's losses."""

    kind: Literal["weighted", "huber", "universal"] = "universal"
    """One of upstream's losses."""
    energy_weight: float = Field(default=1.0, ge=0)
    """Of energies per atom."""
    forces_weight: float = Field(default=10.0, ge=0)
    """Of forces."""
    stress_weight: float = Field(default=10.0, ge=0)
    """Of stresses; of virials with `virials`."""
    huber_delta: float = Field(default=0.01, gt=0)
    """Where the Huber losses change from squares to absolute values."""
    virials: bool = False
    """Fit virials in place of stresses."""
    start_weight: float = Field(default=0.0, ge=0)
    """Of the weights' departure from those of the starting model."""


class TargetSection(CrystalSection):
    """A number from transition-state theory that the model should have."""

    kind: Literal["barrier", "activation_energy", "diffusivity"] = Field(
        examples=["barrier"]
    )
    """"barrier" of one path, "activation_energy" at a temperature, or ln of the defect
    "diffusivity", both of all `paths` together.
    """
    paths: tuple[PathName, ...] = Field(min_length=1, examples=[["collinear"]])
    """Jumps of an interstitial, or of the vacancy."""
    target_ev: float | None = Field(default=None, gt=0, examples=[0.2])
    """Barrier or activation energy that the model should have."""
    uncertainty_ev: float | None = Field(default=None, gt=0, examples=[0.01])
    """Standard error of `target_ev`."""
    target_cm2_per_s: float | None = Field(default=None, gt=0, examples=[1e-05])
    """Diffusivity that the model should have."""
    uncertainty_factor: float | None = Field(default=None, gt=1, examples=[1.1])
    """Factor by which the diffusivity may be off, 1.1 for 10 %."""
    temperature_kelvin: float | None = Field(default=None, gt=0, examples=[600.0])
    """Temperature of an activation energy or a diffusivity."""
    radius_angstrom: float | None = Field(default=None, gt=0, examples=[4.0])
    """Atoms further from those that jump do not vibrate in prefactors; left out: all
    vibrate.
    """
    weight: float = Field(default=1.0, gt=0)
    """Of ((value - target) / uncertainty)² in the loss."""

    @model_validator(mode="after")
    def _meant(self) -> "TargetSection":
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
        if len({ROCK_SALT.jump(path).sign for path in self.paths}) > 1:
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


class OptimizerSection(Section):
    """Adam of several kinds, clipping, weight averaging, schedules of the learning rate."""

    epochs: int = Field(ge=1, le=10**7, examples=[100])
    """Passes through the training frames."""
    batch_size: int | None = Field(default=None, ge=1, le=10**6, examples=[4])
    """Frames of a batch; give this or `batch_edges`."""
    batch_edges: int | None = Field(default=None, ge=1, le=10**9, examples=[20000])
    """Places of neighbour rows of a batch; give this or `batch_size`."""
    learning_rate: float = Field(gt=0, lt=1, examples=[0.01])
    """Step of the optimizer."""
    kind: Literal["amsgrad", "amsgrad_corrected", "adam", "adamw"] = "amsgrad"
    """"amsgrad" is PyTorch's, "amsgrad_corrected" optax's, with small steps after huge
    first gradients.
    """
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the mean gradient of Adam."""
    weight_decay: float = Field(default=5e-7, ge=0)
    """On upstream's choice of weights."""
    rate_factors: dict[Group, Annotated[float, Field(ge=0)]] = Field(
        {}, examples=[{"readouts": 10.0}]
    )
    """Multiply the learning rate of groups of weights."""
    average_decay: float = Field(default=0.99, ge=0, lt=1)
    """Of the exponential average of the weights; 0: none."""
    clip_norm: float = Field(default=10.0, gt=0)
    """Largest norm of a gradient."""
    epoch_decay: float = Field(default=1.0, gt=0, le=1)
    """The learning rate is multiplied by it after each epoch."""
    plateau_factor: float = Field(default=0.8, gt=0, le=1)
    """The learning rate is multiplied by it where the loss has stayed on a plateau."""
    plateau_patience: int = Field(default=50, ge=0, le=10**9)
    """Epochs without a better loss that make a plateau."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """The learning rate rises in so many first epochs."""
    cosine_floor: float | None = Field(default=None, ge=0, lt=1, examples=[0.01])
    """The learning rate falls as a cosine to this fraction at the end; left out: it does
    not.
    """
    patience: int = Field(default=2048, ge=1, le=10**9)
    """Training stops after so many epochs without a better one."""

    @model_validator(mode="after")
    def _one_size(self) -> "OptimizerSection":
        if (self.batch_size is None) == (self.batch_edges is None):
            raise ValueError("give either batch_size or batch_edges")
        return self


class StageSection(Section):
    """Loss weights and schedule of one stage."""

    epochs: int = Field(ge=1, le=10**7, examples=[50])
    """Passes through the training frames in this stage; it comes last."""
    learning_rate: float = Field(gt=0, lt=1, examples=[0.001])
    """Step of the optimizer in this stage."""
    epoch_decay: float = Field(default=1.0, gt=0, le=1)
    """The learning rate is multiplied by it after each epoch."""
    energy_weight: float = Field(ge=0)
    forces_weight: float = Field(ge=0)
    stress_weight: float = Field(ge=0)


class StageTwoSection(StageSection):
    """Last epochs with other weights and a learning rate of their own, as upstream has.

    Forces come first in training; energies, whose gradients would drown theirs, here.
    """

    energy_weight: float = Field(default=1000.0, ge=0)
    """Of energies per atom in this stage."""
    forces_weight: float = Field(default=100.0, ge=0)
    """Of forces in this stage."""
    stress_weight: float = Field(default=10.0, ge=0)
    """Of stresses in this stage."""
    refit_species_energies: bool = False
    """First remove what of the energy errors is linear in the composition, by least
    squares, through the energies of isolated atoms.
    """


class TrainFile(Section):
    """A whole run file of `jaxdiff finetune`."""

    seed: int = Field(ge=0, lt=2**63, examples=[1])
    """Of all random numbers of training."""
    directory: Path = Field(examples=["runs/training"])
    """Folder of the run; made if need be."""
    precision: Literal["float32", "float64"] = "float32"
    """Of model and training."""
    data: DataSection
    model: StartSection | None = None
    scratch: SerializeAsAny[ScratchSection] | None = None
    replay: ReplaySection | None = None
    freeze: FreezeSection | None = None
    lora: LoraSection | None = None
    loss: LossSection = Field(default_factory=LossSection)
    targets: tuple[TargetSection, ...] = ()
    optimizer: OptimizerSection
    stage_two: StageTwoSection | None = None

    @model_validator(mode="after")
    def _one_start(self) -> "TrainFile":
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


def read_train_file(
    path: Path, data_root: Path | None = None, overrides: list[str] | None = None
) -> TrainFile:
    """Read and check a run file.

    Data paths are relative to `data_root`, by default the folder of the run file; the
    output directory is relative to the working directory. `overrides` are such as
    `optimizer.epochs=3` or `seed=1`.
    """
    path, content = Path(path), read_table(path)
    for override in overrides or []:
        key, equals, given = override.partition("=")
        if equals and key.strip() in ("seed", "directory", "precision"):
            text = given.strip()
            is_number = key.strip() == "seed" and text.lstrip("+-").isdecimal()
            content |= {key.strip(): int(text[:30]) if is_number else text}
        else:
            content = overridden(content, [override])
    try:
        run = checked(TrainFile, content)
    except RunFileError as error:
        first, *_ = str(error).splitlines()
        raise RunFileError(f"{path}: {first}") from None
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
