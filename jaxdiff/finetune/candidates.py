"""Frames from which some are chosen: read, chosen, written with the reason."""

import collections
import dataclasses
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import jax
import numpy as np
from jaxtyping import Float, Int

from jaxdiff.checkpoints import load, locate, restrict
from jaxdiff.finetune.environments import (
    DEFECT,
    Around,
    Deviation,
    check_committee,
    committee_deviation,
    frame_environments,
)
from jaxdiff.finetune.selection import (
    Choice,
    Environments,
    choose_by_type,
    farthest_points,
    highest_within,
    stack_environments,
    take_frames,
)
from jaxdiff.io import durable
from jaxdiff.io.ase_frames import read_atoms
from jaxdiff.io.provenance import provenance, sha256
from jaxdiff.models.contract import Model
from jaxdiff.potential import cast

DESCRIPTORS, COMMITTEE = "descriptors", "committee"
ENVIRONMENTS, FRAMES = "environments", "frames"

Track = Callable[[Sequence[Any], str], Iterable[Any]]
"""(things, what is done to them) -> the same things, shown to somebody."""


def _untracked(things: Sequence[Any], _: str) -> Iterable[Any]:
    return things


@dataclasses.dataclass(frozen=True)
class Request:
    """What is chosen, from what, how.

    - `frames`, `given`: files. `models`: files or names. `out`: extxyz to write.
    - `count`: how many in all, or `quota`: (config_type, how many).
    - `by`: "descriptors" or "committee". `compare`: "environments" or "frames".
    - `lowest`, `highest`, eV/Å: of the deviation of the forces of a committee.
    - `head`: of the models of a committee; None: their own.
    """

    frames: tuple[Path, ...]
    models: tuple[str, ...]
    out: Path
    count: int | None = None
    quota: tuple[tuple[str, int], ...] = ()
    by: str = DESCRIPTORS
    around: Around = Around()
    compare: str = ENVIRONMENTS
    given: tuple[Path, ...] = ()
    lowest: float = 0.0
    highest: float = np.inf
    head: str | int | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, before any file is read."""
        _one_of("by", self.by, (DESCRIPTORS, COMMITTEE))
        _one_of("compare", self.compare, (ENVIRONMENTS, FRAMES))
        if (self.count is None) == (not self.quota):
            raise ValueError("give either a count or a number for each config_type.")
        if len(dict(self.quota)) != len(self.quota):
            raise ValueError("a config_type was given two numbers; give each once.")
        if self.by == DESCRIPTORS and len(self.models) != 1:
            raise ValueError(
                f"{len(self.models)} models were given; descriptors are those of one."
            )
        if len(set(self.models)) != len(self.models):
            raise ValueError(
                "a model was given twice; the models of a committee are different ones."
            )
        if not self.lowest <= self.highest:
            raise ValueError(
                f"the least deviation, {self.lowest:g} eV/Å, is above the largest, "
                f"{self.highest:g} eV/Å."
            )
        if self.out.suffix not in (".extxyz", ".xyz"):
            raise ValueError(f"{self.out} must end in .extxyz or .xyz, which it will be.")
        for path in (self.out, self.ranking):
            if path.exists():
                raise ValueError(
                    f"{path} exists, and nothing is overwritten; give another name or move "
                    "it away."
                )

    @property
    def ranking(self) -> Path:
        """The JSON file beside `out`."""
        return self.out.with_suffix(".json")


def _one_of(name: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ValueError(f"{name} {given!r} is not known; give {' or '.join(allowed)}.")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One frame: as ASE read it, and where it stands."""

    atoms: ase.Atoms
    path: Path
    number: int

    @property
    def config_type(self) -> str:
        """As in training files; "default" where the frame has none."""
        return str(self.atoms.info.get("config_type", "default"))


