"""Models of random weights: deepmd-kit's, with what they predict, and ours."""

from pathlib import Path

import ase
import ase.data
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.checkpoints import families
from jaxdiff.io.frame import Frame
from jaxdiff.lattice.lithium_fluoride import rock_salt

ELEMENTS = ("Li", "F")
SETTINGS = {
    "family": "deepmd",
    "cutoff_angstrom": 3.2,
    "neuron": [4, 8],
    "axis_neuron": 2,
    "fitting_neuron": [6, 6],
}


class Kit:
    """deepmd-kit: makes a model, writes it, and evaluates it through its JAX classes."""

    def __init__(self):
        pytest.importorskip("deepmd.dpmodel", reason="deepmd-kit is not installed")
        from deepmd.dpmodel.model.model import get_model
        from deepmd.dpmodel.utils import nlist, serialization

        self.get_model, self.files, self.nlist = get_model, serialization, nlist

    def write(self, path: Path, *, shift: bool = False, **settings) -> Path:
        """A .dp or .yaml file; see `settings_of`. With `shift` davg, dstd and biases."""
        model = self.get_model(settings_of(**settings))
        tree = model.serialize()
        _strengthen(tree)
        if shift:
            _shift(tree, np.random.default_rng(7))
        kept = {"model": tree, "backend": "dpmodel", "model_def_script": {}}
        self.files.save_dp_model(str(path), kept)
        return path

    def predict(self, path: Path, atoms: ase.Atoms) -> dict[str, np.ndarray]:
        """Energy of each atom, eV, forces, eV/Å, and virial, eV, in float64."""
        from deepmd.jax.model.base_model import BaseModel

        tree = self.files.load_dp_model(str(path))["model"]
        names = tree["type_map"]
        model = BaseModel.deserialize(tree)
        kind = np.array([[names.index(s) for s in atoms.symbols]])
        box = atoms.cell.array.reshape(1, 9) if atoms.pbc.all() else None
        position, found, owner, lists = self.nlist.extend_input_and_build_neighbor_list(
            jnp.asarray(atoms.positions[None]),
            jnp.asarray(kind),
            model.get_rcut(),
            model.get_sel(),
            box=None if box is None else jnp.asarray(box),
            pair_excl=model.atomic_model.pair_excl,
        )
        position = position.reshape(1, -1, 3)

        def total(position):
            energy = model.atomic_model.forward_common_atomic(
                position, found, lists, mapping=owner
            )["energy"][0, :, 0]
            return jnp.sum(energy), energy

        gradient, energy = jax.grad(total, has_aux=True)(position)
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, np.asarray(owner[0]), -np.asarray(gradient[0]))
        virial = -np.einsum("na,nb->ab", gradient[0], position[0])
        return {"energies": np.asarray(energy), "forces": forces, "virial": virial}


def settings_of(*, elements=ELEMENTS, descriptor=None, fitting=None, **model) -> dict:
    """What deepmd-kit's own input file says; a small model of everything."""
    embedding = {
        "type": "se_e2_a",
        "rcut": 3.2,
        "rcut_smth": 1.5,
        "sel": [16, 14, 9][: len(elements)],
        "neuron": [4, 8, 8],
        "axis_neuron": 3,
        "seed": 1,
        "precision": "float64",
    }
    net = {"type": "ener", "neuron": [6, 6, 5], "seed": 2, "precision": "float64"}
    return {
        "type_map": list(elements),
        "descriptor": {**embedding, **(descriptor or {})},
        "fitting_net": {**net, **(fitting or {})},
        **model,
    }


def _shift(tree, rng) -> None:
    """Averages of distances as training writes them, and energies of atoms."""
    variables = tree["descriptor"]["@variables"]
    ends = np.cumsum([0, *tree["descriptor"]["sel"]])
    kinds = len(ends) - 1
    for begin, end in zip(ends[:-1], ends[1:], strict=True):
        radial, deviation = rng.uniform(0.05, 0.4, (2, kinds, 1))
        variables["davg"][:, begin:end, 0] = radial
        variables["dstd"][:, begin:end, 0] = deviation
        variables["dstd"][:, begin:end, 1:] = 1.3 * deviation[..., None]
    bias = tree["fitting"]["@variables"]["bias_atom_e"]
    bias[:] = rng.normal(size=bias.shape)
    out = tree["@variables"]["out_bias"]
    out[:] = rng.normal(0, 100, out.shape)
    tree["@variables"]["out_std"][:] = 3.0  # which energies do not feel


def _strengthen(tree, factor: float = 300.0) -> None:
    """Forces of eV/Å: random networks have weak ones."""
    for net in tree["fitting"]["nets"]["networks"]:
        variables = net["layers"][-1]["@variables"]
        variables["w"] = (factor * variables["w"]).astype(variables["w"].dtype)


def weak(seed=0, **settings):
    """Random weights for LiF: forces of some meV/Å."""
    system = rock_salt(2, 4.0)
    given = system.atomic_number, system.position, system.cell, np.ones(3, bool)
    frame = Frame(*map(np.asarray, given), None, None, None)
    scratch = families.scratch("deepmd")
    return scratch.make(
        scratch.section.model_validate(SETTINGS | settings),
        jax.random.key(seed),
        [frame],
        atomic_numbers=(3, 9),
        head="default",
        atomic_energies=np.array([[-1.0, -2.0]]),
        scale=1.0,
        shift=0.0,
        dtype=jnp.float64,
    )
