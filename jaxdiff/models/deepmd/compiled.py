"""The evaluator for a fixed composition: tabulated embeddings, the descriptor folded away.

The embedding network of a pair is a function of one distance, and all its outputs are, to
any practical accuracy, sums of few functions f of it: G = G0 + f B, where G0 is the output
at the cutoff. The moment R^T G is then U C with few columns: U sums rows times f and times
1 over the neighbours of each species. The descriptor is C^T (U^T U) C_<, and the first
fitting layer acts on U^T U, a small symmetric matrix, in place of it. Atoms are taken in
blocks of one species: each goes through the fitting network of its own species only, and
what belongs to edges stays in the cache, for an atom's energy is that of its own row.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff.models.blocks import blocks_of
from jaxdiff.models.contract import Evaluate, Kernel, Request
from jaxdiff.models.deepmd import environment, layers
from jaxdiff.models.deepmd.architecture import Architecture, Parameters
from jaxdiff.models.deepmd.network import activation, network, one_of
from jaxdiff.models.edges import Edges
from jaxdiff.models.table import RadialTable, tabulate

BLOCK = 32
"""Atoms of a block: more leave the cache, fewer make small products of matrices."""


@struct.dataclass
class Folded:
    """What the evaluator computes with; Z species, F functions, M embedded.

    - `table`: functions f of the distance, a row for centre * Z + neighbour; None: the
      networks themselves less G0, of `embedding` (F = M).
    - `mean`, `deviation` [Z, Z, 4]: those of the model.
    - `columns` [Z, F + Z (+ 4), M]: C by centre: B, G0 of each neighbour's species, and
      what species that were left out add, where it is not zero.
    - `first` [Z, pairs, H]: from U^T U to the first fitting layer; None where the
      descriptor is not larger.
    - `fitting`, `energies` [Z] float64: those of the model.
    """

    table: RadialTable | None
    embedding: Any
    mean: Any
    deviation: Any
    columns: Any
    first: Any
    fitting: dict[str, Any]
    energies: Any
    architecture: Architecture = struct.field(pytree_node=False)


def reason_not_to(model: Parameters) -> str | None:
    """Why a model cannot be folded."""
    width_in, width = np.shape(model.weights["fitting"]["0"]["matrix"])[1:]
    if model.architecture.fitting[0].residual and width in (width_in, 2 * width_in):
        return "its first fitting layer adds its input, and the descriptor is not made"
    return None


def fold(model: Parameters, dtype: Any, tolerance: float | None) -> Folded:
    """Fold a model that is restricted to the species present, in float64.

    - `dtype`: of the result, which is rounded once.
    - `tolerance`: None for the embedding networks themselves; otherwise the largest error
      of a tabulated function relative to the largest one.
    """
    arch = model.architecture
    exact = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), model)
    constants, n_species = exact.constants, len(arch.atomic_numbers)
    pairs = np.arange(n_species**2).reshape(n_species, n_species)
    at_cutoff = jnp.asarray([arch.cutoff])
    edge = jax.jit(lambda: [_embedded(exact, at_cutoff, int(p))[0] for p in pairs.flat])()
    edge = np.stack(edge).reshape(n_species, n_species, -1)
    width = edge.shape[-1]
    table, back = None, np.broadcast_to(np.eye(width), (n_species, width, width))
    if tolerance is not None:
        table, back = tabulate(
            lambda r, p: _embedded(exact, r, p) - edge.reshape(n_species**2, -1)[p],
            pairs,
            arch.cutoff,
            tolerance,
        )
    absent = np.asarray(constants["absent"])
    columns = [back, edge, *([absent] if absent.any() else [])]
    columns = np.concatenate(columns, axis=1)
    folded = Folded(
        table=table,
        embedding=exact.weights["embedding"] if table is None else None,
        mean=constants["mean"],
        deviation=constants["deviation"],
        columns=columns,
        first=_first_layer(exact, columns),
        fitting=exact.weights["fitting"],
        energies=constants["energies"][0],
        architecture=arch,
    )
    energies = folded.energies
    folded = jax.tree.map(lambda x: jnp.asarray(x, dtype), folded)
    return replace(folded, energies=energies)


def _embedded(model: Parameters, distance, pair: int):
    """G of a pair of species at distances, exactly."""
    arch, constants = model.architecture, model.constants
    index = divmod(pair, len(arch.atomic_numbers))
    vector = jnp.stack([distance, 0 * distance, 0 * distance], axis=-1)
    radial = environment.rows(arch, vector)[1][:, :1]
    radial = (radial - constants["mean"][index][0]) / constants["deviation"][index][0]
    own = one_of(model.weights["embedding"], *index[1 if arch.one_sided else 0 :])
    return network(arch.embedding, own, radial)


def _first_layer(model: Parameters, columns: np.ndarray) -> np.ndarray | None:
    """What multiplies the upper half of U^T U, [Z, pairs, H]."""
    arch = model.architecture
    matrix = np.asarray(model.weights["fitting"]["0"]["matrix"])
    upper = np.triu_indices(columns.shape[1])
    if len(upper[0]) >= matrix.shape[1]:
        return None
    matrix = matrix.reshape(len(matrix), columns.shape[-1], arch.axis, -1)
    square = np.einsum(
        "zfm,zga,zmah->zfgh", columns, columns[..., : arch.axis], matrix, optimize=True
    )
    off_diagonal = (upper[0] != upper[1])[:, None]
    return square[:, *upper] + off_diagonal * square[:, *upper[::-1]]


def node_energy(
    folded: Folded, kind: Any, species: Int[np.ndarray, " all"], edges: Edges
) -> Float[Array, " atoms"]:
    """Energy of each atom without that of the isolated atom, eV.

    Rows of `edges` are atoms of one species, `kind`; their neighbours are any of `species`.
    """
    arch = folded.architecture
    moment = _moment(folded, kind, species, edges)
    weights = one_of(folded.fitting, kind)
    if folded.first is None:
        seen = layers.contracted(moment @ folded.columns[kind], arch.axis)
        return network(arch.fitting, weights, seen)[:, 0]
    square = jnp.einsum("ndf,ndg->nfg", moment, moment)
    upper = np.triu_indices(square.shape[-1])
    hidden = square[:, *upper] @ folded.first[kind] + weights["0"]["bias"]
    hidden = activation(arch.fitting[0].activation)(hidden)
    hidden = hidden * weights["0"].get("step", 1.0)
    rest = {str(int(n) - 1): w for n, w in weights.items() if n != "0"}
    return network(arch.fitting[1:], rest, hidden)[:, 0]


def _moment(folded: Folded, kind: Any, species: np.ndarray, edges: Edges):
    """U / places, [atoms, 4, columns]."""
    arch, n_species = folded.architecture, len(folded.architecture.atomic_numbers)
    neighbour, n_atoms = jnp.asarray(species)[edges.sender], len(edges.sender)
    distance, row = environment.rows(arch, edges.displacement)
    mean, deviation = folded.mean[kind], folded.deviation[kind]
    row = (row - _of_neighbour(mean, neighbour)) / _of_neighbour(deviation, neighbour)
    seen = environment.kept(arch, edges, jnp.asarray(species), distance)
    for pairs, sees in ((arch.unseen, False), (arch.zeroed, True)):
        if pairs:
            is_pair = jnp.asarray(arch.table(pairs))[kind]
            out = _of_neighbour(is_pair[:, None], neighbour)
            row = jnp.where(out, 0.0, row)
            seen = seen & (sees | ~out[..., 0])
    if folded.table is not None:
        function = folded.table(distance, kind * n_species + neighbour)
    else:
        function = _exact(folded, row, kind, neighbour)
    is_species = neighbour[..., None] == jnp.arange(n_species)
    given = jnp.concatenate([function, is_species.astype(row.dtype)], axis=-1)
    row = jnp.concatenate([row, jnp.ones_like(row[..., :1])], axis=-1)
    total = edges.outer_total(given, jnp.where(seen[..., None], row, 0.0), n_atoms)
    moment, taken = total[:, :4], total[:, 4, -n_species:]
    empty = jnp.asarray(arch.selection, row.dtype) - taken
    moment = moment.at[..., -n_species:].add(
        jnp.swapaxes(empty[..., None] * (-mean / deviation), 1, 2)
    )
    if folded.columns.shape[1] > moment.shape[-1]:
        same = jnp.broadcast_to(jnp.eye(4, dtype=row.dtype), (n_atoms, 4, 4))
        moment = jnp.concatenate([moment, same], axis=-1)
    return moment / arch.places


def _of_neighbour(table, neighbour):
    """The entry of each edge's neighbour, of [Z, …]."""
    found = table[0]
    for t in range(1, len(table)):
        found = jnp.where((neighbour == t)[..., None], table[t], found)
    return found


