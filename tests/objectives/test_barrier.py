"""Barriers of the embedded model, and their derivative against barriers found anew."""

import dataclasses
from functools import partial

import ase
import jax
import jax.numpy as jnp
import kept_jump
import numpy as np
import pytest

from jaxdiff import units
from jaxdiff.calculator import predict_atoms
from jaxdiff.models.dispersion import dispersion
from jaxdiff.objectives import barrier as barriers
from jaxdiff.objectives.barrier import SearchFailed, Settings, find_barrier
from jaxdiff.objectives.paths import NAMES, lithium_path
from jaxdiff.objectives.relax import minimize
from jaxdiff.objectives.saddle import lowest_modes, polish
from jaxdiff.objectives.surface import evaluate, hessian_product, make_surface
from jaxdiff.system import LITHIUM


def test_one_imaginary_mode_and_mirror_images_as_ends(collinear):
    _, found = collinear
    assert found.modes.n_negative == 1
    assert float(found.saddle.largest_force) <= 1e-3
    assert found.forward_ev == pytest.approx(found.backward_ev, abs=1e-4)
    assert 0.05 < found.forward_ev < 0.3  # published: 0.2 to 0.24 eV, of other models
    higher = float(found.band.energy.max() - found.start.energy)
    assert found.forward_ev == pytest.approx(higher, abs=5e-3)


def test_the_imaginary_mode_moves_both_lithium_along_the_jump(collinear):
    surface, found = collinear
    vector = found.modes.vector[0] / np.sqrt(np.asarray(surface.mass))[:, None]
    length = np.linalg.norm(vector, axis=1)
    two = np.argsort(length)[-2:]
    assert np.asarray(surface.atomic_number)[two].tolist() == [LITHIUM, LITHIUM]
    direction = vector[two] / length[two, None]
    assert direction[0] @ direction[1] > 0.98  # collinear
    assert np.abs(direction).min() > 0.5  # along <111>


@pytest.mark.long
def test_the_search_finds_the_jump_that_is_kept(compact, collinear):
    """Positions to 0.01 Å: each relaxation ends at 1 meV/Å."""
    surface, kept = collinear
    found = kept_jump.search(compact, surface)
    for part in ("start", "end", "saddle"):
        one, other = (getattr(x, part) for x in (found, kept))
        np.testing.assert_allclose(one.position, other.position, rtol=0, atol=0.01)
        assert float(one.energy) == pytest.approx(float(other.energy), abs=1e-4)
    np.testing.assert_allclose(
        found.modes.frequency_thz, kept.modes.frequency_thz, rtol=0, atol=0.02
    )


@pytest.mark.slow
def test_the_kept_jump_is_one_of_this_model(compact, collinear):
    """Energies and forces of what is kept are those of the model as it is today."""
    surface, kept = collinear
    for part in (kept.start, kept.end, kept.saddle):
        energy, force = surface.energy_and_force(compact, part.position)
        assert float(energy) == pytest.approx(float(part.energy), abs=1e-8)
        np.testing.assert_allclose(force, part.force, rtol=0, atol=1e-8)


@pytest.mark.long
def test_modes_are_those_of_the_whole_hessian(collinear, compact):
    surface, found = collinear
    position, product = found.saddle.position, partial(hessian_product, surface, compact)
    n = position.size
    rows = jax.lax.map(
        lambda v: product(position, v.reshape(position.shape)).ravel(), jnp.eye(n)
    )
    root = np.repeat(np.sqrt(np.asarray(surface.mass)), 3)
    value = np.linalg.eigvalsh(np.asarray(rows + rows.T) / 2 / np.outer(root, root))
    value = np.delete(value, np.argsort(np.abs(value))[:3])  # translations
    modes = lowest_modes(product, position, surface.mass, 3)
    np.testing.assert_allclose(modes.eigenvalue, value[:3], rtol=2e-3)
    # (eV / Å^2 u)^0.5 is 98.23 rad/ps
    np.testing.assert_allclose(
        modes.frequency_thz[0], -15.633 * np.sqrt(-value[0]), rtol=2e-3
    )
    assert pytest.approx(98.23, rel=1e-4) == units.PICOSECOND


def test_a_band_through_another_minimum_is_refused(collinear, compact):
    surface, found = collinear
    middle = found.end.position
    energy = jnp.array([0.0, 0.2, 0.01, 0.3, 0.0])
    band = dataclasses.replace(found.band, energy=energy, position=jnp.stack([middle] * 5))
    path = lithium_path("direct", (2, 2, 2))
    match = "image 2 of the band lies 0.190 eV below"
    with pytest.raises(SearchFailed, match=match) as failed:
        barriers._check_band(band, path, Settings())
    assert failed.value.band is band


@pytest.mark.slow
def test_ends_that_are_one_minimum_are_refused(compact, collinear):
    surface, found = collinear
    path = dataclasses.replace(
        lithium_path("collinear", (2, 2, 2)),
        first=found.start.position,
        last=found.start.position + 0.001,
    )
    with pytest.raises(SearchFailed, match="same minimum"):
        find_barrier(compact, surface, path, Settings(n_images=3))


@pytest.mark.slow
def test_a_search_that_may_not_try_says_how_far_it_came(compact, collinear):
    surface, _ = collinear
    path = lithium_path("collinear", (2, 2, 2))
    with pytest.raises(SearchFailed, match="forces up to .* after 3 steps"):
        find_barrier(compact, surface, path, Settings(max_steps=3))


