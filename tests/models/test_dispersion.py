"""DFT-D3(BJ) against the program of its authors, live and as kept."""

import dataclasses
import json
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from ase.geometry import complete_cell
from dispersed import (
    reference,
    reference_hessian,
    structures,
    three_body_reference,
)

from jaxdiff.models.dispersion import CUTOFF, dispersion
from jaxdiff.models.dispersion_tables import damping_of, functionals, references
from jaxdiff.models.three_body import three_body
from jaxdiff.neighbors import allocate

KEPT = Path(__file__).parents[1] / "data" / "dispersion.json"
STRUCTURES = structures()
ENERGY, FORCE, STRAIN = 1e-10, 1e-9, 1e-10  # eV/atom, eV/Å, eV/atom: units differ by 1e-10

evaluate = jax.jit(lambda term, position, cell: term.energy_force_strain(position, cell))


def term_of(atoms, functional="pbe", **options):
    cell, pbc = np.asarray(complete_cell(atoms.cell)), tuple(atoms.pbc.tolist())
    return dispersion(atoms.numbers, cell, functional, pbc=pbc, **options), cell


def found(atoms, functional="pbe", **options):
    term, cell = term_of(atoms, functional, **options)
    return evaluate(term, jnp.asarray(atoms.positions), jnp.asarray(cell))


def assert_same(atoms, result, expected):
    energy, force, strain = (np.asarray(x) for x in result)
    assert abs(energy - expected[0]) < ENERGY * len(atoms)
    np.testing.assert_allclose(force, expected[1], rtol=0, atol=FORCE)
    np.testing.assert_allclose(strain, expected[2], rtol=0, atol=STRAIN * len(atoms))


@pytest.mark.parametrize("name", STRUCTURES)
def test_same_as_dftd3(name):
    atoms = STRUCTURES[name]
    assert_same(atoms, found(atoms), reference(atoms))


@pytest.mark.parametrize("name", ["sheared", "ethanol"])
def test_same_as_kept_values(name):
    """Of dftd3 1.7.0; `python tests/data/make_dispersion_references.py` makes them."""
    atoms, kept = STRUCTURES[name], json.loads(KEPT.read_text())[name]
    assert_same(atoms, found(atoms), [kept[k] for k in ("energy", "forces", "strain")])


def test_another_functional_and_cutoff():
    """Coordination has the cutoff of the pairs where that is less than its own."""
    atoms = STRUCTURES["lif"]
    for functional, cutoff in (("b2plyp", 0.5 * CUTOFF), ("r2scan", 1.5 * CUTOFF)):
        expected = reference(atoms, functional, cutoff)
        assert_same(atoms, found(atoms, functional, cutoff=cutoff), expected)


@pytest.mark.slow
def test_second_derivatives_are_those_of_dftd3():
    atoms = STRUCTURES["ethanol"]
    expected = reference_hessian(atoms)
    term, cell = term_of(atoms)

    def force(position):
        return term.energy_force_strain(position, jnp.asarray(cell))[1]

    hessian = -jax.jacrev(force)(jnp.asarray(atoms.positions))
    shape = expected.shape
    np.testing.assert_allclose(hessian.reshape(shape), expected, rtol=0, atol=1e-9)


def test_does_not_depend_on_wrapping_or_on_the_cell_chosen():
    """Atoms moved by lattice vectors; a supercell has as many times the energy."""
    atoms = STRUCTURES["sheared"]
    energy, force, strain = found(atoms)
    moved = atoms.copy()
    moved.positions += np.array([[3, 0, -2], [0, 0, 0], [0, 1, 0], [-7, 1, 1]]) @ atoms.cell
    assert_same(atoms, found(moved), (energy, force, strain))
    double = atoms * (1, 2, 1)
    assert_same(double, found(double), (2 * energy, np.tile(force, (2, 1)), 2 * strain))


