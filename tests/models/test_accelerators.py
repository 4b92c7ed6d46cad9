"""What programs are on accelerators: traced as there, translated, run on the CPU."""

import re
from dataclasses import replace

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from jaxdiff import neighbors, potential
from jaxdiff.finetune import read_frames
from jaxdiff.finetune.batches import join, make_graph, make_plan
from jaxdiff.finetune.loss import Loss, batch_loss
from jaxdiff.models.mace import compiled
from jaxdiff.models.mace.folded import fold


@pytest.fixture
def computing_on(monkeypatch):
    """Programs are made as on another device from then on."""
    return lambda name: monkeypatch.setattr(jax, "default_backend", lambda: name)


@pytest.fixture(scope="module")
def crystal():
    """Eight atoms of LiF and their neighbours."""
    atoms = bulk("LiF", "rocksalt", a=4.08, cubic=True)
    atoms.rattle(0.1, seed=5)
    position, cell = jnp.asarray(atoms.positions), jnp.asarray(atoms.cell.array)
    return atoms.numbers, position, cell, neighbors.allocate(position, cell, 4.0, 0.3)


def equations(jaxpr):
    """All of a program, those of inner ones too."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def sums_in_any_order(traced):
    """More numbers than places in memory that they are added to, by many threads there."""
    return [
        e
        for e in equations(traced.jaxpr)
        if e.primitive.name in ("scatter-add", "scatter_add")
        and e.invars[2].aval.size > e.invars[0].aval.size
    ]


@pytest.mark.parametrize("kind", ["plain", "compiled"])
def test_sums_of_an_evaluator_have_one_order(model, crystal, computing_on, kind):
    def traced():
        found = potential.evaluator(model, crystal[0], kind)
        return jax.make_jaxpr(found.energy_and_force)(found.params, *crystal[1:])

    on_cpu = sums_in_any_order(traced())
    assert len(on_cpu) == (kind == "compiled")  # faster there, and one thread adds
    for backend in ("gpu", "tpu"):
        computing_on(backend)
        assert sums_in_any_order(traced()) == []


@pytest.fixture
def batch(tmp_path):
    """Two labelled crystals of different sizes."""
    frames = []
    for seed, repeats in enumerate((1, (2, 1, 1))):
        atoms = bulk("LiF", "rocksalt", a=4.08, cubic=True) * repeats
        atoms.rattle(0.1, seed=seed)
        atoms.arrays["REF_forces"] = np.random.default_rng(seed).normal(
            size=(len(atoms), 3)
        )
        atoms.info |= {"REF_energy": -5.0 * len(atoms), "REF_stress": np.zeros(9)}
        frames.append(atoms)
    ase.io.write(tmp_path / "frames.extxyz", frames)
    read = read_frames([tmp_path / "frames.extxyz"])
    graphs = [make_graph(frame, (3, 9), np.zeros(2), 4.0) for frame in read]
    return jax.tree.map(jnp.asarray, join(graphs, make_plan(graphs, batch_size=2)))


@pytest.mark.slow
def test_sums_of_training_have_one_order_and_the_same_value(model, batch, computing_on):
    def slope(model):
        given = batch, Loss("universal"), (1.0, 10.0, 10.0)
        return jax.grad(lambda w: batch_loss(replace(model, weights=w), *given))(
            model.weights
        )

    assert sums_in_any_order(jax.make_jaxpr(slope)(model))
    expected = jax.jit(slope)(model)
    computing_on("gpu")
    jax.clear_caches()  # of functions that were traced as on a CPU
    assert sums_in_any_order(jax.make_jaxpr(slope)(model)) == []
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12),
        jax.jit(slope)(model),
        expected,
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_the_compiled_evaluator_as_on_accelerators_is_the_plain_one(
    model, crystal, computing_on, backend
):
    """Several replicas at once, in more blocks than one, with places to spare."""
    numbers, position, cell, _ = crystal
    both = jnp.stack([position, position + 0.1 * jnp.sin(position * 7)])
    lists = neighbors.allocate(both, cell, 4.0, 0.3, close=40)

    def evaluated(kind):
        found = potential.evaluator(model, numbers, kind, replicas=10**4)
        function = jax.vmap(found.energy_and_force, (None, 0, None, 0))
        return jax.jit(function)(found.params, both, cell, lists)

    expected = evaluated("plain")
    computing_on(backend)
    found = evaluated("compiled")
    assert np.abs(expected[1]).max() > 0.1
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_replicas_share_the_memory_of_blocks(model, crystal, computing_on, monkeypatch):
    folded, sizes, blocks_of = fold(model, jnp.float32), [], compiled.blocks_of
    on_cpu = compiled.fitting_size(folded)
    assert compiled.fitting_size(folded, 64) == on_cpu
    computing_on("gpu")
    one, many = (compiled.fitting_size(folded, n) for n in (1, 64))
    assert one > 10 * on_cpu
    assert many == pytest.approx(one / 64, rel=0.1)
    monkeypatch.setattr(
        compiled, "blocks_of", lambda z, size: (sizes.append(size), blocks_of(z, size))[1]
    )
    potential.evaluator(model, crystal[0], "compiled", dtype=jnp.float32, replicas=64)
    assert sizes == [many]


def test_rows_have_fewer_places_to_spare(crystal, computing_on):
    assert neighbors.places_multiple() == 32
    computing_on("gpu")
    assert neighbors.places_multiple() == 8


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_no_product_of_matrices_in_float64(model, crystal, computing_on, platform):
    """A TPU makes five loops of each. The state, its lists and sums are in float64."""
    numbers, position, cell, lists = crystal
    product = re.compile(r"stablehlo\.dot_general.*xf64>")

    def translated(backend):
        found = potential.evaluator(model, numbers, "compiled", dtype=jnp.float32)

        def step(params, position, cell, lists):
            lists = neighbors.refresh(position[None], cell[None], lists, 4.0, 0.3)
            own = jax.tree.map(lambda x: x[0], lists)
            covered = neighbors.is_covered(cell, own)
            return found.energy_and_force(params, position, cell, own), covered

        stacked = jax.tree.map(lambda x: x[None], lists)
        traced = jax.jit(step).trace(found.params, position, cell, stacked)
        return traced.lower(lowering_platforms=(backend,)).as_text()

    assert len(product.findall(translated("cpu"))) == 1  # of the strain
    computing_on({"tpu": "tpu", "cuda": "gpu"}[platform])
    text = translated(platform)
    assert "f64" in text
    assert product.findall(text) == []
