"""Models side by side on one crystal at rest: a number is kept as soon as it is found."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import jax.numpy as jnp
import numpy as np
from ase.build import bulk, make_supercell
from ase.calculators.calculator import Calculator

from jaxdiff import checkpoints
from jaxdiff.calculator import MaceCalculator
from jaxdiff.checkpoints import CheckpointError
from jaxdiff.io import durable
from jaxdiff.io.folder import RunFolder, differences
from jaxdiff.io.provenance import provenance, sha256
from jaxdiff.io.runfile import ModelSection
from jaxdiff.lattice.lithium_fluoride import LITHIUM_FLUORIDE_LATTICE
from jaxdiff.models.contract import Model, Term
from jaxdiff.models.dispersion import CUTOFF
from jaxdiff.objectives.barrier import find_barrier
from jaxdiff.objectives.crystal import bulk_modulus, relax_cell
from jaxdiff.objectives.paths import lithium_path
from jaxdiff.objectives.phonons import phonons
from jaxdiff.objectives.point_defects import CHARGE, pair_energies
from jaxdiff.objectives.surface import make_surface
from jaxdiff.potential import cast, species_index
from jaxdiff.runs.cost import cost
from jaxdiff.runs.levels import for_structures, terms_of, what_counts
from jaxdiff.system import System, from_ase, read_structure, to_ase

RESULTS = "models.json"
FORMAT, FORMAT_VERSION = "jaxdiff-models", 1

JUMP = "collinear"
"""The jump of `lattice.rock_salt` whose barrier is found."""

_CUBIC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])  # of primitive vectors of fcc
_SKEW = 1e-3  # relative difference of edges and angles that are one

Found = dict[str, Any]
Report = Callable[[str, str, Found | None], None]
"""(model, quantity, what was found, or None where it begins)."""


@dataclasses.dataclass(frozen=True)
class Conditions:
    """The crystal that all models are asked about, and what is added to their energies.

    - `structure`: a file of any crystal; None: LiF.
    - `supercell`: cells along each axis, of LiF conventional ones, for phonons and defects.
    - `dispersion`, `functional`: as `model.dispersion` and `model.dispersion_functional` of
      run files.
    """

    structure: Path | None = None
    supercell: tuple[int, int, int] = (2, 2, 2)
    dispersion: str | None = None
    functional: str | None = None

    @property
    def crystal(self) -> ase.Atoms:
        """Its primitive cell, or that of the file, before it is relaxed."""
        if self.structure is None:
            return bulk("LiF", "rocksalt", a=LITHIUM_FLUORIDE_LATTICE)
        system = read_structure(self.structure)
        if not all(system.periodic):
            raise ValueError(
                f"--structure {self.structure} is not periodic in all directions; models "
                "are compared on crystals."
            )
        return to_ase(dataclasses.replace(system, velocity=None))

    @property
    def repeats(self) -> np.ndarray:
        """Lattice vectors of the supercell in those of the crystal."""
        cells = np.diag(self.supercell)
        return cells if self.structure is not None else cells @ _CUBIC

    def identity(self) -> dict[str, Any]:
        """What all numbers of a folder have in common."""
        crystal = "LiF" if self.structure is None else sha256(self.structure)
        return {"crystal": crystal, "supercell": list(self.supercell)}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model on the crystal, in float64 and restricted to its elements.

    - `found`: quantities that are known already.
    """

    section: ModelSection
    model: Model
    conditions: Conditions
    found: Mapping[str, Found]

    @property
    def calculator(self) -> Calculator:
        """For ASE's searches."""
        section = self.section
        return MaceCalculator(
            self.model,
            dispersion=section.dispersion is not None,
            dispersion_xc=section.dispersion_functional or "pbe",
            dispersion_cutoff=section.dispersion_cutoff_angstrom or CUTOFF,
        )

    def terms(self, system: System) -> tuple[Term, ...]:
        """Energies beside the model's."""
        return terms_of(self.section, system)

    @property
    def at_rest(self) -> ase.Atoms:
        """The crystal relaxed by this model."""
        atoms, lattice = self.conditions.crystal, self.found["lattice"]
        atoms.set_cell(lattice["cell_angstrom"])
        atoms.set_scaled_positions(lattice["fraction"])
        return atoms

    @property
    def lattice_constant(self) -> float:
        """Of LiF at rest, Å."""
        return self.found["lattice"]["lattice_constant_angstrom"]


