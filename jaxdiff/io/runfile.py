"""The run file of `jaxdiff simulate`: TOML, every unit in its key, nothing unknown.

Numbers are in the units of their keys here and become internal units once, in the command
that uses them.
"""

import math
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, model_validator

from jaxdiff.io.config import (
    RunFileError,
    Section,
    checked,
    overridden,
    read_table,
    table_of,
    table_to_toml,
)

__all__ = [
    "MOST_CELLS",
    "BarostatSection",
    "CrystalSection",
    "ForceField",
    "ModelFile",
    "ModelSection",
    "RunFile",
    "RunFileError",
    "Section",
    "load",
    "overridden",
    "parse",
    "table_of",
    "to_toml",
]


def _integrators(varies_cell: bool) -> tuple[str, ...]:
    """The names that a run file may give; with them comes JAX, so only when needed."""
    from jaxdiff.md.integrators import names

    return names(varies_cell=varies_cell)


def _known(varies_cell: bool, name: str) -> str:
    if name not in _integrators(varies_cell):
        raise ValueError(f"give one of {', '.join(_integrators(varies_cell))}")
    return name


def _listed(varies_cell: bool, schema: dict[str, Any]) -> None:
    schema["enum"] = list(_integrators(varies_cell))


Thermostat = Annotated[
    str,
    pydantic.AfterValidator(partial(_known, False)),
    Field(json_schema_extra=partial(_listed, False)),
]
Barostat = Annotated[
    str,
    pydantic.AfterValidator(partial(_known, True)),
    Field(json_schema_extra=partial(_listed, True)),
]


MOST_CELLS = 1_000_000
_MOST_REPLICAS = 1_000_000
_LONGEST_PS = 1e9


class ModelFile(Section):
    """A registered name, or a native or upstream model file."""

    name_or_path: str = Field(min_length=1, examples=["lif-compact"])
    """A registered name (`jaxdiff model list`) or the path of a model file."""
    head: str | None = Field(None, min_length=1, examples=["omat_pbe"])
    """Level of theory, where the model has several heads (`jaxdiff model info`)."""
    charge: int = Field(0, ge=-1000, le=1000)
    """Of the cell, e, for models that take it; others ignore it."""
    multiplicity: int = Field(1, ge=1, le=1000)
    """2S + 1 of the cell, for models that take it; others ignore it."""


class ForceField(ModelFile):
    """A model, and what is added to its energies."""

    dispersion: Literal["d3bj"] | None = Field(None, examples=["d3bj"])
    """Added to the energies of the model: "d3bj" is DFT-D3 with Becke-Johnson damping; left
    out: nothing.
    """
    dispersion_functional: str | None = Field(None, min_length=1, examples=["pbe"])
    """Functional of the model's data, for the damping of dispersion; left out: "pbe"."""
    dispersion_cutoff_angstrom: float | None = Field(None, gt=0, le=200, examples=[21.0])
    """Of the pairs of dispersion; left out: 40 bohr."""
    dispersion_three_body_angstrom: float | None = Field(None, gt=0, le=50, examples=[6.0])
    """Cutoff of its three-body term (Axilrod-Teller-Muto); left out: without this term."""

    @model_validator(mode="after")
    def _dispersion_is_meant(self) -> "ForceField":
        keys = [key for key in type(self).model_fields if key.startswith("dispersion_")]
        given = [key for key in keys if getattr(self, key) is not None]
        if given and not self.dispersion:
            raise ValueError(
                f'{given[0]} says nothing without dispersion; add dispersion = "d3bj"'
            )
        return self


class ModelSection(ForceField):
    """Which force field, and how it is evaluated.

    Evaluators: "compiled" is folded for the composition, with tabulated radial functions;
    "fused" is the same with a kernel for CUDA GPUs; "plain" is the reference. Each kind of
    model has its own, and "plain".
    """

    precision: Literal["float32", "float64"] = "float32"
    """Of the model; positions, momenta and sums are always float64."""
    evaluator: str = Field("auto", min_length=1)
    """How the model is evaluated; "auto" takes the fastest known on the device, and the
    report says which and why.
    """
    radial_tolerance: float = Field(1e-6, ge=0, lt=0.01)
    """Of tabulated radial functions, relative to the largest; 0: exact."""
    if_evaluator_differs: Literal["stop", "plain"] = "stop"
    """What to do where the evaluator differs from the plain one in the first configuration
    by more than is allowed: stop, or go on with the plain one.
    """


