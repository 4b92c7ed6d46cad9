"""The run file of `jaxdiff simulate`: TOML, every unit in its key, nothing unknown.

Numbers are in the units of their keys here and become internal units once, in the command
that uses them.
"""

import copy
import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import pydantic
from pydantic import Field, model_validator

UNIT_SUFFIXES = (
    "fs", "ps", "ns", "per_ps", "kelvin", "angstrom", "ev", "strides", "gpa", "per_gpa",
    "minutes",
)  # fmt: skip

Thermostat = Literal["csvr", "nose-hoover", "langevin", "nve"]


class RunFileError(ValueError):
    """A run file that cannot be run; one line per fault."""


class Section(pydantic.BaseModel):
    """What every table of a run file is: frozen, and nothing in it unknown."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


File = TypeVar("File", bound=Section)


class ModelSection(Section):
    """Which force field: a registered name or a file, and how it is evaluated.

    `evaluator`: "compiled" is folded for the composition, with radial functions tabulated
    to `radial_tolerance` relative to the largest (0: exact); "fused" is the same with a
    kernel for CUDA GPUs; "plain" is the reference; "auto" takes the faster of "compiled"
    and "plain".
    """

    name_or_path: str = Field(min_length=1)
    precision: Literal["float32", "float64"] = "float32"
    evaluator: Literal["auto", "plain", "compiled", "fused"] = "auto"
    radial_tolerance: float = Field(1e-6, ge=0, lt=0.01)


class CrystalSection(Section):
    """The LiF crystal: conventional cells along each axis, and their edge."""

    supercell: tuple[int, int, int]
    lattice_constant_angstrom: float = Field(4.083428, gt=2, lt=8)

    @pydantic.field_validator("supercell", mode="before")
    @classmethod
    def _cube(cls, value: Any) -> Any:
        return (value,) * 3 if isinstance(value, int) else value

    @pydantic.field_validator("supercell")
    @classmethod
    def _at_least_two(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(value) < 2:
            raise ValueError(
                "each number must be at least 2: in one cell the interstitial meets its "
                "own image"
            )
        return value


class SystemSection(CrystalSection):
    """The crystal: built, or read from files, one for all replicas or one for each.

    - `lattice_file`: result of `jaxdiff lattice`; each temperature then has its own lattice
      constant, and `lattice_constant_angstrom` is not used.
    - `interstitials`, `vacancies`, `frenkel_pairs`: of Li, on sites drawn for each replica.
    """

    lattice_file: str | None = None
    interstitials: int = Field(1, ge=0)
    vacancies: int = Field(0, ge=0)
    frenkel_pairs: int = Field(0, ge=0)
    structure_files: tuple[str, ...] = ()
    keep_velocities: bool = False


class EnsembleSection(Section):
    """Temperatures, replicas, time step, thermostat; and the seed, without a default.

    `replica_range`: run only these replicas, from the first up to but without the second;
    they are numbered through all temperatures, the first temperature first. `group_size`:
    replicas computed at once; left out, one on a CPU and what fits on an accelerator.
    """

    temperatures_kelvin: tuple[float, ...] = Field(min_length=1)
    replicas_per_temperature: int = Field(ge=1)
    timestep_fs: float = Field(ge=0.01, le=10)
    tdamp_fs: float = Field(100.0, ge=1, le=1e5)
    seed: int = Field(ge=0, lt=2**32)
    max_temperature_kelvin: float = Field(10_000.0, gt=0)
    replica_range: tuple[int, int] | None = None
    group_size: int | None = Field(None, ge=1)

    @pydantic.field_validator("temperatures_kelvin")
    @classmethod
    def _plausible(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for kelvin in value:
            if not 0 < kelvin <= 5000:
                raise ValueError(
                    f"{kelvin} K is outside 0 to 5000 K; temperatures are in K"
                )
        if len(set(value)) != len(value):
            raise ValueError("a temperature occurs twice; use replicas_per_temperature")
        return value


class EquilibrationSection(Section):
    """Dynamics before anything is counted; friction is that of Langevin dynamics."""

    duration_ps: float = Field(ge=0)
    thermostat: Thermostat = "langevin"
    friction_per_ps: float = Field(5.0, gt=0, le=1000)


class ProductionSection(Section):
    """Dynamics in which hops are counted.

    `csvr`: stochastic velocity rescaling, which leaves diffusion alone and is ergodic;
    `nose-hoover`: a chain of three, as LAMMPS's `fix nvt`; `langevin` slows diffusion down.
    """

    duration_ps: float = Field(gt=0)
    thermostat: Thermostat = "csvr"
    friction_per_ps: float = Field(1.0, gt=0, le=1000)


class BarostatSection(Section):
    """Stochastic cell rescaling, for `jaxdiff lattice` only.

    `compressibility_per_gpa` is an estimate; it only scales `pressure_time_ps`.
    """

    pressure_gpa: float = 0.0
    pressure_time_ps: float = Field(0.5, gt=0)
    compressibility_per_gpa: float = Field(0.0156, gt=0)


class NeighborsSection(Section):
    """Skin of the neighbour lists: wider costs pairs, narrower costs rebuilds."""

    skin_angstrom: float = Field(0.4, ge=0, le=3)


class HopsSection(Section):
    """The detector: one frame per stride; a hop counts after `dwell_strides` in a core.

    `crossings_per_chunk`: frames kept per replica and chunk at crossings between sites.
    """

    stride_fs: float = Field(20.0, gt=0, le=1000)
    dwell_strides: int = Field(3, ge=1)
    core_radius_angstrom: float = Field(0.77, gt=0, lt=0.9)
    crossings_per_chunk: int = Field(0, ge=0, le=10_000)


class OutputSection(Section):
    """Where the series goes, how often to write, and how many frames to skip.

    - `checkpoint_minutes`: between two checkpoints, from which a run goes on by itself.
    - `positions_every_ps`: also keep the positions of all atoms, so often.
    - `chunk_ps`: the most that the program makes at once.
    """

    directory: str = Field(min_length=1)
    checkpoint_minutes: float = Field(10.0, ge=0)
    chunk_ps: float = Field(1.0, gt=0)
    thermo_stride_frames: int = Field(1, ge=1)
    positions_every_ps: float | None = Field(None, gt=0)


class RunFile(Section):
    """A whole run."""

    model: ModelSection
    system: SystemSection
    ensemble: EnsembleSection
    equilibration: EquilibrationSection
    production: ProductionSection
    barostat: BarostatSection | None = None
    neighbors: NeighborsSection = NeighborsSection.model_validate({})
    hops: HopsSection = HopsSection.model_validate({})
    output: OutputSection

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        step, stride = self.ensemble.timestep_fs, self.hops.stride_fs
        _multiple("hops.stride_fs", stride, "ensemble.timestep_fs", step, "fs")
        for name in ("equilibration", "production"):
            duration = 1e3 * getattr(self, name).duration_ps
            _multiple(f"{name}.duration_ps", duration, "ensemble.timestep_fs", step, "fs")
        if self.output.positions_every_ps is not None:
            every = 1e3 * self.output.positions_every_ps
            _multiple(
                "output.positions_every_ps", every, "ensemble.timestep_fs", step, "fs"
            )
        if 1e3 * self.production.duration_ps < stride * self.hops.dwell_strides:
            raise ValueError(
                f"production.duration_ps = {self.production.duration_ps} is shorter than "
                "one dwell of the hop detector (hops.stride_fs times hops.dwell_strides); "
                "no hop could be seen. Run longer"
            )
        first, stop = self.replica_range
        if not 0 <= first < stop <= self.n_all_replicas:
            raise ValueError(
                f"ensemble.replica_range = [{first}, {stop}] must be within [0, "
                f"{self.n_all_replicas}], the replicas of all temperatures, and not empty"
            )
        files, replicas = len(self.system.structure_files), self.n_all_replicas
        if files not in (0, 1, replicas):
            raise ValueError(
                f"system.structure_files names {files} files for {replicas} replicas; "
                f"give none, one for all, or {replicas}"
            )
        return self

    @property
    def n_all_replicas(self) -> int:
        """All temperatures together."""
        ensemble = self.ensemble
        return len(ensemble.temperatures_kelvin) * ensemble.replicas_per_temperature

    @property
    def replica_range(self) -> tuple[int, int]:
        """The first replica of this run, and the first that is no longer of it."""
        return self.ensemble.replica_range or (0, self.n_all_replicas)

    @property
    def n_replicas(self) -> int:
        """Replicas of this run."""
        first, stop = self.replica_range
        return stop - first

    def steps(self, duration_ps: float) -> int:
        """Steps in a duration."""
        return round(1e3 * duration_ps / self.ensemble.timestep_fs)

    @property
    def steps_per_frame(self) -> int:
        """Steps between two frames of the detector."""
        return round(self.hops.stride_fs / self.ensemble.timestep_fs)

    @property
    def frames_per_chunk(self) -> int:
        """Frames between two writes."""
        return max(1, round(1e3 * self.output.chunk_ps / self.hops.stride_fs))


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> RunFile:
    """Read a run file, with overrides such as `ensemble.seed=7`."""
    return parse(read_table(path, overrides))


def read_table(
    path: str | Path, overrides: list[str] | tuple[str, ...] = ()
) -> dict[str, Any]:
    """The table of a TOML file with its overrides, not yet checked."""
    path = Path(path)
    if not path.is_file():
        raise RunFileError(f"{path} does not exist; give the path of a run file (TOML).")
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise RunFileError(f"{path} is not valid TOML: {error}.") from None
    return overridden(table, overrides)


def parse(table: dict[str, Any]) -> RunFile:
    """Check a run file that has been read; all faults are told at once."""
    return checked(RunFile, table)


def checked(kind: type[File], table: dict[str, Any]) -> File:
    """Check a table against a kind of run file; all faults are told at once."""
    try:
        return kind.model_validate(table)
    except pydantic.ValidationError as error:
        lines = [_sentence(fault, kind) for fault in error.errors()]
        raise RunFileError("\n".join(lines)) from None


def to_toml(run_file: RunFile) -> str:
    """The run file with every default written out."""
    lines = []
    sections = run_file.model_dump(mode="json", exclude_none=True)
    for name, section in sections.items():
        # TOML and JSON write strings, numbers, booleans and lists of them alike
        pairs = [f"{key} = {json.dumps(value)}" for key, value in section.items()]
        lines += [f"[{name}]", *pairs, ""]
    return "\n".join(lines)


def overridden(
    table: dict[str, Any], overrides: list[str] | tuple[str, ...]
) -> dict[str, Any]:
    """The table of a TOML file with changes of the form section.key=value."""
    table = copy.deepcopy(table)
    for override in overrides:
        name, equals, text = override.partition("=")
        *sections, key = name.strip().split(".")
        if not (equals and sections and key and all(sections)):
            raise RunFileError(
                f"--set {override} is not of the form section.key=value, such as "
                "--set production.duration_ps=10."
            )
        place = table
        for number, section in enumerate(sections, 1):
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                where = ".".join(sections[:number])
                raise RunFileError(f"--set {override}: {where} is a value, not a section.")
        place[key] = _value(text.strip())
    return table


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string


def _sentence(fault: Any, kind: type[Section]) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return _unknown(fault["loc"], kind)
    if fault["type"] == "missing":
        return f"{where} is missing; {_purpose(where)}."
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "tuple_type":  # Python's word, not TOML's
        message = "Input should be a list in square brackets"
    message = message[0].lower() + message[1:] if where else message
    given = f"{where} = {json.dumps(fault['input'], default=str)}: " if where else ""
    return f"{given}{message}."


def _unknown(location: Any, kind: type[Section]) -> str:
    known = list(kind.model_fields)
    if len(location) > 1:
        annotation: Any = kind.model_fields[location[0]].annotation
        kinds = [annotation, *get_args(annotation)]  # X of X | None, of dict[str, X]
        known = next(list(k.model_fields) for k in kinds if hasattr(k, "model_fields"))
    key, where = str(location[-1]), ".".join(str(part) for part in location)
    same = [name for name in known if _stem(name) == _stem(key) and name != key]
    if same:
        return f"{where} is not known: the unit is part of the key, write {same[0]}."
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}."
    return f"{where} is not known; {hint}"


def _stem(key: str) -> str:
    for suffix in sorted(UNIT_SUFFIXES, key=len, reverse=True):
        if key.endswith(f"_{suffix}"):
            return key.removesuffix(f"_{suffix}")
    return key


def _purpose(where: str) -> str:
    if where == "ensemble.seed":
        return "give a whole number, so that the run can be repeated"
    return "add the section to the run file" if "." not in where else "it has no default"


def _multiple(name: str, value: float, of: str, unit: float, suffix: str) -> None:
    ratio = value / unit
    if abs(ratio - round(ratio)) > 1e-6:
        low = int(ratio) * unit
        raise ValueError(
            f"{name} is {value:g} {suffix}, which is not a whole number of steps of {of} = "
            f"{unit:g} {suffix}; use {low:g} or {low + unit:g} {suffix}"
        )
