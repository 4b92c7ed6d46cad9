"""The evaluator of gated blocks for a fixed composition equals the plain one."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from gated import SMALL, random_model, upstreams
from oracle import TOLERANCE
from oracle import crystal as four_atoms
from test_accelerators import sums_in_any_order
from test_compiled import assert_same

from jaxdiff import neighbors, potential
from jaxdiff.checkpoints import load
from jaxdiff.models import evaluators
from jaxdiff.models.mace import compiled as mace
from jaxdiff.models.mace.gated import compiled
from jaxdiff.models.mace.gated.folded import edge_functions, fold
from jaxdiff.models.table import SHORTEST

LIGHT = replace(SMALL, cutoff=4.0, correlation=(2, 1))
"""Sooner compiled; three species, of which a crystal has two, and two heads."""
FULL = {"max_ell": 3, "correlation": (3, 3), "radial_mlp": (8, 6), "density_mlp": (6, 5)}
CHARGED = (("total_spin", 11, 0, 3), ("total_charge", 21, 10, 3))


@pytest.fixture(scope="module")
def crystal():
    """Eight atoms of LiF, unsorted, in a sheared cell narrower than twice the cutoff."""
    atoms = bulk("LiF", "rocksalt", a=4.08) * (2, 2, 1)
    atoms.rattle(0.15, seed=5)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * np.ones((3, 3)).cumsum(0)), True)
    position, cell = jnp.asarray(atoms.positions), jnp.asarray(atoms.cell.array)
    lists = neighbors.allocate(position, cell, 4.0, 0.3)
    return atoms.numbers, position, cell, lists


@pytest.fixture(scope="module")
def small():
    return random_model(LIGHT)


def evaluated(model, crystal, kind="compiled", **options):
    numbers, *where = crystal
    found = potential.evaluator(model, numbers, kind, **({"head": 1} | options))
    return jax.jit(found.energy_and_force)(found.params, *where)


def assert_equal(found, expected):
    assert_same(found, expected, energy=1e-12, force=1e-11)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        *(
            pytest.param(changes, marks=pytest.mark.slow)
            for changes in (
                {**FULL, "agnesi": True, "zbl_power": 5},
                {"hidden": ((0, 1, 2), (0,)), "edge_degrees": ((0,), (0, 1, 2))},
                {"hidden": ((0,), (0,)), "edge_degrees": ((0,), (0,))},
                {"embedded": CHARGED, "charge": 2, "multiplicity": 3},
                {"scale_shift": False, "edge_channels": (2, 4)},
            )
        ),
    ],
    ids=lambda changes: "-".join(changes) or "as published",
)
def test_equal_to_the_plain_evaluator(crystal, changes):
    model = random_model(replace(LIGHT, **changes))
    assert_equal(evaluated(model, crystal), evaluated(model, crystal, "plain"))


@pytest.mark.slow
def test_more_species_and_a_head(crystal):
    """Three in one cell, so that ordered pairs are nine; each of two heads."""
    numbers, *where = crystal
    numbers = np.where(np.arange(len(numbers)) % 5 == 2, 1, numbers)
    model, energies = random_model(LIGHT), []
    for head in (0, 1):
        found = evaluated(model, (numbers, *where), head=head)
        assert_equal(found, evaluated(model, (numbers, *where), "plain", head=head))
        energies.append(found[0])
    assert abs(energies[0] - energies[1]) > 1e-3


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("e3nn_gate", [False, True])
def test_equal_to_mace_torch(upstream, tmp_path, e3nn_gate):
    """With the constants of the gate of both kinds of file."""
    path = upstream.save(upstreams(upstream, e3nn_gate=e3nn_gate), tmp_path / "m.model")
    ours, atoms = load(path), four_atoms()
    expected = upstream.predict(upstream.load(path), atoms, "high")
    position, cell = jnp.asarray(atoms.positions), jnp.asarray(atoms.cell.array)
    lists = neighbors.allocate(position, cell, ours.cutoff, 0.3)
    found = evaluated(ours, (atoms.numbers, position, cell, lists))
    energy, force, stress = TOLERANCE["float64"]
    assert abs(found[0] - expected["energy"]) < 4 * energy
    np.testing.assert_allclose(found[1], expected["forces"], rtol=0, atol=force)
    volume = atoms.get_volume()
    np.testing.assert_allclose(found[2] / volume, expected["stress"], rtol=0, atol=stress)


def test_the_other_direction_of_a_pair_has_functions_of_its_own(small):
    """Both layers' tables, to the stated error, for each receiver and sender."""
    model, tolerance = small.restrict([3, 9]), 1e-4
    exact, table = (fold(model, jnp.float64, tolerance=t) for t in (None, tolerance))
    distance = jnp.linspace(SHORTEST, model.cutoff + 0.5, 301)
    sender = jnp.asarray([[0], [1]])
    for layer in ("0", "1"):
        values, densities, found, rows = [], [], [], []
        last = list(model.weights["interactions"][layer]["radial"].values())[-1]
        last = np.concatenate([last["weight"], last["bias"][None]])
        for receiver in (0, 1):
            ends = (jnp.broadcast_to(x, (2, 301)) for x in (receiver, sender))
            given = jnp.broadcast_to(distance, (2, 301))
            function, density = edge_functions(exact, exact.radial[layer], given, *ends)
            values.append(function @ last)
            densities.append(density)
            own = mace.Own(jnp.asarray(receiver), jnp.broadcast_to(sender, (2, 301)))
            function, density = mace.tabulated(
                table.radial[layer], np.array([[0, 1], [2, 3]]), own, given
            )
            rows.append(function)
            found.append(density)
        densities, found = np.stack(densities), np.stack(found)
        assert np.abs(found - densities).max() < tolerance * densities.max()
        assert np.abs(densities[0, 1] - densities[1, 0]).max() > 0.05 * densities.max()
        assert np.all(found[..., distance >= model.cutoff] == 0)
        if layer == "0":
            continue
        values, rows = np.stack(values), np.stack(rows)
        matrix = np.asarray(table.last_radial).reshape(2, 1, rows.shape[-1], -1)
        error = np.abs(rows @ matrix - values).max()
        assert error < tolerance * np.abs(values).max()
        assert np.abs(values[0, 1] - values[1, 0]).max() > 0.05 * np.abs(values).max()


