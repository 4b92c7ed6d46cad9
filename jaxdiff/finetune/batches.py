"""Batches of few shapes: atoms of several configurations end to end, then padding."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from flax import struct
from jaxtyping import Float, Int

from jaxdiff.io.frame import Frame
from jaxdiff.models.edges import host_edges
from jaxdiff.neighbors import PADDING_DISTANCE
from jaxdiff.potential import species_index

_CLASSES = 4  # sizes per axis that batches are padded to
_PLACES_STEP, _ATOMS_STEP = 8, 8


@struct.dataclass
class Batch:
    """Configurations laid end to end; rows that remain are padding.

    - `displacement`, `sender`, `reverse` [atoms, places]: rows, as in `models.edges.Edges`.
    - `species`, `graph`, `atom_weight` [atoms]: weight 0 marks padding, of graph 0.
    - `head`, `present`, `volume`, `n_atoms` [graphs]: Å^3; `present` 0 marks padding.
    - `charge`, e, `multiplicity` [graphs]: for models that take them.
    - `energy` [graphs]: without `Model.reference` (subtracted in float64), eV.
    - `forces` [atoms, 3] eV/Å; `stress` [graphs, 3, 3] eV/Å^3.
    - `weight`, `energy_weight`, `forces_weight`, `stress_weight` [graphs]: 0 where a label
      is missing.
    """

    displacement: Float[Any, "atoms places 3"]
    sender: Int[Any, "atoms places"]
    reverse: Int[Any, "atoms places"]
    species: Int[Any, " atoms"]
    graph: Int[Any, " atoms"]
    atom_weight: Float[Any, " atoms"]
    head: Int[Any, " graphs"]
    present: Float[Any, " graphs"]
    volume: Float[Any, " graphs"]
    n_atoms: Float[Any, " graphs"]
    charge: Int[Any, " graphs"]
    multiplicity: Int[Any, " graphs"]
    energy: Float[Any, " graphs"]
    forces: Float[Any, "atoms 3"]
    stress: Float[Any, "graphs 3 3"]
    weight: Float[Any, " graphs"]
    energy_weight: Float[Any, " graphs"]
    forces_weight: Float[Any, " graphs"]
    stress_weight: Float[Any, " graphs"]


_OF_ATOMS = (
    "displacement", "sender", "reverse", "species", "graph", "atom_weight", "forces",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Graph:
    """One configuration as a batch of its own, with as many places as it needs."""

    arrays: Batch
    n_atoms: int
    places: int

    @property
    def n_edges(self) -> int:
        """Places of its rows, all together: what its evaluation costs."""
        return self.n_atoms * self.places


def make_graph(
    frame: Frame,
    atomic_numbers: Sequence[int],
    atomic_energies: np.ndarray,
    cutoff: float,
    head: int = 0,
    weight: float = 1.0,
    dtype: Any = np.float32,
) -> Graph:
    """Neighbours and labels of a frame.

    - `atomic_energies` [species]: `Model.reference` of the head, eV.
    - `weight`: multiplies that of the frame.
    """
    pbc = bool(frame.pbc[0]), bool(frame.pbc[1]), bool(frame.pbc[2])
    edges = host_edges(frame.position, frame.cell, cutoff, pbc)
    n_atoms, places = edges.sender.shape
    species = species_index(frame.atomic_number, atomic_numbers)
    isolated = float(atomic_energies[species].sum())

    def of_graph(value, kind=dtype):
        return np.asarray(value, kind)[None]

    def of_label(value, label_weight):
        return of_graph(0.0 if value is None else label_weight)

    arrays = Batch(
        displacement=edges.displacement.astype(dtype),
        sender=edges.sender,
        reverse=edges.reverse,
        species=species,
        graph=np.zeros(n_atoms, np.int32),
        atom_weight=np.ones(n_atoms, dtype),
        head=of_graph(head, np.int32),
        present=of_graph(1.0),
        volume=of_graph(frame.volume or 1.0),
        n_atoms=of_graph(n_atoms),
        charge=of_graph(_whole(frame.charge), np.int32),
        multiplicity=of_graph(_whole(frame.multiplicity), np.int32),
        energy=of_graph(0.0 if frame.energy is None else frame.energy - isolated),
        forces=np.asarray(
            np.zeros((n_atoms, 3)) if frame.forces is None else frame.forces, dtype
        ),
        stress=of_graph(np.zeros((3, 3)) if frame.stress is None else frame.stress),
        weight=of_graph(weight * frame.weight),
        energy_weight=of_label(frame.energy, frame.energy_weight),
        forces_weight=of_label(frame.forces, frame.forces_weight),
        stress_weight=of_label(frame.stress, frame.stress_weight),
    )
    return Graph(arrays, n_atoms, places)


def _whole(number: float) -> int:
    """Of a structure; what is none matters only to models that refuse the frame."""
    return int(number) if np.isfinite(number) and abs(number) < 2**31 else 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """How graphs become batches: at most `max_graphs`, and `max_edges` where given.

    Rows are padded to multiples of `atoms_step`, places to multiples of `places_step`:
    a handful of shapes, each of which compiles once.
    """

    max_graphs: int
    max_edges: int | None
    atoms_step: int
    places_step: int

    @property
    def max_shapes(self) -> int:
        """How many shapes there can be."""
        return _CLASSES**2


def make_plan(
    graphs: Sequence[Graph], batch_size: int | None = None, batch_edges: int | None = None
) -> Plan:
    """Batches of so many graphs, or of so many edges (places of neighbour rows)."""
    largest = max(graph.n_edges for graph in graphs)
    places = max(graph.places for graph in graphs)
    if batch_edges is None:
        assert batch_size is not None
        n_graphs = min(batch_size, len(graphs))
        sizes = sorted((graph.n_atoms for graph in graphs), reverse=True)
        n_atoms = sum(sizes[:n_graphs])
    else:
        if batch_edges < largest:
            raise ValueError(
                f"batch_edges = {batch_edges} is less than the largest configuration has, "
                f"{largest}; give at least that."
            )
        smallest = min(graph.n_edges for graph in graphs)
        n_graphs = min(batch_edges // smallest, len(graphs))
        n_atoms = batch_edges // min(graph.places for graph in graphs)
    return Plan(
        max_graphs=n_graphs,
        max_edges=batch_edges,
        atoms_step=_step(n_atoms, _ATOMS_STEP),
        places_step=_step(places, _PLACES_STEP),
    )


def _step(largest: int, unit: int) -> int:
    """The smallest multiple of `unit` of which `_CLASSES` reach the largest size."""
    return unit * -(-largest // (unit * _CLASSES))


def batches(
    graphs: Sequence[Graph], plan: Plan, order: np.random.Generator | None = None
) -> Iterator[tuple[np.ndarray, Batch]]:
    """One pass over the data, shuffled by `order`: (indices of graphs, batch)."""
    for chosen in _members(graphs, plan, order):
        yield chosen, join([graphs[k] for k in chosen], plan)


def n_batches(
    graphs: Sequence[Graph], plan: Plan, order: np.random.Generator | None = None
) -> int:
    """How many batches one pass has."""
    return len(_members(graphs, plan, order))


def _members(graphs, plan, order) -> list[np.ndarray]:
    numbers = np.arange(len(graphs)) if order is None else order.permutation(len(graphs))
    if plan.max_edges is None:
        return np.split(numbers, range(plan.max_graphs, len(numbers), plan.max_graphs))
    groups, start, edges = [], 0, 0
    for k, number in enumerate(numbers):
        edges += graphs[number].n_edges
        if edges > plan.max_edges:
            groups.append(numbers[start:k])
            start, edges = k, graphs[number].n_edges
    return [*groups, numbers[start:]]


def join(graphs: Sequence[Graph], plan: Plan) -> Batch:
    """The graphs as one batch, padded to a shape of the plan."""
    n_rows = _up(sum(graph.n_atoms for graph in graphs), plan.atoms_step)
    places = _up(max(graph.places for graph in graphs), plan.places_step)
    parts, first = [], 0
    for number, graph in enumerate(graphs):
        parts.append(_placed(graph, number, first, places, n_rows))
        first += graph.n_atoms
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Batch)
    }
    fill = {
        "displacement": PADDING_DISTANCE,
        "reverse": n_rows * places,
        "volume": 1,
        "n_atoms": 1,
        "multiplicity": 1,
    }
    for name, array in joined.items():
        length = n_rows if name in _OF_ATOMS else plan.max_graphs
        joined[name] = _padded(array, (length, *array.shape[1:]), fill.get(name, 0))
    return Batch(**joined)


def _padded(array: np.ndarray, shape: tuple[int, ...], fill: float) -> np.ndarray:
    """The array in the first corner of a larger one."""
    wide = np.full(shape, fill, array.dtype)
    wide[tuple(map(slice, array.shape))] = array
    return wide


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _placed(graph: Graph, number: int, first: int, places: int, n_rows: int) -> Batch:
    """A graph whose rows start at `first`, with more places."""
    arrays, old = graph.arrays, graph.places
    row, place = np.divmod(arrays.reverse, old)
    unused = arrays.reverse == graph.n_edges
    reverse = np.where(unused, n_rows * places, (row + first) * places + place)
    shape = graph.n_atoms, places
    return dataclasses.replace(
        arrays,
        displacement=_padded(arrays.displacement, (*shape, 3), PADDING_DISTANCE),
        sender=_padded((arrays.sender + first).astype(np.int32), shape, first),
        reverse=_padded(reverse.astype(np.int32), shape, n_rows * places),
        graph=np.full_like(arrays.graph, number),
    )


def composition(graphs: Sequence[Graph], n_species: int) -> np.ndarray:
    """Number of atoms of each species [graphs, species]."""
    return np.array(
        [np.bincount(graph.arrays.species, minlength=n_species) for graph in graphs],
        float,
    )


def without_energies(graph: Graph, energies: np.ndarray) -> Graph:
    """The same frame; `energies` [species], eV, of each atom are taken off the label."""
    arrays = graph.arrays
    total = energies[arrays.species].sum()
    energy = (arrays.energy - total).astype(arrays.energy.dtype)
    return dataclasses.replace(graph, arrays=dataclasses.replace(arrays, energy=energy))