class CrystalSection(Section):
    """The LiF crystal: conventional cells along each axis, and their edge."""

    supercell: tuple[int, int, int] = Field(examples=[[5, 5, 5]])
    """Conventional cells along each axis; one number for a cube."""
    lattice_constant_angstrom: float = Field(4.083428, gt=2, lt=8)
    """Edge of the conventional cell."""

    @pydantic.field_validator("supercell", mode="before")
    @classmethod
    def _cube(cls, value: Any) -> Any:
        return (value,) * 3 if isinstance(value, int) else value

    @pydantic.field_validator("supercell")
    @classmethod
    def _at_least_two(
        cls, value: tuple[int, int, int] | None
    ) -> tuple[int, int, int] | None:
        if value is None:
            return value
        if min(value) < 2:
            raise ValueError(
                "each number must be at least 2: in one cell the interstitial meets its "
                "own image"
            )
        if math.prod(value) > MOST_CELLS:
            raise ValueError(
                f"these are {math.prod(value):.3g} cells of 8 atoms; give up to "
                f"{MOST_CELLS:.0e} cells"
            )
        return value


class SystemSection(CrystalSection):
    """The crystal: rock salt, built or from files; or, without `supercell`, any other.

    Files are one for all replicas or one for each. The cell is that of the file.
    """

    supercell: tuple[int, int, int] | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        None, examples=[[5, 5, 5]]
    )
    """Conventional cells of rock salt along each axis, one number for a cube; left out:
    `structure_files` are of any crystal, and no sites are known while it runs.
    """
    lattice_file: str | None = Field(None, examples=["lattice/lattice.json"])
    """Result of `jaxdiff lattice`: each temperature then has its own lattice constant, in
    place of `lattice_constant_angstrom`.
    """
    interstitials: int = Field(1, ge=0)
    """Extra mobile atoms, on sites drawn for each replica; 0 without `supercell`."""
    vacancies: int = Field(0, ge=0)
    """Missing mobile atoms, on sites drawn for each replica."""
    frenkel_pairs: int = Field(0, ge=0)
    """Mobile atoms moved from their site to an interstitial one."""
    structure_files: tuple[str, ...] = Field((), examples=[["start.extxyz"]])
    """Structures that ASE reads, in place of a built crystal: one for all replicas, or one
    for each.
    """
    repeat: tuple[int, int, int] = Field((1, 1, 1), examples=[[2, 2, 2]])
    """How often the cell of a file is repeated along each axis, without `supercell`."""
    mobile: str = Field("Li", min_length=1, max_length=3)
    """Element of the atoms that move."""
    mobile_charge: float | None = Field(None, ge=-8, le=8, examples=[1.0])
    """Of a mobile ion, e, for the conductivity of a crystal without `supercell`; left out:
    its common oxidation state.
    """
    keep_velocities: bool = False
    """Start from the velocities of the structure files."""

    @pydantic.field_validator("repeat", mode="before")
    @classmethod
    def _one_number(cls, value: Any) -> Any:
        return (value,) * 3 if isinstance(value, int) else value

    @pydantic.field_validator("repeat")
    @classmethod
    def _some_cells(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(value) < 1 or math.prod(value) > MOST_CELLS:
            raise ValueError(f"give three numbers from 1 on, up to {MOST_CELLS:.0e} cells")
        return value

    @model_validator(mode="before")
    @classmethod
    def _without_interstitials(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("supercell") is None:
            return {"interstitials": 0, **table}
        return table

    @model_validator(mode="after")
    def _one_kind(self) -> "SystemSection":
        if self.supercell is not None:
            if self.repeat != (1, 1, 1):
                raise ValueError(
                    "system.repeat is for crystals without system.supercell; leave one out"
                )
            return self._sites_enough(4 * math.prod(self.supercell))
        if self.keep_velocities and self.repeat != (1, 1, 1):
            raise ValueError(
                "system.keep_velocities is true, but the images of an atom that "
                "system.repeat makes would move alike for ever; set it to false, or give "
                "a structure of the whole cell"
            )
        if not self.structure_files:
            raise ValueError(
                "give system.supercell, for LiF that is built, or system.structure_files, "
                "for any crystal"
            )
        for name in ("interstitials", "frenkel_pairs", "lattice_file"):
            if getattr(self, name):
                raise ValueError(
                    f"system.{name} needs sites, so it is for rock salt (system.supercell) "
                    "alone; leave it out, and put such atoms into system.structure_files"
                )
        return self

    def _sites_enough(self, sites: int) -> "SystemSection":
        for name in ("interstitials", "vacancies", "frenkel_pairs"):
            if getattr(self, name) > sites:
                raise ValueError(
                    f"system.{name} is more than the {sites} cations of the supercell; "
                    "give fewer, or a larger supercell"
                )
        if self.mobile != "Li" and not self.structure_files:
            raise ValueError(
                f"system.mobile = {self.mobile!r}, but the crystal that is built is LiF; "
                "give system.structure_files"
            )
        return self


class EnsembleSection(Section):
    """Temperatures, replicas, time step, thermostat; and the seed, without a default."""

    temperatures_kelvin: tuple[float, ...] = Field(min_length=1, examples=[[600.0, 800.0]])
    """Target temperatures, each of all its replicas."""
    replicas_per_temperature: int = Field(ge=1, le=_MOST_REPLICAS, examples=[8])
    """Independent replicas at each temperature."""
    timestep_fs: float = Field(ge=0.01, le=10, examples=[1.0])
    """Time step of the dynamics."""
    tdamp_fs: float = Field(100.0, ge=1, le=1e5)
    """Damping time of Nosé–Hoover chains and of CSVR."""
    seed: int = Field(ge=0, lt=2**32, examples=[7])
    """Of all random numbers; no default, so that a run is repeated on purpose."""
    max_temperature_kelvin: float = Field(10_000.0, gt=0, le=1e9)
    """A replica hotter than this has diverged and stops."""
    replica_range: tuple[int, int] | None = Field(None, examples=[[0, 8]])
    """Run only these replicas, from the first up to but without the second; they are
    numbered through all temperatures, the first temperature first.
    """
    group_size: int | None = Field(None, ge=1, le=_MOST_REPLICAS, examples=[4])
    """Replicas computed at once; left out, one on a CPU and what fits on an accelerator."""

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

    duration_ps: float = Field(ge=0, le=_LONGEST_PS, examples=[2.0])
    """Time before anything is counted."""
    longest_ps: float | None = Field(None, gt=0, le=_LONGEST_PS, examples=[10.0])
    """Replicas whose equilibration is not seen to end go on, each by itself, for as often
    `duration_ps` again as they need, up to this; default: no longer than `duration_ps`.
    """
    thermostat: Thermostat = "langevin"
    """Thermostat of the equilibration."""
    friction_per_ps: float = Field(5.0, gt=0, le=1000)
    """Friction of Langevin dynamics."""


class ProductionSection(Section):
    """Dynamics in which hops are counted.

    CSVR and Nosé–Hoover chains scale all momenta alike, so that the crystal alone mixes its
    modes: equilibrate with `langevin`.
    """

    duration_ps: float = Field(gt=0, le=_LONGEST_PS, examples=[50.0])
    """Time in which hops are counted."""
    thermostat: Thermostat = "csvr"
    """"csvr", stochastic velocity rescaling, and "nose-hoover", a chain of three as
    LAMMPS's `fix nvt`, leave diffusion alone; "langevin" slows it down.
    """
    friction_per_ps: float = Field(1.0, gt=0, le=1000)
    """Friction of Langevin dynamics."""


class BarostatSection(Section):
    """What varies the cell of the production, for `jaxdiff lattice` only."""

    method: Barostat = "cell-rescaling"
    """What varies the volume."""
    pressure_gpa: float = Field(0.0, ge=-1000, le=1000)
    """Target pressure."""
    pressure_time_ps: float = Field(0.5, gt=0, le=1e6)
    """Relaxation time of the pressure."""
    compressibility_per_gpa: float = Field(0.0156, gt=0, le=1000)
    """An estimate of the isothermal compressibility; it only scales `pressure_time_ps`."""


class NeighborsSection(Section):
    """Skin of the neighbour lists: wider costs pairs, narrower costs rebuilds."""

    skin_angstrom: float = Field(0.4, ge=0, le=3)
    """Width beyond the cutoff: wider costs pairs, narrower costs rebuilds of the lists."""


class HopsSection(Section):
    """The detector: one frame per stride; a hop counts after `dwell_strides` in a core."""

    network: str = Field("none", min_length=1, examples=["li2o.cif"])
    """Sites of a crystal without `system.supercell`, for the report: a structure file with
    them, "maxima" of the density, or "none", displacements alone.
    """

    stride_fs: float = Field(20.0, gt=0, le=1000)
    """Time between two frames of the hop detector."""
    dwell_strides: int = Field(3, ge=1, le=1_000_000)
    """Frames in a new core before a hop counts."""
    core_radius_angstrom: float = Field(0.77, gt=0, lt=0.9)
    """A mobile atom this near to a site has arrived."""
    crossings_per_chunk: int = Field(0, ge=0, le=10_000)
    """Frames kept per replica and chunk at crossings between sites; 0: none."""


class OutputSection(Section):
    """Where the series goes, how often to write, and how many frames to skip."""

    directory: str = Field(min_length=1, examples=["runs/lif"])
    """Folder of the run; made if need be, and nothing in it is overwritten."""
    checkpoint_minutes: float = Field(10.0, ge=0, le=1e6)
    """Time between two checkpoints, from which a run goes on by itself."""
    chunk_ps: float = Field(1.0, gt=0, le=1e6)
    """The most that the program makes at once."""
    thermo_stride_frames: int = Field(1, ge=1, le=10**9)
    """Write energies and temperatures every so many frames."""
    positions_every_ps: float | None = Field(None, gt=0, le=_LONGEST_PS, examples=[1.0])
    """Keep the positions of all atoms this often; left out: never, and without
    `system.supercell` once in every dwell of the detector.
    """


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
    def _whole_steps(self) -> "RunFile":
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
        if self.system.supercell is not None and self.hops.network != "none":
            raise ValueError(
                f"hops.network = {self.hops.network!r} is for crystals without "
                "system.supercell, which says that hops are those of rock salt; leave one "
                "out"
            )
        if self.system.supercell is None and self.hops.crossings_per_chunk:
            raise ValueError(
                "hops.crossings_per_chunk needs sites that are known while it runs, those "
                "of rock salt (system.supercell); leave it out"
            )
        equilibration = self.equilibration
        if equilibration.longest_ps is not None and not (
            0 < equilibration.duration_ps <= equilibration.longest_ps
        ):
            raise ValueError(
                f"equilibration.longest_ps = {equilibration.longest_ps} is how far "
                f"equilibration.duration_ps = {equilibration.duration_ps} is extended; "
                "give a duration above 0 and no longer than that"
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

    def integrator(self, phase: str) -> str:
        """The integrator of a phase: its thermostat, or of the production the barostat."""
        if phase == "production" and self.barostat is not None:
            return self.barostat.method
        return getattr(self, phase).thermostat

    @property
    def follows_sites(self) -> bool:
        """Whether hops are seen on the device: in rock salt, at a fixed cell."""
        return self.system.supercell is not None and self.barostat is None

    @property
    def positions_every_ps(self) -> float | None:
        """How often positions are kept; without sites they are all that there is."""
        if self.output.positions_every_ps is None and self.system.supercell is None:
            return self.hops.stride_fs * self.hops.dwell_strides / 1e3
        return self.output.positions_every_ps

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


def parse(table: dict[str, Any]) -> RunFile:
    """Check a run file that has been read; all faults are told at once."""
    return checked(RunFile, table)


def to_toml(run_file: RunFile) -> str:
    """The run file with every default written out."""
    return table_to_toml(run_file.model_dump(mode="json"))


def _multiple(name: str, value: float, of: str, unit: float, suffix: str) -> None:
    ratio = value / unit
    if abs(ratio - round(ratio)) > 1e-6 or (value > 0 and round(ratio) == 0):
        low = int(ratio) * unit
        raise ValueError(
            f"{name} is {value:g} {suffix}, which is not a whole number of steps of {of} = "
            f"{unit:g} {suffix}; use {low:g} or {low + unit:g} {suffix}"
        )