@pytest.mark.slow
def test_tabulated_functions_have_the_error_that_is_asked_for(small, crystal):
    exact, errors = evaluated(small, crystal), []
    for tolerance in (1e-3, 1e-9):
        found = evaluated(small, crystal, tolerance=tolerance)
        errors.append(np.abs(found[1] - exact[1]).max() / np.abs(exact[1]).max())
    assert 1e-6 < errors[0] < 0.1
    assert errors[1] < 1e-7


@pytest.mark.slow
def test_forces_are_differences_of_the_tabulated_energy(small, crystal):
    numbers, position, cell, lists = crystal
    params, function = potential.evaluator(small, numbers, "compiled", tolerance=1e-3)[:2]
    function = jax.jit(function)
    force, step = function(params, position, cell, lists)[1], 1e-4
    for atom, axis in [(0, 0), (5, 2)]:
        moved = jnp.zeros_like(position).at[atom, axis].set(step)
        down, up = (function(params, position + x, cell, lists)[0] for x in (-moved, moved))
        assert force[atom, axis] == pytest.approx(float(down - up) / (2 * step), abs=1e-6)


def test_in_float32(small, crystal):
    found = evaluated(small, crystal, dtype="float32", tolerance=1e-6)
    assert found[1].dtype == jnp.float64
    assert_same(found, evaluated(small, crystal, "plain"), energy=2e-6, force=2e-5)


@pytest.mark.slow
def test_a_lone_atom_has_more_than_its_isolated_energy(small):
    """Its places are padding; gate, product and what skips a layer act without edges."""
    position, cell = jnp.zeros((1, 3)), 20 * jnp.eye(3)
    lists = neighbors.grow(neighbors.allocate(position, cell, small.cutoff, 0.3), 32)
    lone = np.array([9]), position, cell, lists
    for tolerance in (None, 1e-6):
        energy, force, strain = evaluated(small, lone, tolerance=tolerance)
        expected = evaluated(small, lone, "plain")[0]
        assert float(energy) == pytest.approx(float(expected), abs=1e-12)
        assert abs(float(energy) - small.isolated_of(1)[9]) > 1e-2
        assert np.all(force == 0)
        assert np.all(strain == 0)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(1, 1), (5, 64), (64, 5)])
def test_size_of_blocks_does_not_matter(small, crystal, sizes):
    prepare = functools.partial(compiled.prepare, sizes=sizes)
    kernel = replace(compiled.COMPILED, prepare=prepare)
    assert_equal(evaluated(small, crystal, kernel), evaluated(small, crystal, "plain"))


