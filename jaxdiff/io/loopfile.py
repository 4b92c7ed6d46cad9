"""The run file of `jaxdiff loop`: which run files it plays in turn, and when it ends."""

from pathlib import Path

from pydantic import Field, model_validator

from jaxdiff.io.config import Section, checked, read_table

_LETTERS = "letters, digits and underscores"


class SampleSection(Section):
    """Dynamics from which frames of one kind are chosen."""

    run_file: Path = Field(examples=["interstitial.toml"])
    """Run file of `jaxdiff simulate`, relative to this one; the loop gives model, seed and
    folder.
    """
    count: int = Field(ge=1, le=1000, examples=[8])
    """Frames of this kind that are labelled in each round."""


class SelectSection(Section):
    """Which of the sampled frames: the most disputed, and of these the most different."""

    around: str = Field("all", min_length=1, examples=["defect"])
    """Atoms that are compared: "all", "defect" (rock salt), or an element."""
    radius_angstrom: float = Field(4.0, gt=0, le=100)
    """With "defect": how far from one."""
    highest_ev_per_angstrom: float | None = Field(None, gt=0, examples=[3.0])
    """Frames of a larger deviation have fallen apart and are left out; left out: none has.
    """


class LabelSection(Section):
    """What labels the chosen frames."""

    run_file: Path = Field(examples=["label.toml"])
    """Run file of `jaxdiff label`, relative to this one; the loop gives the folder."""
    workers: int = Field(1, ge=1, le=1000)
    """Frames at a time."""


class TrainSection(Section):
    """What is trained in each round, on all frames labelled until then."""

    run_file: Path = Field(examples=["finetune.toml"])
    """Run file of `jaxdiff finetune`, relative to this one; the loop adds the new labels to
    `data.train`, and gives seed and folder.
    """
    models: int = Field(2, ge=2, le=20)
    """Models of the committee: the recipe with so many seeds in a row."""


class StopSection(Section):
    """When it ends."""

    rounds: int = Field(ge=1, le=99, examples=[5])
    """The most rounds."""
    deviation_ev_per_angstrom: float = Field(gt=0, examples=[0.1])
    """Nothing is labelled any more once nine of ten sampled frames of each kind have forces
    disputed by less.
    """


class OutputSection(Section):
    """Where all goes."""

    directory: str = Field(min_length=1, examples=["runs/loop"])
    """Folder of the loop; made if need be."""


class LoopFile(Section):
    """A whole run file of `jaxdiff loop`."""

    sample: dict[str, SampleSection] = Field(min_length=1)
    select: SelectSection = SelectSection.model_validate({})
    label: LabelSection
    train: TrainSection
    stop: StopSection
    output: OutputSection

    @model_validator(mode="after")
    def _names(self) -> "LoopFile":
        for name in self.sample:
            if not name.replace("_", "").isalnum():
                raise ValueError(
                    f"[sample.{name}]: the name becomes a config_type and a folder; use "
                    f"{_LETTERS}"
                )
        return self


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> LoopFile:
    """Read a run file, with overrides such as `stop.rounds=3`."""
    run = checked(LoopFile, read_table(path, overrides))
    here = Path(path).resolve().parent

    def found(section):
        return section.model_copy(update={"run_file": here / section.run_file})

    return run.model_copy(
        update={
            "sample": {name: found(section) for name, section in run.sample.items()},
            "label": found(run.label),
            "train": found(run.train),
        }
    )