def compare_to_folder(
    models: Sequence[str], conditions: Conditions, directory: Path, report: Report
) -> Found:
    """The content of models.json: all that the folder knows after these models.

    - `models`: names or files; MODEL:HEAD for one head of a model of several.

    A number that is there already, of the same file, is not computed again. A model that
    cannot be asked stands in `failed` with the reason, a quantity that it has not in its
    place. `report` is called when a quantity begins and ends.

    Raises `ValueError` where the folder holds numbers of another crystal, or of another
    file of one of the models.
    """
    crystal = conditions.crystal
    sections = {_label(s): s for s in (_section(m, conditions) for m in models)}
    with RunFolder(directory, key="--out").claimed():
        content = _content(directory, conditions)
        known, failed = content["models"], content["failed"]
        digests = _digests(sections, known, failed, directory)
        for label, digest in digests.items():
            section = sections[label]
            try:
                model = _model(section, crystal)
            except (ValueError, OSError, CheckpointError) as error:
                failed[label] = _sentence(error)
                continue
            identity = {"model_sha256": digest, **what_counts(section)}
            entry = known.setdefault(label, {"identity": identity})
            for name in quantities(conditions):
                if name not in entry:
                    report(label, name, None)
                    subject = Subject(section, model, conditions, entry)
                    entry[name] = _asked(QUANTITIES[name], subject)
                    durable.write_json(directory / RESULTS, content)
                report(label, name, entry[name])
                if name == "lattice" and "failed" in entry[name]:
                    break
        durable.write_json(directory / RESULTS, content)
    return content


def _asked(quantity: Callable[[Subject], Found], subject: Subject) -> Found:
    begin = time.perf_counter()
    try:
        found = quantity(subject)
    except ValueError as error:
        found = {"failed": _sentence(error)}
    return found | {"seconds": round(time.perf_counter() - begin, 1)}


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())


def _section(text: str, conditions: Conditions) -> ModelSection:
    """The section [model] of a run file for a model of the command line."""
    name, head = text, None
    is_known = text == checkpoints.DEFAULT or text in checkpoints.FOUNDATIONS
    if not (is_known or Path(text).exists()) and ":" in text:
        name, _, head = text.rpartition(":")
    return ModelSection.model_validate(
        {
            "name_or_path": name,
            "head": head or None,
            "dispersion": conditions.dispersion,
            "dispersion_functional": conditions.functional,
        }
    )


def _label(section: ModelSection) -> str:
    label = section.name_or_path + (f":{section.head}" if section.head else "")
    if section.dispersion is None:
        return label
    return f"{label} + {section.dispersion} {section.dispersion_functional or 'pbe'}"


def _model(section: ModelSection, crystal: ase.Atoms) -> Model:
    """Of the head that was asked for, in float64; it knows the elements of the crystal."""
    model = checkpoints.load(section.name_or_path)
    species_index(crystal.numbers, model.species)
    if section.head is None and len(model.heads) > 1:
        try:
            model.head_index(None)
        except ValueError as error:
            example = f"{section.name_or_path}:{model.heads[0]}"
            raise ValueError(f"{error} Give MODEL:HEAD, as in {example}.") from None
    model = for_structures(model, section)
    return cast(model.restrict(sorted(set(crystal.numbers.tolist()))), jnp.float64)


def _content(directory: Path, conditions: Conditions) -> Found:
    """What the folder holds, or the beginning of it."""
    now, path = conditions.identity(), directory / RESULTS
    content: Any = {"models": {}, "conditions": now}
    if path.exists():
        content = None
        with contextlib.suppress(RecursionError, ValueError):
            content = json.loads(path.read_text(encoding="utf-8"))
        content = content if isinstance(content, dict) else {}
        tables = content.get("models"), content.get("conditions")
        if not all(isinstance(table, dict) for table in tables):
            raise ValueError(
                f"{path} is damaged; move it away, and what it holds is computed again."
            )
        if differ := differences(content["conditions"], now):
            name, (one, other) = next(iter(differ.items()))
            raise ValueError(
                f"{directory} holds a comparison with {name} = {one}, not {other}; give "
                "another folder (--out DIR)."
            )
    about = {"format": FORMAT, "format_version": FORMAT_VERSION, **provenance()}
    return {**about, "conditions": now, "models": content["models"], "failed": {}}


def _digests(
    sections: Mapping[str, ModelSection], known: Found, failed: Found, directory: Path
) -> dict[str, str]:
    """SHA-256 of each model that is there; the others are told in `failed`."""
    found: dict[str, str] = {}
    for label, section in sections.items():
        try:
            with checkpoints.locate(section.name_or_path) as path:
                found[label] = sha256(path)
        except (ValueError, OSError, CheckpointError) as error:
            failed[label] = _sentence(error)
            continue
        before = known.get(label, {}).get("identity", {}).get("model_sha256")
        if before not in (None, found[label]):
            raise ValueError(
                f"{directory} holds numbers of {section.name_or_path} with the SHA-256 "
                f"{before[:12]}…, and the file now has {found[label][:12]}…: it is another "
                "model. Give another folder (--out DIR), or the file another name."
            )
    return found


