"""The adapter inside JAX-MD's own energy function gives our numbers."""

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.calculator import MaceCalculator, dispersion_of
from jaxdiff.jaxmd import jax_md_model

D3 = {"dispersion": True, "dispersion_xc": "r2scan", "dispersion_cutoff": 12.0}


@pytest.mark.filterwarnings("ignore")  # of jax-md
@pytest.mark.slow
@pytest.mark.parametrize("added", [{}, D3], ids=["alone", "dispersion"])
def test_energy_and_forces_through_jax_md(model, added):
    from jax_md import energy, space

    atoms = ase.build.bulk("LiF", "rocksalt", a=4.08, cubic=True) * (3, 3, 3)
    atoms.rattle(0.1, seed=1)
    atoms.wrap()
    atoms.calc = MaceCalculator(model, **added)
    box = jnp.diag(jnp.asarray(atoms.cell.array))
    displacement, _ = space.periodic(box)
    where = {"z_atomic": atoms.numbers, "box": box} if added else {}
    apply, config = jax_md_model(model, **added, **where)
    neighbor_fn, energy_fn = energy.mace_neighbor_list(
        displacement,
        box,
        model=apply,
        config=config,
        z_atomic=atoms.numbers,
        r_cutoff=config["r_max"],
    )
    position = jnp.asarray(atoms.positions)
    neighbor = neighbor_fn.allocate(position)
    value, gradient = jax.value_and_grad(energy_fn)(position, neighbor=neighbor)
    # JAX-MD rounds positions to float32: 1e-6 Å times forces of order 0.1 eV/Å
    assert float(value) == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(-gradient, atoms.get_forces(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("lengths", [(8.0, 9.0, 10.0), None])
def test_forces_and_energy_of_dispersion(model, lengths):
    """Without JAX-MD between, so to the last digit; also in a sheared box."""
    atoms = ase.build.bulk("LiF", "rocksalt", a=4.08, cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=1)
    shear = np.array([[0, 0.5, 0], [0, 0, 0.3], [0, 0, 0]])
    cell = atoms.cell.array + shear if lengths is None else np.diag(lengths)
    atoms.set_cell(cell, scale_atoms=True)
    box = jnp.asarray(cell.T if lengths is None else np.array(lengths))
    batch = {
        "positions": jnp.asarray(atoms.positions),
        "cell": jnp.asarray(cell.T)[None],
        "node_attrs": jnp.asarray(np.eye(2)[(atoms.numbers == 9) * 1]),
        "edge_index": jnp.array([[0], [1]]),  # beyond the cutoff
        "shifts": jnp.array([[30.0, 0.0, 0.0]]),
    }
    alone, both = (
        jax_md_model(model, **added)[0](batch, compute_force=True)
        for added in ({}, {**D3, "z_atomic": atoms.numbers, "box": box})
    )
    energy, forces, _ = dispersion_of(atoms, D3["dispersion_xc"], D3["dispersion_cutoff"])
    assert float(both["energy"][0] - alone["energy"][0]) == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(both["forces"] - alone["forces"], forces, atol=1e-9)


def test_dispersion_needs_the_atoms(model):
    with pytest.raises(ValueError, match="give z_atomic and box"):
        jax_md_model(model, dispersion=True)


def test_stress_is_refused(model):
    apply, _ = jax_md_model(model)
    with pytest.raises(ValueError, match=r"use jaxdiff\.potential\.predict"):
        apply({}, compute_stress=True)
