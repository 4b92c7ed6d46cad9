"""Our models in ASE scripts: a calculator, and the prediction behind it."""

import functools
from pathlib import Path

import ase
import jax
import jax.numpy as jnp
import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from jaxtyping import Int

from jaxdiff.checkpoints import load, restrict
from jaxdiff.models.architecture import Mace
from jaxdiff.models.mace import Edges
from jaxdiff.neighbors import PADDING_DISTANCE, neighbor_rows, reverse_rows
from jaxdiff.potential import Prediction, cast, predict, species_index

_PLACES_STEP = 8  # rows grow in steps, so that few shapes are compiled


def predict_atoms(model: Mace, atoms: ase.Atoms, head: str | int = 0) -> Prediction:
    """Energy, forces and stress of an ASE structure with any cell, on the host's arrays.

    The model is restricted to the elements present, which does not change its numbers.
    Without a cell in all three directions the stress is NaN.
    """
    with jax.enable_x64(True):
        small, edges, species = model_input(model, atoms)
        volume = abs(np.linalg.det(atoms.cell.array)) or np.nan
        index = _head_index(small, head)
        result = _compiled_predict()(
            small, edges.displacement, edges, jnp.asarray(species), volume, index
        )
        return jax.device_get(result)


def model_input(
    model: Mace, atoms: ase.Atoms
) -> tuple[Mace, Edges, Int[np.ndarray, " atoms"]]:
    """What a model takes of an ASE structure: itself restricted, edges, species.

    The model is restricted to the elements present. Edges are rows padded to few shapes,
    displacements in float64; species are indices into the restricted model's table.
    """
    if not np.all(np.isfinite(atoms.positions)):
        bad = int(np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[0])
        raise ValueError(
            f"the position of atom {bad} is {atoms.positions[bad]}; positions must be "
            "finite numbers in Å."
        )
    species_index(atoms.numbers, model.architecture.atomic_numbers)
    present = tuple(sorted({int(z) for z in atoms.numbers}))
    small = _restricted(model, present)
    species = species_index(atoms.numbers, small.architecture.atomic_numbers)
    return small, _edges(atoms, small.architecture.cutoff), species


def _head_index(model: Mace, head: str | int) -> int:
    names = model.architecture.heads
    if isinstance(head, str):
        if head not in names:
            raise ValueError(f"the model has no head {head!r}; it has {', '.join(names)}.")
        return names.index(head)
    return head


def _restricted(model: Mace, present: tuple[int, ...]) -> Mace:
    if model.architecture.atomic_numbers == present:
        return model
    return restrict(model, present)


@functools.cache
def _compiled_predict():
    return jax.jit(predict)


def _edges(atoms: ase.Atoms, cutoff: float) -> Edges:
    """Rows with displacements in float64, padded to few shapes."""
    cell = np.asarray(atoms.cell.array, np.float64)
    sender, shift = neighbor_rows(atoms.positions, cell, cutoff, tuple(atoms.pbc))
    n_atoms, places = sender.shape
    wide = -(-places // _PLACES_STEP) * _PLACES_STEP
    padded = np.full((n_atoms, wide), n_atoms, np.int32)
    padded_shift = np.zeros((n_atoms, wide, 3), np.int32)
    padded[:, :places], padded_shift[:, :places] = sender, shift
    sender, shift = padded, padded_shift
    reverse = reverse_rows(sender, shift)
    used = sender < n_atoms
    safe = np.where(used, sender, 0)
    vector = atoms.positions[:, None] - atoms.positions[safe] - shift @ cell
    far = np.array([PADDING_DISTANCE, 0.0, 0.0])
    displacement = np.where(used[..., None], vector, far)
    return Edges(displacement, safe, reverse=reverse)


class MaceCalculator(Calculator):
    """ASE calculator: energy, forces, stress and per-atom energies of a MACE model.

    - `model`: a `Mace`, a path (native file or upstream `.model`) or a name such as
      "lif-compact".
    - `head`: name of the readout head; the first one if None.
    - `precision`: "float32" or "float64"; the model's own if None.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        model: Mace | str | Path = "lif-compact",
        *,
        head: str | None = None,
        precision: str | None = None,
    ):
        super().__init__()
        if not isinstance(model, Mace):
            model = load(model)
        if precision is not None:
            if precision not in ("float32", "float64"):
                raise ValueError(f"precision={precision!r}; use 'float32' or 'float64'.")
            with jax.enable_x64(True):
                model = cast(model, precision)
        self.model = model
        self.head = 0 if head is None else _head_index(model, head)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Fill `results`; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None  # set by ASE just above
        prediction = predict_atoms(self.model, self.atoms, self.head)
        self.results = {
            "energy": float(prediction.energy),
            "free_energy": float(prediction.energy),
            "energies": np.asarray(prediction.node_energy),
            "forces": np.asarray(prediction.forces),
        }
        if np.all(np.isfinite(prediction.stress)):
            stress = np.asarray(prediction.stress)
            self.results["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
