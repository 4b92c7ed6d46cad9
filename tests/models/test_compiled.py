"""The evaluator for a fixed composition equals the plain one."""

import functools
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from jaxdiff import neighbors, potential
from jaxdiff.models import evaluators
from jaxdiff.models.mace import compiled, fused
from jaxdiff.models.mace import folded as folding
from jaxdiff.models.mace.architecture import tensor_product_paths
from jaxdiff.models.mace.compiled import blocks_of, convolve_by_path
from jaxdiff.models.mace.initial import initialize

RESIDUAL = "RealAgnosticResidualInteractionBlock"
DENSITY = "RealAgnosticDensityInteractionBlock"
DENSITY_RESIDUAL = "RealAgnosticDensityResidualInteractionBlock"


@pytest.fixture(scope="module")
def crystal():
    """Twelve atoms of LiF, unsorted, in a sheared cell narrower than twice the cutoff."""
    atoms = bulk("LiF", "rocksalt", a=4.08) * (3, 2, 1)
    atoms.rattle(0.15, seed=5)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * np.ones((3, 3)).cumsum(0)), True)
    position, cell = jnp.asarray(atoms.positions), jnp.asarray(atoms.cell.array)
    lists = neighbors.allocate(position, cell, 4.0, 0.3)
    return atoms.numbers, position, cell, lists


def random_model(architecture):
    n_heads, n_species = len(architecture.heads), len(architecture.atomic_numbers)
    return initialize(
        architecture,
        jax.random.key(1),
        atomic_energies=np.random.default_rng(0).normal(size=(n_heads, n_species)),
        scale=0.7,
        shift=0.2,
        dtype=jnp.float64,
    )


@pytest.fixture(scope="module")
def small(model):
    """Fewer terms and channels: sooner compiled."""
    light = replace(model.architecture, correlation=(2, 1), channels=4)
    return random_model(light)


def plain(model, crystal):
    numbers, *where = crystal
    function = potential.make_energy_and_force(model, numbers)
    return jax.jit(function)(model, *where)


def folded(model, crystal, kernel=compiled.COMPILED, **options):
    numbers, *where = crystal
    params, function = potential.evaluator(model, numbers, kernel, **options)[:2]
    return jax.jit(function)(params, *where)


def assert_same(found, expected, energy=1e-10, force=1e-9):
    n_atoms, largest = len(expected[1]), np.abs(expected[1]).max()
    assert largest > 1e-3  # something to compare
    steep = max(1, largest)  # as random models can be
    assert abs(found[0] - expected[0]) < energy * n_atoms * steep
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=force * steep)
    np.testing.assert_allclose(found[2], expected[2], rtol=0, atol=10 * force * steep)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"interactions": ("RealAgnosticInteractionBlock", RESIDUAL), "agnesi": False},
        *(
            pytest.param(changes, marks=pytest.mark.slow)
            for changes in (
                {
                    "interactions": (RESIDUAL, "RealAgnosticInteractionBlock"),
                    "zbl_power": None,
                },
                {"interactions": (DENSITY_RESIDUAL, DENSITY), "scale_shift": False},
                {"hidden": ((0,), (0,)), "correlation": (1, 3), "radial_mlp": (8, 6)},
                {"hidden": ((0, 1, 2), (0,)), "correlation": (2, 2), "channels": 4},
            )
        ),
        pytest.param(
            {
                "atomic_numbers": (1, 3, 8, 9),
                "heads": ("low", "high"),
                "correlation": (2, 2),
            },
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda changes: "-".join(changes) or "as published",
)
def test_equal_to_the_plain_evaluator(model, crystal, changes):
    random = random_model(replace(model.architecture, **changes))
    assert_same(folded(random, crystal), plain(random, crystal))


def test_one_operation_needs_its_package(monkeypatch, unchecked):
    monkeypatch.setitem(sys.modules, "cuequivariance_jax", None)
    fused._operation.cache_clear()
    with pytest.raises(ValueError, match=r'install it with pip install "jaxdiff\[cuda\]"'):
        fused.convolve(*[None] * 5)


def test_its_operations_without_a_driver_are_a_sentence(monkeypatch, tmp_path, unchecked):
    """They cannot be loaded then, which is another error than a package that is missing."""
    text = 'raise OSError("libcuda.so.1: cannot open shared object file")'
    (tmp_path / "cuequivariance_jax.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cuequivariance_jax", raising=False)
    fused._operation.cache_clear()
    with pytest.raises(ValueError, match='or use "compiled"'):
        fused.convolve(*[None] * 5)


