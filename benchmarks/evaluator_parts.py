"""What the time of the compiled evaluator goes into, part by part, on one core.

python benchmarks/evaluator_parts.py [RECORDS.jsonl] [--model FILE:HEAD] [--tiny]

MACE-MPA-0's architecture for Li and F with random weights, or a file of gated blocks, 217
atoms, float32, radial functions tabulated to 1e-6, one device. Each part is a program of
its own over all blocks of atoms, with its derivative where the evaluator takes it; medians
of seven, in processor time. A part writes its results to memory, which the whole does not
always, so parts need not add up to it.
"""

import os
import statistics
import time
from typing import Annotated

import typer
from harness import Records, Tiny, append, provenance, start


def over_blocks(part, derivative: bool = True):
    """`part` of one block, (fixed, *moving), over all blocks, and its derivative."""
    import jax

    def one(given):
        fixed, moving = given
        if not derivative:
            return part(fixed, *moving)
        value, pull = jax.vjp(lambda *x: part(fixed, *x), *moving)
        return value, pull(value)

    return jax.jit(lambda fixed, *moving: jax.lax.map(one, (fixed, moving)))


def parts(edge: int) -> dict:
    """Name -> program and its arguments, for so many cells along an edge."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from evaluators import crystal

    from jaxdiff import neighbors
    from jaxdiff.models.mace import compiled
    from jaxdiff.models.mace.folded import fold

    position, system = crystal(edge)
    lists = neighbors.allocate(position, system.cell, 6.0, 0.0, headroom=1.0)
    folded = fold(start(), "float32", tolerance=1e-6)
    species = (np.asarray(system.atomic_number) == 9).astype(np.int32)
    blocks = compiled.blocks_of(species, compiled.fitting_size(folded))
    vector = neighbors.displacement(jnp.asarray(position), jnp.asarray(system.cell), lists)
    vector = jnp.asarray(vector, jnp.float32)
    sender = jnp.where(lists.sender < len(species), lists.sender, 0)
    arch, rng = folded.architecture, np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    def geometry(vector):
        return compiled.geometry(arch.max_ell, vector)

    def with_derivative(vector):
        value, pull = jax.vjp(geometry, vector)
        return value, pull(value)

    distance, harmonic = jax.jit(geometry)(vector)
    edge = distance[blocks.atom], harmonic[blocks.atom]
    sender_of = sender[blocks.atom]
    own = compiled.Own(jnp.asarray(blocks.species), jnp.asarray(species)[sender_of])
    sent = normal(len(species), 4, arch.channels)
    feature = normal(*blocks.atom.shape, 4, arch.channels)
    function = normal(*sender_of.shape, folded.last_radial.shape[1])
    basis = normal(*blocks.atom.shape, (arch.max_ell + 1) ** 2, arch.channels)

    def radial(own, distance):
        return compiled._radial(folded, "1", own, distance)

    def first(own, *edge):
        return compiled._first_layer(folded, own, *edge)

    def last(given, distance, harmonic, feature):
        own, sender = given
        edge = distance, harmonic, sent[sender]
        return compiled._last_layer(folded, compiled.convolve_by_path, own, *edge, feature)

    def convolve(z, *given):
        return compiled.convolve_by_path(arch, folded.last_radial[z], *given)

    def product(z, basis):
        return compiled._product(folded, "0", z, basis)

    def everything(folded, vector, sender):
        return compiled.energy_and_gradient(
            folded, blocks, species, vector, sender, compiled.convolve_by_path
        )

    of_sum = own.receiver, function, edge[1], sent[sender_of]
    of_last = (own, sender_of), *edge, feature
    return {
        "geometry, with derivative": (jax.jit(with_derivative), vector),
        "first layer": (over_blocks(first, False), own, *edge),
        "first layer, with derivative": (over_blocks(first), own, *edge),
        "product basis of it, with derivative": (over_blocks(product), own.receiver, basis),
        "last layer": (over_blocks(last, False), *of_last),
        "radial functions of it, with derivative": (over_blocks(radial), own, edge[0]),
        "edge weights and sum over neighbours of it": (
            over_blocks(convolve, False),
            *of_sum,
        ),
        "the same, with derivative": (over_blocks(convolve), *of_sum),
        "everything": (jax.jit(everything), folded, vector, sender),
    }


def gated_parts(edge: int, source: str) -> dict:
    """The same of a model of gated blocks, FILE:HEAD."""
    import jax
    import jax.numpy as jnp
    from evaluators import crystal, weights

    from jaxdiff import neighbors, potential
    from jaxdiff.models.contract import Request
    from jaxdiff.models.mace import compiled as mace
    from jaxdiff.models.mace.gated import compiled

    position, system = crystal(edge)
    lists = neighbors.allocate(position, system.cell, 6.0, 0.0, headroom=1.0)
    model = weights(source)
    species = potential.species_index(system.atomic_number, model.species)
    folded, _ = compiled.prepare(model, Request(species, "float32", tolerance=1e-6))
    size = mace.fitting_size(folded)
    multiple = min(size, compiled.NODES)
    blocks = compiled.blocks_of(species, compiled.NODES, multiple=multiple)
    size = min(size, blocks.atom.shape[1])
    vector = neighbors.displacement(jnp.asarray(position), jnp.asarray(system.cell), lists)
    vector = jnp.asarray(vector, jnp.float32)
    sender = jnp.where(lists.sender < len(species), lists.sender, 0)
    given = folded, blocks, size, jnp.asarray(species)[sender]

    def everything(folded, vector, sender):
        given = blocks, size, species, vector, sender
        return compiled.energy_and_gradient(folded, *given)

    whole = jax.jit(everything), folded, vector, sender
    return _gated_programs(*given, vector, sender) | {"everything": whole}


def _gated_programs(folded, blocks, size, kind, vector, sender) -> dict:
    """Those between the first and the last step of the evaluator."""
    import functools

    import jax
    import jax.numpy as jnp

    from jaxdiff.models.mace import compiled as mace
    from jaxdiff.models.mace.gated import compiled

    rows, nodes = blocks.atom.reshape(-1), jnp.asarray(blocks.species)
    edges = jnp.repeat(nodes, blocks.atom.shape[1] // size)
    max_ell, used = folded.architecture.max_ell, blocks.used.reshape(-1)
    edge = tuple(x[rows] for x in mace.geometry(max_ell, vector))
    kind, sent_from = kind[rows], jnp.asarray(blocks.place)[sender][rows]
    found: dict = {}

    def part(name, species, function, *given, further=()):
        @jax.jit
        def program(folded, further, *given):
            own = functools.partial(function, folded, *further)
            return compiled._over(species, own, *given)

        found[name] = program, folded, further, *given
        return program(folded, further, *given)

    sums, products = "sums of the {} layer", "products of the {} layer"
    _, moment = part(sums.format("first"), edges, compiled._first_sums, kind, *edge)
    basis, sent, energy, skipped = part(
        products.format("first"), nodes, compiled._first_nodes, moment
    )
    given = kind, sent_from, *edge
    message = part(sums.format("last"), edges, compiled._last_sums, *given, further=(sent,))
    name, given = products.format("last") + ", with derivative", (message, sent, skipped)
    _, along, *_ = part(name, nodes, compiled._last_nodes, *given)

    @jax.jit
    def last_sums_back(folded, sent, along):
        given = edges, jnp.asarray(used, vector.dtype), kind, sent_from, edge, along, True
        return compiled._last_sums_back(folded, sent, *given)

    found["derivative of the last layer's sums"] = last_sums_back, folded, sent, along
    given = moment, basis, (sent, energy, skipped)
    name = "derivative of the first layer's products"
    along = part(name, nodes, compiled._first_nodes_back, *given)
    name = "derivative of the first layer's sums"
    part(name, edges, compiled._first_sums_back, kind, *edge, along)
    return found


def main(
    records: Records = None,
    model: Annotated[
        str | None, typer.Option(help="FILE:HEAD of gated blocks, in place of ours.")
    ] = None,
    tiny: Tiny = False,
) -> None:
    """Time the parts of the compiled evaluator, and the whole, on one core."""
    edge, repeats = (2, 1) if tiny else (3, 7)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import jax

    jax.config.update("jax_enable_x64", True)
    found = {}
    programs = parts(edge) if model is None else gated_parts(edge, model)
    for name, (program, *given) in programs.items():
        jax.block_until_ready(program(*given))
        times = []
        for _ in range(repeats):
            begin = time.process_time()
            jax.block_until_ready(program(*given))
            times.append(1e3 * (time.process_time() - begin))
        found[name] = round(statistics.median(times), 1)
        print(f"{found[name]:8.1f} ms  {name}", flush=True)
    if records is not None:
        atoms = 8 * edge**3 + 1
        record = {"benchmark": "evaluator_parts", "atoms": atoms, "ms": found}
        append(records, record | provenance("jaxdiff", "jax", "jaxlib"))


if __name__ == "__main__":
    typer.run(main)
