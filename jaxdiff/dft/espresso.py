"""Quantum ESPRESSO's pw.x: input and output through ASE, and what ASE does not look at."""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase import units
from ase.calculators.calculator import kptdensity2monkhorstpack
from ase.io.espresso import read_fortran_namelist, write_espresso_in

from jaxdiff.dft.contract import PSEUDO, Code, CutOff, Failed, Label, Settings
from jaxdiff.io.digest import of_file
from jaxdiff.io.labelfile import DftSection

INPUT, OUTPUT = "pw.in", "pw.out"

SCF_CORRECTION = 0.02
"""eV/Å: forces that change by more in the last step of the SCF are not those of its end."""

_SECTIONS = ("control", "system", "electrons")
_OURS = {
    "control": {
        "calculation": "scf",
        "tprnfor": True,
        "tstress": True,
        "disk_io": "none",
        "outdir": "./scratch",
        "pseudo_dir": f"../../{PSEUDO}",
        "restart_mode": "from_scratch",
    }
}
_DROPPED = {
    "control": ("prefix", "title", "wfcdir", "verbosity", "nstep"),
    "system": ("nat", "ntyp", "ibrav", "a", "b", "c", "cosab", "cosac", "cosbc"),
}
_REPLACED_CARDS = ("atomic_species", "atomic_positions", "cell_parameters", "k_points")
_CARDS = (
    *_REPLACED_CARDS, "additional_k_points", "constraints", "occupations",
    "atomic_velocities", "atomic_forces", "solvents", "hubbard",
)  # fmt: skip


def _settings(section: DftSection) -> Settings:
    namelists, cards = _read_template(section.template)
    _check_cards(section, cards)
    _check_spin(section, namelists["system"])
    files = {}
    for symbol, name in sorted(section.pseudopotentials.items()):
        path = section.pseudopotential_folder / name
        if not path.is_file():
            raise ValueError(
                f"dft.pseudopotentials.{symbol}: {path} does not exist; give the name of a "
                "file in dft.pseudopotential_folder."
            )
        if files.setdefault(path.name, path) != path:
            raise ValueError(f"two pseudopotentials are called {path.name}; rename one.")
    identity = {
        "code": "espresso",
        "namelists": namelists,
        "pseudopotentials": {
            symbol: {"file": Path(name).name, "sha256": of_file(files[Path(name).name])}
            for symbol, name in sorted(section.pseudopotentials.items())
        },
        "kpoint_density_angstrom": section.kpoint_density_angstrom,
        "starting_magnetization": dict(sorted(section.starting_magnetization.items())),
    }
    return Settings(identity, files, _words(section, namelists))


