"""Sections of a training run's file that name labelled frames: `[data]`, `[replay]`."""

from pathlib import Path
from typing import Annotated, Literal

import ase.data
from pydantic import BeforeValidator, Field

from jaxdiff.io.config import Section

_WORDS = ("average", "foundation", "estimated")


def _by_symbol(given: object) -> object:
    """Energies of isolated atoms whose keys are atomic numbers, by symbol."""
    if given in _WORDS:
        return given
    if not isinstance(given, dict):
        raise ValueError(
            'give energies by symbol, "average", "foundation" or "estimated"; atomic '
            "numbers serve as symbols"
        )
    found = {}
    for key, energy in given.items():
        number = int(key) if str(key).isdecimal() else ase.data.atomic_numbers.get(key, 0)
        if not 0 < number < len(ase.data.chemical_symbols):
            raise ValueError(
                f"{key!r} is no element; the keys are symbols such as Li, or atomic numbers"
            )
        symbol = ase.data.chemical_symbols[number]
        if symbol in found:
            raise ValueError(
                f"the energy of {symbol} is given twice, by symbol and by number"
            )
        found[symbol] = energy
    return found


AtomicEnergyChoice = Annotated[
    dict[str, float] | Literal["average", "foundation", "estimated"],
    BeforeValidator(_by_symbol),
]


class DataSection(Section):
    """Labelled frames; paths are relative to the run file."""

    train: list[Path] = Field(min_length=1, examples=[["train.extxyz"]])
    """Frames to train on: files that ASE reads, or folders in DeePMD's formats; paths are
    relative to the run file.
    """
    valid: list[Path] = Field([], examples=[["valid.extxyz"]])
    """Frames whose loss chooses the best epoch; without any, `valid_fraction` of those for
    training.
    """
    valid_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Of the training frames, drawn with the seed, where `valid` is empty."""
    test: dict[str, list[Path]] = Field({}, examples=[{"bulk": ["bulk.extxyz"]}])
    """Sets that only stand in the table of errors, by name."""
    frames_of_type: dict[str, int] = Field({}, examples=[{"bulk": 100}])
    """How many frames of each config_type are drawn for training; left out: all."""
    largest_force_ev_per_angstrom: float | None = Field(default=None, gt=0, examples=[20.0])
    """Frames with a larger component of a force are left out of training and validation,
    also of replay.
    """
    draw_seed: int | None = Field(default=None, ge=0, examples=[1])
    """Of all that is drawn, also replay frames; left out: the run's seed. With one, runs of
    several seeds are a committee on the same frames.
    """
    head: str | None = Field(None, examples=["lif"])
    """Use the frames that the files give to this head alone; left out: they have only one.
    """
    energy_key: str = "REF_energy"
    """Name under which the files have energies, eV."""
    forces_key: str = "REF_forces"
    """Name under which the files have forces, eV/Å."""
    stress_key: str = "REF_stress"
    """Name under which the files have stresses, eV/Å³."""
    virials_key: str = "REF_virials"
    """Name under which the files have virials, eV."""
    isolated_atom_ev: AtomicEnergyChoice | None = Field(
        None, examples=[{"Li": -203.1, "F": -665.5}]
    )
    """Energies of isolated atoms by symbol or atomic number, "average", "foundation" or
    "estimated"; left out: from frames of isolated atoms, or with a starting model
    "estimated".
    """
    weight_of_type: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, examples=[{"interstitial": 2.0}]
    )
    """Multiplies the terms of the loss of frames of a config_type."""
    allow: list[
        Literal["shared_frames", "net_force", "forces", "stress", "energy_offset"]
    ] = Field([], examples=[["shared_frames"]])
    """Checks of the labels that may fail, also on replay frames."""


class ReplaySection(Section):
    """Frames of what the starting model was trained on, for a head of their own."""

    train: list[Path] = Field(min_length=1, examples=[["replay.extxyz"]])
    """Frames of what the starting model was trained on, for a head of their own."""
    valid: list[Path] = Field(min_length=1, examples=[["replay_valid.extxyz"]])
    """The same for validation."""
    labels: Literal["file", "model"] = "file"
    """"file", or "model": those that the starting model gives (pseudolabels)."""
    count: int | None = Field(default=None, ge=1, examples=[100])
    """So many are drawn at random; left out: all."""
    weight: float = Field(default=1.0, gt=0)
    """Of the head in the loss."""
    least_target_ratio: float = Field(default=0.1, ge=0)
    """Training frames are repeated until there are so many of them for each replay frame.
    """
    head: str | None = Field(None, examples=["pbe"])
    """Use the frames that the files give to this head alone."""
    energy_key: str = "REF_energy"
    """Name under which the files have energies, eV."""
    forces_key: str = "REF_forces"
    """Name under which the files have forces, eV/Å."""
    stress_key: str = "REF_stress"
    """Name under which the files have stresses, eV/Å³."""
    virials_key: str = "REF_virials"
    """Name under which the files have virials, eV."""
    isolated_atom_ev: AtomicEnergyChoice = "foundation"
    """Energies of isolated atoms of the replay head, as those of the data."""
