"""The adapter inside JAX-MD's own energy function gives our numbers."""

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.calculator import predict_atoms
from jaxdiff.jaxmd import jax_md_model


@pytest.mark.filterwarnings("ignore")  # of jax-md
@pytest.mark.slow
def test_energy_and_forces_through_jax_md(model):
    from jax_md import energy, space

    atoms = ase.build.bulk("LiF", "rocksalt", a=4.08, cubic=True) * (3, 3, 3)
    atoms.rattle(0.1, seed=1)
    atoms.wrap()
    expected = predict_atoms(model, atoms)
    box = jnp.diag(jnp.asarray(atoms.cell.array))
    displacement, _ = space.periodic(box)
    apply, config = jax_md_model(model)
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
    assert float(value) == pytest.approx(float(expected.energy), abs=1e-4)
    np.testing.assert_allclose(-gradient, expected.forces, rtol=0, atol=2e-5)


def test_stress_is_refused(model):
    apply, _ = jax_md_model(model)
    with pytest.raises(ValueError, match=r"use jaxdiff\.potential\.predict"):
        apply({}, compute_stress=True)