def test_single_precision_for_pairs():
    atoms = STRUCTURES["sheared"]
    energy, force, strain = found(atoms, dtype="float32")
    exact = found(atoms)
    assert energy.dtype == force.dtype == strain.dtype == jnp.float64
    assert abs(energy - exact[0]) < 1e-6 * abs(exact[0])
    np.testing.assert_allclose(force, exact[1], rtol=0, atol=1e-6)
    assert np.abs(force - exact[1]).max() > 1e-12


def test_replicas_and_a_cell_too_small():
    """Under vmap; more images in reach than were meant give no number."""
    atoms = bulk("LiF", "rocksalt", a=4.03)
    term, cell = term_of(atoms, compression=0.05, cutoff=8.0)
    position = jnp.asarray(atoms.positions)
    scale = jnp.array([1.0, 0.96, 0.5])[:, None, None]
    many = jax.jit(jax.vmap(term.energy_force_strain))
    energy, force, _ = many(position[None] * scale, jnp.asarray(cell)[None] * scale)
    small = atoms.copy()
    small.set_cell(0.96 * cell, scale_atoms=True)
    for r, one in enumerate((atoms, small)):
        assert abs(energy[r] - found(one, cutoff=8.0)[0]) < 1e-12
    assert np.isnan(energy[2])
    assert np.isnan(force[2]).all()


@pytest.mark.slow
def test_three_bodies_same_as_dftd3_and_kept_values():
    atoms, cutoff = STRUCTURES["doped"], 5.5
    term, cell = term_of(atoms)
    three = three_body(term, atoms.numbers, atoms.positions, cell, cutoff)
    result = evaluate(three, jnp.asarray(atoms.positions), jnp.asarray(cell))
    kept = json.loads(KEPT.read_text())["three bodies"]
    assert_same(atoms, result, [kept[k] for k in ("energy", "forces", "strain")])
    full = dataclasses.replace(three, lists=allocate(atoms.positions, cell, cutoff, 0.0))
    crowded = jnp.asarray(0.9 * atoms.positions), jnp.asarray(0.9 * cell)
    assert np.isnan(evaluate(full, *crowded)[0])
    assert_same(atoms, result, three_body_reference(atoms, cutoff))


def test_three_bodies_of_a_molecule_are_refused():
    atoms = STRUCTURES["ethanol"]
    term, cell = term_of(atoms)
    with pytest.raises(ValueError, match="the three-body term is that of crystals"):
        three_body(term, atoms.numbers, atoms.positions, cell, 5.0)


def test_damping_parameters_of_every_functional():
    """Those of dftd3's own table, by every name; b2plyp has its own s6."""
    dftd3 = pytest.importorskip("dftd3", reason="dftd3 is not installed")
    text = (Path(dftd3.__file__).parent / "parameters.toml").read_text()
    known = tomllib.loads(text)["parameter"]
    theirs = {k: v["d3"]["bj"] for k, v in known.items() if "bj" in v["d3"]}
    assert set(theirs) == set(functionals())
    bohr = 0.529177210903
    for name, row in theirs.items():
        s6, s8, a1, a2 = damping_of(name)
        assert (s6, s8, a1) == (row.get("s6", 1.0), row["s8"], row["a1"])
        assert a2 == pytest.approx(row["a2"] * bohr)


def test_names_of_functionals():
    assert damping_of("B3-LYP") == damping_of("b3lyp") == damping_of("b3lyp5")
    assert damping_of("bp86") == damping_of("bp") != damping_of("pbe")
    with pytest.raises(ValueError, match=r"'pbee' has no parameters.*bp, blyp.* pbe, "):
        damping_of("pbee")


def test_elements_without_references_are_refused():
    with pytest.raises(ValueError, match=r"no references for Rf; .* from H to Lr"):
        references([3, 104])
    with pytest.raises(ValueError, match=r"cutoff=-1.0 Å; it must be positive"):
        dispersion(np.array([3]), np.eye(3), "pbe", cutoff=-1.0)