def require_the_operation():
    pytest.importorskip("cuequivariance_jax")


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [(0, 1), (0, 1, 2)])
def test_one_operation_equals_the_sum_by_paths(small, degrees):
    """With its derivatives; the operation that is a kernel on GPUs, evaluated by JAX."""
    require_the_operation()
    arch = replace(small.architecture, hidden=(degrees, (0,)), max_ell=3)
    n_paths, n_sent = len(tensor_product_paths(degrees, 3)), (max(degrees) + 1) ** 2
    shapes = ((8, n_paths, 4), (3, 5, 8), (3, 5, 16), (3, 5, n_sent, 4))
    rng = np.random.default_rng(0)
    radial, *given = (jnp.asarray(rng.normal(size=shape)) for shape in shapes)

    @functools.partial(jax.jit, static_argnums=0)
    def with_derivative(convolve, *given):
        value, pull = jax.vjp(functools.partial(convolve, arch, radial), *given)
        return value, pull(jax.tree.map(jnp.sin, value))

    found, expected = (
        with_derivative(convolve, *given) for convolve in (fused.convolve, convolve_by_path)
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-12), found, expected)


@pytest.mark.slow
def test_head(small, crystal):
    """Of two heads that differ, the one that is asked for."""
    random = random_model(replace(small.architecture, heads=("low", "high")))
    two = [folded(random, crystal, head=head) for head in (0, 1)]
    numbers, position, cell, lists = crystal
    sender = jnp.where(lists.sender < len(numbers), lists.sender, 0)
    displacement = neighbors.displacement(position, cell, lists)
    edges = potential.Edges(displacement, sender, reverse=lists.reverse)
    species = potential.species_index(numbers, (3, 9))
    for head, found in enumerate(two):
        expected = jax.jit(potential.predict)(
            random, displacement, edges, species, 1.0, head
        )
        assert found[0] == pytest.approx(float(expected.energy), abs=1e-9)
        np.testing.assert_allclose(found[1], expected.forces, rtol=0, atol=1e-9)
    assert abs(two[0][0] - two[1][0]) > 1e-3


@pytest.mark.slow
def test_tabulated_functions_have_the_error_that_is_asked_for(small, crystal):
    exact = plain(small, crystal)
    largest = np.abs(exact[1]).max()
    errors = []
    for tolerance in (1e-3, 1e-9):
        found = folded(small, crystal, tolerance=tolerance)
        errors.append(np.abs(found[1] - exact[1]).max() / largest)
    assert 1e-6 < errors[0] < 0.1
    assert errors[1] < 1e-7


@pytest.mark.slow
def test_forces_are_differences_of_the_tabulated_energy(small, crystal):
    numbers, position, cell, lists = crystal
    params, function = potential.evaluator(small, numbers, "compiled", tolerance=1e-3)[:2]
    energy = jax.jit(lambda x: function(params, x, cell, lists)[0])
    force = jax.jit(function)(params, position, cell, lists)[1]
    step = 1e-4
    for atom, axis in [(0, 0), (7, 2)]:
        moved = jnp.zeros_like(position).at[atom, axis].set(step)
        difference = (energy(position - moved) - energy(position + moved)) / (2 * step)
        assert force[atom, axis] == pytest.approx(float(difference), abs=1e-6)


@pytest.mark.slow
def test_pairs_beyond_the_cutoff_left_out(small, crystal):
    numbers, position, cell, lists = crystal
    longest = neighbors.allocate(position, cell, 4.0, 0.0, headroom=1.0).capacity
    close = replace(lists, close=longest + 1)
    assert longest + 1 < lists.capacity
    expected = plain(small, crystal)
    assert_same(plain(small, (numbers, position, cell, close)), expected)
    assert_same(folded(small, (numbers, position, cell, close)), expected)


@pytest.mark.slow
def test_in_float32(small, crystal):
    single = potential.cast(small, jnp.float32)
    found, expected = folded(single, crystal), plain(small, crystal)
    assert found[1].dtype == jnp.float64
    assert_same(found, expected, energy=2e-6, force=2e-5)