def in_direction(model, seed, size):
    """Weights moved by a random step in proportion to their size."""
    leaves, tree = jax.tree.flatten(model.weights)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    step = [
        jnp.sqrt(jnp.mean(leaf**2)) * jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    moved = [leaf + size * s for leaf, s in zip(leaves, step, strict=True)]
    weights = jax.tree.unflatten(tree, moved)
    return dataclasses.replace(model, weights=weights), jax.tree.unflatten(tree, step)


def gap_found_anew(model, surface, saddle, minimum):
    """Both points searched again from where they were, to the last digits."""
    ends = [polished(model, surface, x, 1e-7) for x in (saddle, minimum)]
    return float(ends[0].energy - ends[1].energy)


def polished(model, surface, position, largest_force):
    """The next stationary point."""
    return polish(
        partial(evaluate, surface, model),
        partial(hessian_product, surface, model),
        position,
        largest_force=largest_force,
        max_steps=40,
    )


def check_gradient(model, surface, saddle, minimum, size):
    value, gradient = barriers.barrier_gradient(model, surface, saddle, minimum)
    up, step = in_direction(model, 0, size)
    down, _ = in_direction(model, 0, -size)
    along = sum(
        float(jnp.vdot(g, s))
        for g, s in zip(jax.tree.leaves(gradient), jax.tree.leaves(step), strict=True)
    )
    found = [gap_found_anew(m, surface, saddle, minimum) for m in (up, down)]
    assert along == pytest.approx((found[0] - found[1]) / (2 * size), rel=1e-3)
    assert abs(along * size) > 1e-6  # else the differences are noise
    return float(value)


@pytest.mark.long
def test_gradient_is_that_of_barriers_found_anew(compact, collinear):
    surface, found = collinear
    saddle, minimum = (
        polished(compact, surface, x.position, 1e-6).position
        for x in (found.saddle, found.start)
    )
    value = check_gradient(compact, surface, saddle, minimum, 1e-4)
    assert value == pytest.approx(found.forward_ev, abs=1e-4)


@pytest.mark.long
def test_gradient_of_a_random_model(model):
    """Its two stationary points are no jump; the theorem asks for no more."""
    path = lithium_path("vacancy", (1, 1, 1))
    surface = make_surface(model, path.system)

    noise = jax.random.normal(jax.random.key(1), path.first.shape)
    minimum = jax.jit(minimize, static_argnums=0)(
        partial(surface.energy_and_force, model),
        path.first + 0.1 * noise,
        largest_force=1e-2,
        max_steps=5000,
    )
    assert bool(minimum.converged)
    crystal, lowest = (
        polished(model, surface, x, 1e-6) for x in (path.first, minimum.position)
    )
    assert float(crystal.energy - lowest.energy) > 1e-3
    check_gradient(model, surface, crystal.position, lowest.position, 1e-4)


@pytest.mark.slow
def test_the_surface_is_that_of_the_calculator_wherever_atoms_go(compact, collinear):
    """Its lists are of the position asked for, not of the one it was made for."""
    surface, found = collinear
    moved = np.asarray(found.start.position)[::-1].copy()  # all atoms elsewhere
    moved += 0.05 * np.random.default_rng(0).normal(size=moved.shape)
    atoms = ase.Atoms(surface.atomic_number, moved, cell=surface.cell, pbc=True)
    expected = predict_atoms(compact, atoms)
    energy, force = evaluate(surface, compact, jnp.asarray(moved))
    assert float(energy) == pytest.approx(float(expected.energy), abs=1e-8)
    np.testing.assert_allclose(force, expected.forces, rtol=1e-9, atol=1e-8)


@pytest.mark.slow
def test_crowded_neighbours_are_no_number(compact):
    system = lithium_path("collinear", (3, 3, 3)).system
    surface = make_surface(compact, system)
    energy, force = evaluate(surface, compact, 0.3 * jnp.asarray(system.position))
    assert np.isnan(float(energy))
    assert np.isnan(np.asarray(force)).all()


@pytest.mark.parametrize("name", NAMES)
def test_ends_are_sites_and_differ_by_the_jump(name):
    path = lithium_path(name, (2, 2, 2), 4.0)
    moved = np.linalg.norm(np.asarray(path.last - path.first), axis=1)
    is_tetrahedral = np.all(np.abs(np.asarray(path.last) % 2.0 - 1.0) < 1e-9, axis=1)
    kick = np.sqrt(3.0)
    lengths = {"direct": [2.0], "vacancy": [np.sqrt(8.0)]}.get(name, [kick, kick])
    np.testing.assert_allclose(moved[moved > 1e-9], lengths)
    assert is_tetrahedral.sum() == (name != "vacancy")


def test_an_unknown_path_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="no path 'colinear'; there are collinear"):
        lithium_path("colinear", (2, 2, 2))


@pytest.mark.slow
def test_a_surface_with_dispersion_beside_the_model(compact, collinear):
    """Energy, forces and curvature of both; an end of the jump has other dispersion."""
    system = lithium_path("collinear", (2, 2, 2)).system
    number, cell = np.asarray(system.atomic_number), np.asarray(system.cell)
    term = dispersion(number, cell, "pbe", cutoff=8.0)
    surface, place = collinear[0], collinear[1].saddle.position
    both = make_surface(compact, system, (term,))
    own = jax.jit(term.energy_force_strain)(place, both.cell)
    pairs = zip(
        evaluate(both, compact, place),
        evaluate(surface, compact, place),
        own[:2],
        strict=True,
    )
    for with_it, without, added in pairs:
        np.testing.assert_allclose(with_it - without, added, rtol=0, atol=1e-10)
    assert np.abs(own[1]).max() > 1e-3
    along = jnp.zeros_like(place).at[0].set(1.0)
    forces = [evaluate(both, compact, place + s * along)[1] for s in (1e-4, -1e-4)]
    product = hessian_product(both, compact, place, along)
    np.testing.assert_allclose(product, (forces[1] - forces[0]) / 2e-4, rtol=0, atol=1e-4)
