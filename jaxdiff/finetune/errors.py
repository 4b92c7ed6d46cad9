"""Errors of a model on labelled frames, in the units that users read."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Float

from jaxdiff.finetune.batches import Graph, Plan, batches, make_graph, make_plan
from jaxdiff.finetune.loss import Loss, batch_errors, predict_batch
from jaxdiff.io.frame import Frame
from jaxdiff.io.geometry import first_of_geometry
from jaxdiff.io.repeats import refuse_contradictions
from jaxdiff.models.contract import Model

_ALL = slice(None)


@dataclasses.dataclass(frozen=True)
class ErrorRow:
    """Errors of one set over the labels that it has: meV/atom, meV/Å, meV/Å^3.

    Root mean squares, mean absolute errors, and the forces' relative to the root mean
    square of the labels, in per cent.
    """

    name: str
    frames: int
    energy_rmse: float
    energy_mae: float
    forces_rmse: float
    forces_mae: float
    forces_relative: float
    stress_rmse: float


@functools.cache
def _compiled(function, loss: Loss | None = None):
    """The function, and with it the loss terms, compiled once per shape."""
    if loss is None:
        return jax.jit(function)
    return jax.jit(lambda model, batch: function(model, batch, loss))


def evaluate(
    model: Model,
    graphs: Sequence[Graph],
    plan: Plan,
    loss: Loss = Loss(),  # noqa: B008
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Errors of every graph, in their order, and the mean of the three loss terms.

    The errors are those of `batch_errors`, and the mean square of the labelled forces.
    """
    errors: dict[str, np.ndarray] = {}
    terms = np.zeros(3)
    for chosen, batch in batches(graphs, plan):
        found, means = jax.device_get(_compiled(batch_errors, loss)(model, batch))
        terms += len(chosen) / len(graphs) * np.array(means)
        for key, value in found.items():
            errors.setdefault(key, np.full(len(graphs), np.nan))
            errors[key][chosen] = value[: len(chosen)]
    errors["labels_square"] = np.array(
        [
            np.mean(g.arrays.forces**2) if g.arrays.forces_weight[0] > 0 else np.nan
            for g in graphs
        ]
    )
    return errors, terms


def frame_errors(
    model: Model, graphs: Sequence[Graph], plan: Plan
) -> dict[str, np.ndarray]:
    """Errors of every graph, in their order."""
    return evaluate(model, graphs, plan)[0]


def error_row(
    name: str, errors: dict[str, np.ndarray], chosen: slice | np.ndarray = _ALL
) -> ErrorRow:
    """Means over the chosen frames that have the label; not-a-number where none has."""
    energy = 1e3 * errors["energy"][chosen]
    forces = 1e3 * np.sqrt(_mean(errors["forces_square"][chosen]))
    labels = 1e3 * np.sqrt(_mean(errors["labels_square"][chosen]))
    return ErrorRow(
        name=name,
        frames=len(energy),
        energy_rmse=float(np.sqrt(_mean(energy**2))),
        energy_mae=_mean(np.abs(energy)),
        forces_rmse=float(forces),
        forces_mae=1e3 * _mean(errors["forces_absolute"][chosen]),
        forces_relative=float(100 * forces / labels) if labels > 0 else float("nan"),
        stress_rmse=float(1e3 * np.sqrt(_mean(errors["stress_square"][chosen]))),
    )


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.mean(known)) if len(known) else float("nan")


def rows_of_types(
    name: str, errors: dict[str, np.ndarray], frames: Sequence[Frame]
) -> list[ErrorRow]:
    """A row of the set, and one per config_type within it where there are several."""
    rows = [error_row(name, errors)]
    kinds = collections.Counter(frame.config_type for frame in frames)
    if len(kinds) > 1:
        kind_of = np.array([frame.config_type for frame in frames])
        rows += [
            error_row(f"{name}/{kind}", errors, np.flatnonzero(kind_of == kind))
            for kind in sorted(kinds)
        ]
    return rows


def graphs_of(
    model: Model,
    frames: Sequence[Frame],
    head: int = 0,
    weight: Callable[[Frame], float] = lambda frame: 1.0,
) -> list[Graph]:
    """The frames with the model's cutoff, isolated atoms and precision.

    `weight` of a frame multiplies its own. Raises `ValueError` where a model takes charge
    and multiplicity and has none such as those of a frame; and where it takes none, and
    frames that differ in them alone have different labels.
    """
    _require_charges(model, frames)
    energies = np.asarray(model.reference)[head]
    dtype = np.dtype(model.dtype).type
    return [
        make_graph(f, model.species, energies, model.cutoff, head, weight(f), dtype)
        for f in frames
    ]


def _require_charges(model: Model, frames: Sequence[Frame]) -> None:
    charged = [frame for frame in frames if frame.is_charged]
    for frame in charged:
        try:
            model.with_charge(frame.charge, frame.multiplicity)
        except ValueError as error:
            raise ValueError(f"{frame.source}: {error} Remove the frame.") from None
    if charged and not model.takes_charge:
        alike = [dataclasses.replace(f, charge=0.0, multiplicity=1.0) for f in frames]
        refuse_contradictions(alike, first_of_geometry(alike))


def label_pairs(
    model: Model, graphs: Sequence[Graph], plan: Plan
) -> dict[str, Float[np.ndarray, "_labels 2"]]:
    """Labels and predictions side by side: energy, eV/atom, forces, eV/Å, each component.

    Energies are without isolated atoms; labels that are missing are left out.
    """
    energy, forces = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for _, batch in batches(graphs, plan):
        found = jax.device_get(_compiled(predict_batch)(model, batch))
        both = np.stack([batch.energy, found.energy], -1) / batch.n_atoms[:, None]
        energy.append(both[batch.energy_weight > 0])
        of_atom = batch.atom_weight * batch.forces_weight[batch.graph]
        both = np.stack([batch.forces, found.forces], -1)
        forces.append(both[of_atom > 0].reshape(-1, 2))
    return {"energy": np.concatenate(energy), "forces": np.concatenate(forces)}


def error_table(
    model: Model, sets: dict[str, Sequence[Frame]], batch_size: int = 4, head: int = 0
) -> list[ErrorRow]:
    """A row per set and one per config_type within it."""
    rows = []
    for name, frames in sets.items():
        graphs = graphs_of(model, frames, head)
        errors = frame_errors(model, graphs, make_plan(graphs, batch_size))
        rows += rows_of_types(name, errors, frames)
    return rows


def predictions(
    model: Model, frames: Sequence[Frame], batch_size: int = 4, head: int = 0
) -> list[Frame]:
    """The frames with what the model says as labels; stress where there is a cell."""
    graphs = graphs_of(model, frames, head)
    reference = np.asarray(model.reference, np.float64)[head]
    labelled = []
    for chosen, batch in batches(graphs, make_plan(graphs, batch_size)):
        found = jax.device_get(_compiled(predict_batch)(model, batch))
        first = 0
        for k, number in enumerate(chosen):
            frame, graph = frames[number], graphs[number]
            rows = slice(first, first + graph.n_atoms)
            first += graph.n_atoms
            energy = float(found.energy[k]) + reference[graph.arrays.species].sum()
            labelled.append(
                dataclasses.replace(
                    frame,
                    energy=float(energy),
                    forces=np.asarray(found.forces[rows], np.float64),
                    stress=np.asarray(found.stress[k], np.float64)
                    if frame.volume
                    else None,
                )
            )
    return labelled
