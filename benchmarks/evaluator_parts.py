"""What the time of the compiled evaluator goes into, part by part, on one core.

python benchmarks/evaluator_parts.py [RECORDS.jsonl] [--tiny]

MACE-MPA-0's architecture for Li and F with random weights, 217 atoms, float32, radial
functions tabulated to 1e-6, one device. Each part is a program of its own over all blocks
of atoms, with its derivative where the evaluator takes it; medians of seven. A part writes
its results to memory, which the whole does not, so parts need not add up to it.
"""

import os
import statistics
import time

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


def main(records: Records = None, tiny: Tiny = False) -> None:
    """Time the parts of the compiled evaluator, and the whole, on one core."""
    edge, repeats = (2, 1) if tiny else (3, 7)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import jax

    jax.config.update("jax_enable_x64", True)
    found = {}
    for name, (program, *given) in parts(edge).items():
        jax.block_until_ready(program(*given))
        times = []
        for _ in range(repeats):
            begin = time.perf_counter()
            jax.block_until_ready(program(*given))
            times.append(1e3 * (time.perf_counter() - begin))
        found[name] = round(statistics.median(times), 1)
        print(f"{found[name]:8.1f} ms  {name}", flush=True)
    if records is not None:
        atoms = 8 * edge**3 + 1
        record = {"benchmark": "evaluator_parts", "atoms": atoms, "ms": found}
        append(records, record | provenance("jaxdiff", "jax", "jaxlib"))


if __name__ == "__main__":
    typer.run(main)