def test_a_model_in_double_precision_is_folded_before_it_is_rounded(small, crystal):
    found = potential.evaluator(small, crystal[0], "compiled", dtype="float32").params
    exact = folding.fold(small, jnp.float64)
    for name in ("first_mixing", "coefficient", "readout"):
        jax.tree.map(
            lambda f, e: np.testing.assert_array_equal(f, np.asarray(e, np.float32)),
            getattr(found, name),
            getattr(exact, name),
        )


def test_auto_is_a_choice_by_device(small, crystal, monkeypatch):
    monkeypatch.setattr(compiled, "WIDE", 4)
    kernel, reason = evaluators.choose(small, "auto")
    assert kernel is compiled.COMPILED
    assert reason == "faster than the plain one on a CPU from 4 channels on"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = potential.evaluator(small, crystal[0], "auto", tolerance=1e-6)
    assert found.name == "plain"
    assert found.reason == (
        "no other is known to be faster for this model on gpu; its radial functions are "
        "exact, so their tolerance has no effect"
    )
    given, _ = potential.compile_for(small, crystal[0])
    assert isinstance(given, folding.Folded)


@pytest.mark.parametrize("block_size", [1, 5, 64])
@pytest.mark.slow
def test_size_of_blocks_does_not_matter(small, crystal, block_size):
    prepare = functools.partial(compiled.prepare, block_size=block_size)
    kernel = replace(compiled.COMPILED, prepare=prepare)
    assert_same(folded(small, crystal, kernel), plain(small, crystal))


def test_blocks_hold_every_atom_once():
    species = np.array([1, 0, 1, 1, 0, 2, 1])
    blocks = blocks_of(species, 2)
    assert blocks.atom.shape == (4, 2)
    np.testing.assert_array_equal(blocks.atom.reshape(-1)[blocks.place], np.arange(7))
    assert sorted(blocks.atom[blocks.used == 1].tolist()) == list(range(7))
    for row, used, own in zip(blocks.atom, blocks.used, blocks.species, strict=True):
        np.testing.assert_array_equal(species[row[used == 1]], own)


@pytest.mark.parametrize(
    ("limit", "shape"), [(3121, (2, 109)), (30, (8, 28)), (1, (217, 1))]
)
def test_blocks_are_as_even_as_the_species_allow(limit, shape):
    """Padded to the limit, 217 atoms would be 6242 on an accelerator."""
    species = np.repeat([0, 1], [109, 108])
    assert blocks_of(species, limit).atom.shape == shape


@pytest.mark.slow
def test_unused_places_change_nothing(small, crystal):
    numbers, position, cell, lists = crystal
    wide = neighbors.grow(lists, lists.capacity + 32)
    found = folded(small, (numbers, position, cell, wide))
    assert_same(found, plain(small, crystal))


@pytest.mark.slow
@pytest.mark.parametrize("as_one_operation", [False, True])
def test_several_replicas_at_once(small, crystal, as_one_operation):
    if as_one_operation:
        require_the_operation()
    numbers, position, cell, _ = crystal
    both = jnp.stack([position, position + 0.1 * jnp.sin(position * 7)])
    lists = neighbors.allocate(both, cell, 4.0, 0.3)
    kernel = fused.FUSED if as_one_operation else compiled.COMPILED
    params, function = potential.evaluator(small, numbers, kernel)[:2]
    found = jax.jit(jax.vmap(function, (None, 0, None, 0)))(params, both, cell, lists)
    for r in (0, 1):
        own = jax.tree.map(lambda x, r=r: x[r], lists)
        own = replace(own, reference_cell=cell)
        expected = plain(small, (numbers, both[r], cell, own))
        assert_same([x[r] for x in found], expected)


@pytest.mark.slow
def test_reverse_mode_of_forces(small, crystal):
    """A product with the Hessian."""
    numbers, position, cell, lists = crystal
    direction = jnp.asarray(np.random.default_rng(4).normal(size=position.shape))
    params, function = potential.evaluator(small, numbers, "compiled")[:2]
    reference = potential.make_energy_and_force(small, numbers)

    def product(function, params):
        def along(x):
            return jnp.sum(function(params, x, cell, lists)[1] * direction)

        return jax.jit(jax.grad(along))(position)

    found, expected = product(function, params), product(reference, small)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_what_cannot_be_folded(small, crystal):
    deep = replace(small.architecture, interactions=(DENSITY,) * 3, hidden=((0,),) * 3)
    with pytest.raises(ValueError, match="3 layers .* cannot be folded"):
        potential.evaluator(replace(small, architecture=deep), crystal[0], "compiled")