def _exact(folded: Folded, row, kind, neighbour):
    """The embedding networks less their output at the cutoff."""
    arch, n_species = folded.architecture, len(folded.architecture.atomic_numbers)
    centres = jnp.broadcast_to(kind, neighbour.shape)
    value = layers.embedding(arch, folded.embedding, row[..., :1], centres, neighbour)
    width = value.shape[-1]
    edge = folded.columns[kind, width : width + n_species]
    return value - _of_neighbour(edge, neighbour)


def prepare(model: Parameters, request: Request) -> tuple[Folded, Evaluate]:
    """A model folded for the atoms of a request, and the function that evaluates it."""
    species, arch = request.species, model.architecture
    folded = fold(model, request.dtype, request.tolerance)
    blocks = blocks_of(species, BLOCK)
    speaks = ~np.isin(arch.atomic_numbers, arch.silent)[blocks.species]
    counted = (blocks.used * speaks[:, None]).astype(request.dtype)

    def of_block(folded, kind, counted, displacement, sender):
        def total(displacement):
            node = node_energy(folded, kind, species, Edges(displacement, sender))
            return jnp.sum(counted * node), counted * node

        return jax.grad(total, has_aux=True)(displacement)

    def evaluate(folded, edges):
        own = edges.displacement[blocks.atom], edges.sender[blocks.atom]
        gradient, node = jax.lax.map(
            lambda block: of_block(folded, *block),
            (jnp.asarray(blocks.species), jnp.asarray(counted), *own),
        )
        gradient = gradient.reshape(-1, *gradient.shape[2:])[blocks.place]
        return node.reshape(-1)[blocks.place], gradient, folded.energies[species]

    return folded, evaluate


def _worth(model: Parameters) -> str | None:
    if jax.default_backend() != "cpu":
        return None
    return "faster than the plain one on a CPU"


COMPILED = Kernel(
    "compiled", tabulates=True, prepare=prepare, why_not_for=reason_not_to, worth=_worth
)
"""Tabulated and folded for the composition: the one for CPUs."""
