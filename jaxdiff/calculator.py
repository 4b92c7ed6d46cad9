"""Our models in ASE scripts: a calculator, and the prediction behind it."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import jax
import jax.numpy as jnp
import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import complete_cell
from jaxtyping import Float, Int

from jaxdiff.checkpoints import FOUNDATIONS, load
from jaxdiff.models.contract import Model
from jaxdiff.models.dispersion import CUTOFF
from jaxdiff.models.dispersion import dispersion as d3
from jaxdiff.models.dispersion_tables import damping_of
from jaxdiff.models.edges import Edges, host_edges
from jaxdiff.potential import Prediction, cast, predict, species_index
from jaxdiff.system import require_apart

_PLACES_STEP = 8  # rows grow in steps, so that few shapes are compiled


def predict_atoms(
    model: Model, atoms: ase.Atoms, head: str | int | None = None
) -> Prediction:
    """Energy, forces and stress of an ASE structure with any cell, on the host's arrays.

    The model is restricted to the elements present, which does not change its numbers.
    Without a cell in all three directions the stress is NaN.
    """
    with jax.enable_x64(True):
        small, edges, species = model_input(model, atoms)
        volume = abs(np.linalg.det(atoms.cell.array)) or np.nan
        index = head if isinstance(head, int) else small.head_index(head)
        result = _compiled_predict()(
            small, edges.displacement, edges, jnp.asarray(species), volume, index
        )
        return jax.device_get(result)


def model_input(
    model: Model, atoms: ase.Atoms
) -> tuple[Model, Edges, Int[np.ndarray, " atoms"]]:
    """What a model takes of an ASE structure: itself restricted, edges, species.

    The model is restricted to the elements present. One that knows charge and multiplicity
    takes `info["charge"]` and `info["spin"]`, its own where both are missing. Edges are
    rows padded to few shapes, displacements in float64; species are indices into the
    restricted model's table.
    """
    if not np.all(np.isfinite(atoms.positions)):
        bad = int(np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[0])
        raise ValueError(
            f"the position of atom {bad} is {atoms.positions[bad]}; positions must be "
            "finite numbers in Å."
        )
    require_apart(atoms.positions, atoms.cell.array, atoms.pbc)
    species_index(atoms.numbers, model.species)
    present = tuple(sorted({int(z) for z in atoms.numbers}))
    small = model if model.species == present else model.restrict(present)
    if atoms.info.keys() & {"charge", "spin"}:
        small = small.with_charge(atoms.info.get("charge", 0), atoms.info.get("spin", 1))
    species = species_index(atoms.numbers, small.species)
    cell, pbc = np.asarray(atoms.cell.array, np.float64), tuple(atoms.pbc.tolist())
    edges = host_edges(atoms.positions, cell, small.cutoff, pbc, _PLACES_STEP)
    return small, edges, species


@functools.cache
def _compiled_predict():
    return jax.jit(predict)


class MaceCalculator(Calculator):
    """ASE calculator: energy, forces, stress and per-atom energies of a model.

    - `model`: a model, a path (native file or upstream `.model`) or a name such as
      "lif-compact". `model_paths`, as mace-torch calls it, instead.
    - `head`: name of the readout head; needed where there are several and no default.
    - `precision`: "float32" or "float64"; the model's own if None. `default_dtype`, as
      mace-torch calls it, instead.
    - `device`: "cpu", "cuda", "cuda:1" or "tpu"; JAX's first choice if None.
    - `dispersion`: whether to add DFT-D3, with damping "bj", of the functional
      `dispersion_xc`, for pairs up to `dispersion_cutoff`, Å; keywords of `mace_mp`. There
      are no energies of atoms then.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        model: Model | str | Path = "lif-compact",
        *,
        head: str | None = None,
        precision: str | None = None,
        device: str | None = None,
        model_paths: str | Path | Sequence[str | Path] | None = None,
        default_dtype: str | None = None,
        dispersion: bool = False,
        damping: str = "bj",
        dispersion_xc: str = "pbe",
        dispersion_cutoff: float = CUTOFF,
        **others: Any,
    ):
        if others:
            raise TypeError(_foreign_keywords(others))
        super().__init__()
        self.dispersion = (dispersion_xc, dispersion_cutoff) if dispersion else None
        if dispersion:
            require_damping(damping, dispersion_xc)  # before anything is computed
            self.implemented_properties = ["energy", "free_energy", "forces", "stress"]
        if model_paths is not None:
            model = _only(model_paths)
        precision = precision or default_dtype or None
        loaded = model if isinstance(model, Model) else load(model)
        if precision is not None:
            if precision not in ("float32", "float64"):
                raise ValueError(f"precision={precision!r}; use 'float32' or 'float64'.")
            with jax.enable_x64(True):
                loaded = cast(loaded, precision)
        _device(device)
        self.device = device  # by name: a calculator may travel to another process
        self.model = loaded
        self.head = loaded.head_index(head)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Fill `results`; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None  # set by ASE just above
        with jax.default_device(_device(self.device)):
            prediction = predict_atoms(self.model, self.atoms, self.head)
        self.results = {
            "energy": float(prediction.energy),
            "free_energy": float(prediction.energy),
            "energies": np.asarray(prediction.node_energy),
            "forces": np.asarray(prediction.forces),
        }
        stress = np.asarray(prediction.stress)
        if self.dispersion is not None:
            stress = stress + self._add_dispersion()
        if np.all(np.isfinite(stress)):
            self.results["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]

    def _add_dispersion(self) -> np.ndarray:
        """To energy and forces; its stress. It has no energies of atoms: none remain."""
        assert self.atoms is not None
        assert self.dispersion is not None
        with jax.enable_x64(True), jax.default_device(_device(self.device)):
            found = dispersion_of(self.atoms, *self.dispersion, dtype=self.model.dtype)
        energy, forces, strain = found
        for name in ("energy", "free_energy"):
            self.results[name] += energy
        self.results["forces"] = self.results["forces"] + forces
        del self.results["energies"]
        return strain / (self.atoms.cell.volume or np.nan)


def require_damping(damping: str, dispersion_xc: str) -> None:
    """Refuse what mace-torch's keywords of dispersion may say, and is not offered here."""
    damping_of(dispersion_xc)
    if damping != "bj":
        raise ValueError(
            f"damping={damping!r}; dispersion is DFT-D3 with Becke-Johnson damping here: "
            "use damping='bj'."
        )


def dispersion_of(
    atoms: ase.Atoms, functional: str, cutoff: float = CUTOFF, dtype: Any = "float64"
) -> tuple[float, Float[np.ndarray, "atoms 3"], Float[np.ndarray, "3 3"]]:
    """Energy, eV, forces, eV/Å, and dE/dstrain, eV, of DFT-D3(BJ) alone; needs float64."""
    cell, pbc = np.asarray(complete_cell(atoms.cell)), tuple(atoms.pbc.tolist())
    given = {"cutoff": cutoff, "pbc": pbc, "dtype": dtype}
    term = d3(atoms.numbers, cell, functional, **given)
    found = _compiled_term()(term, jnp.asarray(atoms.positions), jnp.asarray(cell))
    energy, forces, strain = jax.device_get(found)
    return float(energy), forces, strain


@functools.cache
def _compiled_term() -> Any:
    return jax.jit(lambda term, *where: term.energy_force_strain(*where))


def mace_mp(
    model: str | Path | None = None,
    device: str | None = None,
    default_dtype: str = "float32",
    **others: Any,
) -> MaceCalculator:
    """A foundation model by the name that mace-torch's `mace_mp` has for it, or a file.

    "medium-mpa-0" if None. `jaxdiff model fetch` gets the file before.
    """
    names = {known.upstream: name for name, known in FOUNDATIONS.items() if known.upstream}
    name = "medium-mpa-0" if model is None else model
    chosen = names.get(str(name), name)
    return MaceCalculator(chosen, device=device, default_dtype=default_dtype, **others)


def _only(model_paths: str | Path | Sequence[str | Path]) -> str | Path:
    if isinstance(model_paths, (str, Path)):
        return model_paths
    if len(model_paths) != 1:
        raise ValueError(
            f"model_paths names {len(model_paths)} files; a calculator computes with one. "
            "Make one of each, or compare them with `jaxdiff select --committee`."
        )
    return model_paths[0]


def _device(name: str | None) -> Any:
    """The device of mace-torch's name for it, such as "cuda:1"."""
    if name is None:
        return None
    kind, _, number = name.partition(":")
    try:
        return jax.devices(kind)[int(number or 0)]
    except (RuntimeError, IndexError, ValueError):
        there = sorted({device.platform for device in jax.devices()} | {"cpu"})
        raise ValueError(
            f"device={name!r}; JAX has {', '.join(there)} here. Leave the keyword out for "
            "its first choice, or install JAX for that device."
        ) from None


def _foreign_keywords(others: dict[str, Any]) -> str:
    return (
        f"MaceCalculator has no {', '.join(others)}; leave that out. It takes model (or "
        "model_paths), head, precision (or default_dtype), device, dispersion, damping, "
        "dispersion_xc and dispersion_cutoff; what else that of mace-torch takes belongs "
        "to PyTorch, or to models that are not read."
    )