def _lattice(subject: Subject) -> Found:
    """Edges of the cell without stress, Å; of LiF, those of the conventional cell."""
    atoms = relax_cell(subject.conditions.crystal, subject.calculator)
    a, b, c, alpha, beta, gamma = atoms.cell.cellpar().tolist()
    place = {
        "cell_angstrom": atoms.cell.array.tolist(),
        "fraction": atoms.get_scaled_positions(wrap=False).tolist(),
    }
    volume = {"volume_angstrom3_per_atom": atoms.cell.volume / len(atoms)}
    if subject.conditions.structure is not None:
        edges = {"a_angstrom": a, "b_angstrom": b, "c_angstrom": c}
        angles = {"alpha_degrees": alpha, "beta_degrees": beta, "gamma_degrees": gamma}
        return edges | angles | volume | place
    skew = [np.ptp([a, b, c]) / a, abs(np.array([alpha, beta, gamma]) / 60 - 1).max()]
    if max(skew) > _SKEW:
        raise ValueError(
            "rock salt is no minimum of this model: its cell goes to edges of "
            f"{a:.3f}, {b:.3f}, {c:.3f} Å and angles of {alpha:.1f}, {beta:.1f}, "
            f"{gamma:.1f} degrees (60 in rock salt)."
        )
    return {"lattice_constant_angstrom": float(2**0.5 * a)} | volume | place


def _bulk_modulus(subject: Subject) -> Found:
    found = bulk_modulus(subject.at_rest, subject.calculator)
    return {"bulk_modulus_gpa": found.bulk_modulus, "fit_residual_ev": found.residual}


def _phonons(subject: Subject) -> Found:
    """Over the waves that fit into the supercell."""
    atoms, repeats = subject.at_rest, subject.conditions.repeats
    terms = subject.terms(from_ase(make_supercell(atoms, repeats)))
    found = phonons(subject.model, atoms, repeats, terms)
    optical = found.at_gamma_thz
    return {
        "highest_phonon_at_gamma_thz": max(optical, default=None),
        "highest_phonon_thz": found.highest_thz,
        "imaginary_modes": found.n_imaginary,
        "instability": found.instability(),
        "at_gamma_thz": optical,
        "waves": len(found.wave),
    }


def _barrier(subject: Subject) -> Found:
    """Of the interstitial's collinear jump, at the model's own lattice constant."""
    _require_stable(subject)
    path = lithium_path(JUMP, subject.conditions.supercell, subject.lattice_constant)
    model = subject.model.with_charge(CHARGE["interstitial"], 1)
    surface = make_surface(model, path.system, subject.terms(path.system))
    found = find_barrier(model, surface, path)
    return {
        "barrier_ev": found.forward_ev,
        "saddle_frequencies_thz": found.modes.frequency_thz.tolist(),
        "force_calls": found.force_calls,
    }


def _defects(subject: Subject) -> Found:
    _require_stable(subject)
    cells, constant = subject.conditions.supercell, subject.lattice_constant
    found = pair_energies(subject.model, cells, constant, subject.terms)
    return dataclasses.asdict(found)


def _require_stable(subject: Subject) -> None:
    """A crystal that is no minimum has no energy that defects could be compared with."""
    if words := subject.found["phonons"].get("instability"):
        raise ValueError(
            f"the crystal is unstable (imaginary modes: {words}); a defect would let it "
            "go its own way, so there is nothing to compare its energy with."
        )


def _cost(subject: Subject) -> Found:
    """Of the supercell."""
    supercell = make_supercell(subject.at_rest, subject.conditions.repeats)
    return cost(subject.section, from_ase(supercell))


QUANTITIES: Mapping[str, Callable[[Subject], Found]] = {
    "lattice": _lattice,
    "bulk modulus": _bulk_modulus,
    "phonons": _phonons,
    "barrier": _barrier,
    "defects": _defects,
    "cost": _cost,
}
"""In the order in which they are found; later ones may need earlier ones."""

_OF_LITHIUM_FLUORIDE = ("barrier", "defects")


def quantities(conditions: Conditions) -> list[str]:
    """Those that the crystal has: jumps and defects are known of LiF alone."""
    is_file = conditions.structure is not None
    return [q for q in QUANTITIES if not (is_file and q in _OF_LITHIUM_FLUORIDE)]