@dataclasses.dataclass(frozen=True)
class Selection:
    """What was chosen; `notes` are sentences for the user, `facts` go into the ranking.

    `energy_deviation` [frames], eV per atom, of all frames, is None unless a committee
    chose.
    """

    candidates: Sequence[Candidate]
    choice: Choice
    notes: tuple[str, ...]
    facts: dict[str, Any]
    energy_deviation: Float[np.ndarray, " frames"] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Rank (from 1), file, frame (from 0), config_type, value; None for a start."""
        rows = []
        for rank, (index, value) in enumerate(
            zip(self.choice.index, self.choice.value, strict=True), 1
        ):
            candidate = self.candidates[index]
            row = {
                "rank": rank,
                "file": str(candidate.path),
                "frame": candidate.number,
                "config_type": candidate.config_type,
                "value": None if np.isnan(value) else float(value),
            }
            if self.energy_deviation is not None:
                row["energy_ev_per_atom"] = float(self.energy_deviation[index])
            rows.append(row)
        return rows


def read_candidates(paths: Sequence[Path]) -> list[Candidate]:
    """All frames of files of any format that ASE knows, in the order of the files."""
    found = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; give one with frames.")
        found += [Candidate(a, path, number) for number, a in enumerate(read_atoms(path))]
    if not found:
        raise ValueError(f"no frames in {', '.join(map(str, paths))}.")
    return found


def choose_frames(request: Request, track: Track = _untracked) -> Selection:
    """Choose as requested; nothing is written."""
    candidates = read_candidates(request.frames)
    if request.count is not None and not 1 <= request.count <= len(candidates):
        raise ValueError(
            f"{request.count} frames cannot be chosen from {len(candidates)}; ask for 1 to "
            f"{len(candidates)}."
        )
    models = [load(name) for name in request.models]
    if request.by == COMMITTEE:
        check_committee(models, request.models)
        return _by_committee(request, candidates, models, track)
    return _by_descriptors(request, candidates, models[0], track)


def _by_descriptors(
    request: Request, candidates: Sequence[Candidate], model: Model, track: Track
) -> Selection:
    given_frames = read_candidates(request.given) if request.given else []
    model = _for_frames(model, [*candidates, *given_frames])
    with jax.enable_x64(True):
        model = cast(model, "float64")
    pool, without = _described(request, model, candidates, track)
    given = None
    if given_frames:
        given, _ = _described(request, model, given_frames, track)

    def choose(rows: Int[np.ndarray, " frames"], count: int) -> Choice:
        return farthest_points(take_frames(pool, rows), count, given)

    choice = _in_types(request, candidates, choose)
    notes = [f"largest distance of a frame left out: {choice.left:.4g}"]
    facts: dict[str, Any] = {"largest_distance_left": choice.left}
    if request.around.atoms == DEFECT:
        notes.append(
            f"{without} of {len(candidates)} frames have no defect; all of their atoms "
            "were described"
        )
        facts["frames_without_defect"] = without
    return Selection(candidates, choice, tuple(notes), facts)


def _for_frames(model: Model, candidates: Sequence[Candidate]) -> Model:
    """The model for the elements of all frames only: restricted once, not for each."""
    known = set(model.species)
    present = {int(z) for c in candidates for z in set(c.atoms.numbers)}
    return restrict(model, present & known) if present & known else model


def _described(
    request: Request, model: Model, candidates: Sequence[Candidate], track: Track
) -> tuple[Environments, int]:
    """Descriptors of all frames, and how many had no atom that counts."""
    features, without = [], 0
    for candidate in track(candidates, "descriptors"):
        try:
            feature, found = frame_environments(model, candidate.atoms, request.around)
        except ValueError as error:
            raise _located(error, candidate) from None
        without += not found
        if request.compare == FRAMES:
            feature = feature.mean(axis=0, keepdims=True)
        features.append(feature)
    return stack_environments(features), without


def _located(error: ValueError, candidate: Candidate) -> ValueError:
    return ValueError(f"{candidate.path}, frame {candidate.number}: {error}")


def _by_committee(
    request: Request, candidates: Sequence[Candidate], models: Sequence[Model], track: Track
) -> Selection:
    models = [_for_frames(model, candidates) for model in models]
    found: list[Deviation] = []
    for candidate in track(candidates, "forces"):
        try:
            found.append(committee_deviation(models, candidate.atoms, request.head))
        except ValueError as error:
            raise _located(error, candidate) from None
    force = np.array([one.force for one in found])
    lowest, highest = request.lowest, request.highest

    def choose(rows: Int[np.ndarray, " frames"], count: int) -> Choice:
        return highest_within(force[rows], count, lowest, highest)

    choice = _in_types(request, candidates, choose)
    below, above = int((force < lowest).sum()), int((force > highest).sum())
    within = len(force) - below - above
    least, median, most = np.quantile(force, (0, 0.5, 1))
    asked = request.count or sum(n for _, n in request.quota)
    notes = [
        f"deviation of forces: {least:.3g} to {most:.3g} eV/Å, median {median:.3g} eV/Å"
    ]
    if lowest > 0 or np.isfinite(highest):
        notes.append(
            f"{below} frames below {lowest:g} eV/Å, {within} within, {above} above "
            f"{highest:g} eV/Å"
        )
    if len(choice.index) < asked:
        notes.append(f"{len(choice.index)} of the {asked} frames asked for are within")
    facts = {
        "below": below,
        "within": within,
        "above": above,
        "lowest_ev_per_angstrom": lowest,
        "highest_ev_per_angstrom": highest if np.isfinite(highest) else None,
        "force_deviation_ev_per_angstrom": {"min": least, "median": median, "max": most},
    }
    energy = np.array([one.energy for one in found])
    return Selection(candidates, choice, tuple(notes), facts, energy)


def _in_types(
    request: Request,
    candidates: Sequence[Candidate],
    choose: Callable[[Int[np.ndarray, " frames"], int], Choice],
) -> Choice:
    if request.count is not None:
        return choose(np.arange(len(candidates)), request.count)
    kinds = [candidate.config_type for candidate in candidates]
    return choose_by_type(kinds, dict(request.quota), choose)


def write_selection(request: Request, selection: Selection) -> None:
    """Write the chosen frames with all that ASE read of them, and the ranking.

    A frame gets `select_rank`, and `select_distance` or the two deviations
    `select_force_deviation`, eV/Å, and `select_energy_deviation`, eV per atom.
    """
    chosen, rows = [], selection.rows()
    for index, row in zip(selection.choice.index, rows, strict=True):
        atoms = selection.candidates[index].atoms.copy()
        atoms.calc = selection.candidates[index].atoms.calc
        atoms.info["select_rank"] = row["rank"]
        if request.by == COMMITTEE:
            atoms.info["select_force_deviation"] = row["value"]
            atoms.info["select_energy_deviation"] = row["energy_ev_per_atom"]
        elif row["value"] is not None:
            atoms.info["select_distance"] = row["value"]
        chosen.append(atoms)
    text = io.StringIO()
    ase.io.write(text, chosen, format="extxyz")
    request.out.parent.mkdir(parents=True, exist_ok=True)
    durable.write_text(request.out, text.getvalue())
    durable.write_json(request.ranking, _ranking(request, selection, rows))


def _ranking(
    request: Request, selection: Selection, rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    how: dict[str, Any] = {"by": request.by}
    name = "force_deviation_ev_per_angstrom"
    if request.by == DESCRIPTORS:
        how |= {"compare": request.compare, "around": request.around.atoms}
        if request.around.atoms == DEFECT:
            how["radius_angstrom"] = request.around.radius
        name = "distance"
    files = collections.Counter(str(c.path) for c in selection.candidates)
    return {
        **provenance(),
        "models": [{"name": m, "sha256": _model_sha256(m)} for m in request.models],
        "frames": [{"file": f, "sha256": sha256(f), "n": n} for f, n in files.items()],
        "given": [{"file": str(f), "sha256": sha256(f)} for f in request.given],
        **how,
        **selection.facts,
        "chosen": [
            {name if key == "value" else key: value for key, value in row.items()}
            for row in rows
        ],
    }


def _model_sha256(name: str) -> str:
    with locate(name) as path:
        return sha256(path)