def _read_template(path: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Its namelists, all names in small letters, without what is ours; its cards."""
    if not path.is_file():
        raise ValueError(f"dft.template = {path} does not exist; give an input of pw.x.")
    try:
        with path.open(encoding="utf-8") as file:
            read, cards = read_fortran_namelist(file)
    except (ValueError, AttributeError, KeyError, IndexError) as error:
        raise ValueError(f"{path} is no input of pw.x: {error!r}.") from None
    given = {
        name: {str(key).lower(): value for key, value in dict(read.get(name, {})).items()}
        for name in _SECTIONS
    }
    if "ecutwfc" not in given["system"]:
        raise ValueError(
            f"{path} has no ecutwfc in &SYSTEM; give an input of pw.x with a cutoff."
        )
    wanted = str(given["control"].get("calculation", "scf")).lower()
    if wanted != "scf":
        raise ValueError(
            f"{path} has calculation = {wanted!r}; a label is one calculation at the "
            "frame's positions, so write 'scf'."
        )
    for key in ("noncolin", "lspinorb", "space_group"):
        if given["system"].get(key):
            raise ValueError(f"{path} has {key}, which jaxdiff label does not take.")
    kept = {
        name: {
            key: value
            for key, value in sorted(section.items())
            if key not in _DROPPED.get(name, ()) and not key.startswith("celldm")
        }
        | _OURS.get(name, {})
        for name, section in given.items()
    }
    indexed = [key for section in kept.values() for key in section if "(" in key]
    if indexed:
        raise ValueError(
            f"{path} has {indexed[0]}, which counts elements or atoms, and their order is "
            "that of each frame; leave it out (dft.starting_magnetization is by symbol)."
        )
    return kept, cards


def _check_cards(section: DftSection, lines: list[str]) -> None:
    """Refuse cards whose meaning would be lost."""
    for line in lines:
        card, *rest = line.lower().split()
        if card in _CARDS and card not in _REPLACED_CARDS:
            raise ValueError(
                f"{section.template} has the card {card.upper()}, which jaxdiff label does "
                "not take; leave it out."
            )
        is_gamma = rest and rest[0].strip("{}()") == "gamma"
        if card == "k_points" and not is_gamma and not section.kpoint_density_angstrom:
            raise ValueError(
                f"{section.template} has K_POINTS, and a grid belongs to a cell; give "
                "dft.kpoint_density_angstrom, or write K_POINTS gamma."
            )


def _check_spin(section: DftSection, system: Mapping[str, Any]) -> None:
    polarised, moments = system.get("nspin", 1) == 2, section.starting_magnetization
    if moments and not polarised:
        raise ValueError(
            f"dft.starting_magnetization says nothing without nspin = 2 in "
            f"{section.template}; add that, or leave it out."
        )
    if polarised and not (any(moments.values()) or "tot_magnetization" in system):
        raise ValueError(
            f"{section.template} has nspin = 2, and without dft.starting_magnetization "
            "(or tot_magnetization) pw.x would stay without spin; give it, such as "
            "{ Li = 0.5 }."
        )


def _words(section: DftSection, namelists: Mapping[str, Any]) -> str:
    system, electrons = namelists["system"], namelists["electrons"]
    density = section.kpoint_density_angstrom
    grid = "the point Gamma alone" if density is None else f"{density:g} Å of k-points"
    threshold = electrons.get("conv_thr", 1e-6)
    return (
        f"pw.x with ecutwfc = {system['ecutwfc']:g} Ry, {grid}, conv_thr = {threshold:g} "
        "Ry: the SCF of each label is converged so far; whether cutoff and k-points are "
        "enough is for you to test"
    )


def _write(folder: Path, atoms: ase.Atoms, identity: Mapping[str, Any]) -> None:
    files = identity["pseudopotentials"]
    symbols = sorted(set(atoms.get_chemical_symbols()))
    missing = [symbol for symbol in symbols if symbol not in files]
    if missing:
        raise ValueError(
            f"dft.pseudopotentials has none of {', '.join(missing)}; add a file."
        )
    if not all(atoms.pbc):
        raise ValueError(
            f"pbc is {atoms.pbc.tolist()}, and pw.x repeats a cell in all three "
            "directions; leave the frame out, or give it a cell and make it periodic."
        )
    namelists = copy.deepcopy(dict(identity["namelists"]))
    charge = float(atoms.info.get("charge", 0.0))
    if charge != float(namelists["system"].get("tot_charge", 0.0)):
        raise ValueError(
            f"the frame has charge = {charge:g}, and tot_charge of the template is "
            f"{namelists['system'].get('tot_charge', 0):g}; label such frames by "
            "themselves, with a template of their own."
        )
    bare = ase.Atoms(  # without constraints: they would become zeros among the forces
        atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True
    )
    moments = identity["starting_magnetization"]
    if moments:
        symbols = bare.get_chemical_symbols()
        bare.set_initial_magnetic_moments([moments.get(s, 0.0) for s in symbols])
    with (folder / INPUT).open("w", encoding="utf-8") as file:
        write_espresso_in(
            file,
            bare,
            input_data=namelists,
            pseudopotentials={symbol: files[symbol]["file"] for symbol in files},
            kpts=_grid(bare, identity["kpoint_density_angstrom"]),
        )


def _grid(atoms: ase.Atoms, density: float | None) -> tuple[int, int, int] | None:
    """Numbers of k-points of a grid that is not shifted; None: Gamma alone."""
    if density is None:
        return None
    a, b, c = map(int, kptdensity2monkhorstpack(atoms, density, even=False))
    return None if (a, b, c) == (1, 1, 1) else (a, b, c)


def _arguments(command: list[str]) -> tuple[list[str], str]:
    return [*command, "-in", INPUT], OUTPUT


def _read(folder: Path) -> Label:
    path = folder / OUTPUT
    text = path.read_text("utf-8", "replace") if path.is_file() else ""
    if found := re.search(r"%%%\s*\n\s*(Error in routine[^\n]*)\n([^%]*)", text):
        raise Failed("pw.x: " + " ".join(f"{found[1]} {found[2]}".split()))
    if found := re.search(r"convergence NOT achieved after\s+(\d+) iterations", text):
        raise Failed(
            f"the SCF has not converged in {found[1]} iterations (electron_maxstep, "
            "mixing_beta)"
        )
    done = "convergence has been achieved" in text
    if not ("JOB DONE." in text and done and "!    total energy" in text):
        raise CutOff(f"{path} has no end")
    try:
        atoms = ase.io.read(path, format="espresso-out")
        asked = ase.io.read(folder / INPUT, format="espresso-in")
    except Exception as error:  # ASE's reader has no error of its own
        raise Failed(f"ASE cannot read {OUTPUT}: {error!r}") from None
    assert isinstance(atoms, ase.Atoms)
    assert isinstance(asked, ase.Atoms)
    found = atoms.calc.results if atoms.calc is not None else {}
    if "forces" not in found or "energy" not in found:
        raise Failed("the output has no forces")
    if atoms.get_chemical_symbols() != asked.get_chemical_symbols():
        raise Failed("the output is of other atoms than the input")
    facts = _facts(text)
    correction = facts.get("scf_correction_ev_per_angstrom", 0.0)
    if correction > SCF_CORRECTION:
        raise Failed(
            f"forces would still change by {correction:.3g} eV/Å, more than "
            f"{SCF_CORRECTION} eV/Å; lower conv_thr"
        )
    stress = atoms.get_stress(voigt=False) if "stress" in found else None
    forces = np.asarray(found["forces"], float)
    return Label(float(found["energy"]), forces, stress, facts)


def _facts(text: str) -> dict[str, Any]:
    """What ASE leaves in the output; the last of each."""
    number = r"\s*[=<]\s*(-?[\d.]+(?:[eE][-+]?\d+)?)"
    wanted = {
        "scf_accuracy_ev": (r"estimated scf accuracy" + number, units.Ry),
        "scf_correction_ev_per_angstrom": (
            r"Total SCF correction" + number, units.Ry / units.Bohr,
        ),
        "electrons": (r"number of electrons" + number, 1.0),
        "magnetization_bohr_magneton": (r"total magnetization" + number, 1.0),
        "kpoints": (r"number of k points" + number, 1.0),
    }  # fmt: skip
    facts: dict[str, Any] = {}
    for name, (pattern, unit) in wanted.items():
        found = re.findall(pattern, text)
        if found:
            facts[name] = float(found[-1]) * unit
    if "kpoints" in facts:
        facts["kpoints"] = int(facts["kpoints"])
    if found := re.search(r"Program PWSCF v\.?(\S+)", text):
        facts["version"] = f"pw.x {found[1]}"
    return facts


ESPRESSO = Code("espresso", _settings, _write, _arguments, _read)
"""pw.x 6 and 7. The energy of a smeared calculation is the free one, E - TS."""