@pytest.mark.slow
def test_unused_places_change_no_bit(small, crystal):
    numbers, position, cell, lists = crystal
    rows = [neighbors.grow(lists, -(-(lists.capacity + n) // 32) * 32) for n in (0, 32)]
    one, other = (evaluated(small, (numbers, position, cell, own)) for own in rows)
    for x, y in zip(one, other, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.slow
def test_replicas_at_once_and_in_turn(small, crystal):
    """As one array they are the plain evaluator's; one after another, as on a CPU, a
    replica has the same bits whoever comes before it."""
    numbers, position, cell, _ = crystal
    given = jnp.stack([position + 0.1 * jnp.sin(position * n) for n in (0, 7, 5)])
    lists = neighbors.allocate(given, cell, 4.0, 0.3)
    params, function = potential.evaluator(small, numbers, "compiled")[:2]
    at_once = jax.jit(jax.vmap(function, (None, 0, None, 0)))(params, given, cell, lists)
    plain = jax.jit(potential.evaluator(small, numbers, "plain").energy_and_force)
    model = small.restrict([3, 9])

    @jax.jit
    def in_turn(params, own):
        return jax.lax.map(lambda x: function(params, x[0], cell, x[1]), own)

    def some(*which):
        return jax.tree.map(lambda x: x[np.array(which)], (given, lists))

    lists = replace(lists, reference_cell=jnp.broadcast_to(cell, (3, 3, 3)))
    first, second = in_turn(params, some(0, 2)), in_turn(params, some(1, 2))
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x[1], y[1])
    own = jax.tree.map(lambda x: x[2], lists)
    expected = plain(model, given[2], cell, own)
    assert_equal([x[1] for x in first], expected)
    assert_equal([x[2] for x in at_once], expected)


def test_sums_have_one_order_on_accelerators(small, crystal, monkeypatch):
    def traced():
        found = potential.evaluator(small, crystal[0], "compiled")
        return jax.make_jaxpr(found.energy_and_force)(found.params, *crystal[1:])

    assert len(sums_in_any_order(traced())) == 2  # of each degree that is sent
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert sums_in_any_order(traced()) == []


@pytest.mark.slow
def test_as_on_accelerators_it_is_the_plain_one(small, crystal, monkeypatch):
    """In blocks with places left over, the edge in the other direction gathered."""
    numbers, position, cell, _ = crystal
    lists = neighbors.allocate(position, cell, 4.0, 0.3, close=60)
    expected = evaluated(small, (numbers, position, cell, lists), "plain")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    prepare = functools.partial(compiled.prepare, sizes=(4, 5))
    kernel = replace(compiled.COMPILED, prepare=prepare)
    assert_equal(evaluated(small, (numbers, position, cell, lists), kernel), expected)


def test_replicas_share_the_memory_of_blocks(small, monkeypatch):
    folded = fold(small, jnp.float32)
    assert compiled.node_size(folded, 64) == compiled.NODES
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    one, many = (compiled.node_size(folded, n) for n in (1, 64))
    assert one > compiled.NODES
    assert many == pytest.approx(one / 64, rel=0.1)


@pytest.mark.slow
def test_reverse_mode_of_forces(small, crystal):
    """A product with the Hessian."""
    numbers, position, cell, lists = crystal
    direction = jnp.asarray(np.random.default_rng(4).normal(size=position.shape))

    def product(kind):
        params, function = potential.evaluator(small, numbers, kind)[:2]

        def along(x):
            return jnp.sum(function(params, x, cell, lists)[1] * direction)

        return jax.jit(jax.grad(along))(position)

    found, expected = product("compiled"), product("plain")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_a_model_of_three_layers_keeps_the_plain_evaluator(small, crystal):
    deep = replace(
        LIGHT, hidden=((0, 1), (0, 1), (0,)), edge_degrees=((0,), (0, 1), (0, 1)),
        edge_channels=(2, 2, 2), correlation=(2, 2, 1), readouts=("bias",), channels=32,
    )  # fmt: skip
    model = random_model(deep)
    assert evaluators.choose(model, "auto")[0] is evaluators.PLAIN
    with pytest.raises(ValueError, match="with 3 layers, .* and the readouts bias cannot"):
        potential.evaluator(model, crystal[0], "compiled")
    with pytest.raises(ValueError, match="3 layers"):
        fold(model, jnp.float32)


def test_auto_is_a_choice_by_device(small, monkeypatch):
    assert evaluators.choose(small, "auto")[0] is evaluators.PLAIN  # few channels
    wide = random_model(replace(LIGHT, channels=mace.WIDE))
    kernel, reason = evaluators.choose(wide, "auto")
    assert kernel is compiled.COMPILED
    assert reason == "faster than the plain one on a CPU from 24 channels on"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert evaluators.choose(wide, "auto")[0] is evaluators.PLAIN
