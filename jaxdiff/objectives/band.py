"""Paths between minima: nudged elastic bands with a climbing image.

The tangents are those of Henkelman and Jónsson (doi:10.1063/1.1323224), the climbing image
that of Henkelman, Uberuaga and Jónsson (doi:10.1063/1.1329672), the first path that of
Smidstrup et al. (IDPP, doi:10.1063/1.4878664). All functions work under vmap: many bands.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.objectives.relax import descend, largest_norm
from jaxdiff.objectives.surface import EnergyAndForce

SPRING = 5.0
"""Constant of the springs between images, eV/Å^2; it decides their spacing alone."""

Images = Callable[
    [Float[Array, "images atoms 3"]],
    tuple[Float[Array, " images"], Float[Array, "images atoms 3"]],
]
"""Energies and forces of all inner images of a band."""


@struct.dataclass
class Band:
    """A path, its ends included; a leading axis of paths under vmap.

    - `position` [images, atoms, 3], Å, unwrapped: nothing jumps by a lattice vector.
    - `energy` [images], eV; `force` [images, atoms, 3], eV/Å, true forces.
    - `largest_force`: of the band's forces on its images, eV/Å.
    - `steps`: force calls per image; `converged`: as asked for.
    """

    position: Float[Array, "*batch images atoms 3"]
    energy: Float[Array, "*batch images"]
    force: Float[Array, "*batch images atoms 3"]
    largest_force: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]
    converged: Bool[Array, "*batch"]


def tangents(
    position: Float[Array, "images atoms 3"], energy: Float[Array, " images"]
) -> Float[Array, "inner atoms 3"]:
    """Unit tangents at the inner images, towards the neighbour that lies higher."""
    ahead, behind = position[2:] - position[1:-1], position[1:-1] - position[:-2]
    up = (energy[2:] - energy[1:-1])[:, None, None]
    down = (energy[:-2] - energy[1:-1])[:, None, None]
    larger = jnp.maximum(jnp.abs(up), jnp.abs(down))
    smaller = jnp.minimum(jnp.abs(up), jnp.abs(down))
    is_higher_ahead = up > down
    mixed = jnp.where(
        is_higher_ahead,
        ahead * larger + behind * smaller,
        ahead * smaller + behind * larger,
    )
    tangent = jnp.where((up > 0) & (down < 0), ahead, mixed)
    tangent = jnp.where((up < 0) & (down > 0), behind, tangent)
    square = jnp.sum(tangent**2, axis=(1, 2), keepdims=True)
    return tangent / jnp.sqrt(jnp.maximum(square, 1e-24))


def band_force(
    position: Float[Array, "images atoms 3"],
    energy: Float[Array, " images"],
    force: Float[Array, "inner atoms 3"],
    climbing: Int[Array, ""] | int = -1,
    spring: float = SPRING,
) -> Float[Array, "inner atoms 3"]:
    """What moves the inner images: springs along the path, forces across it.

    The image `climbing`, counted from 0 among the inner ones, feels no spring, and the
    force along the path the other way round; -1: none does.
    """
    tangent = tangents(position, energy)
    ahead, behind = position[2:] - position[1:-1], position[1:-1] - position[:-2]

    def length(vector):
        return jnp.sqrt(jnp.sum(vector**2, axis=(1, 2), keepdims=True))

    along = jnp.sum(force * tangent, axis=(1, 2), keepdims=True)
    pull = spring * (length(ahead) - length(behind))
    climbs = (jnp.arange(len(force)) == climbing)[:, None, None]
    return force + jnp.where(climbs, -2 * along, pull - along) * tangent


def relax_band(
    images: Images,
    position: Float[Array, "images atoms 3"],
    ends: tuple[Float[Array, ""], Float[Array, ""]],
    *,
    largest_force: Float[Array, ""] | float,
    max_steps: Int[Array, ""] | int,
    climbing: Int[Array, ""] | int = -1,
    spring: float = SPRING,
) -> tuple[Float[Array, "images atoms 3"], Int[Array, ""]]:
    """Let the inner images follow their forces; positions and force calls per image.

    `ends` are the energies of the two ends, which stay.
    """
    first, last = position[:1], position[-1:]

    def force(inner):
        energy, true = images(inner)
        whole = jnp.concatenate([first, inner, last])
        energies = jnp.concatenate([ends[0][None], energy, ends[1][None]])
        return band_force(whole, energies, true, climbing, spring)

    inner, steps = descend(force, position[1:-1], largest_force, max_steps)
    return jnp.concatenate([first, inner, last]), steps


def straight(
    first: Float[Array, "atoms 3"], last: Float[Array, "atoms 3"], n_inner: int
) -> Float[Array, "images atoms 3"]:
    """Equal steps from one end to the other, both included."""
    part = jnp.linspace(0.0, 1.0, n_inner + 2)[:, None, None]
    return first + part * (last - first)


def idpp(
    first: Float[Array, "atoms 3"],
    last: Float[Array, "atoms 3"],
    n_inner: int,
    cell: Float[Array, "3 3"],
    *,
    largest_force: float = 0.1,
    max_steps: int = 200,
) -> Float[Array, "images atoms 3"]:
    """A first path whose distances between atoms change as evenly as they can.

    Distances are those of nearest images, close ones weigh most (by their fourth power).
    """
    inverse = jnp.linalg.inv(cell)
    off = ~jnp.eye(len(first), dtype=bool)

    def distance(position):
        vector = position[:, None] - position[None]
        vector = vector - jnp.round(vector @ inverse) @ cell
        square = jnp.sum(vector**2, axis=-1)
        return jnp.sqrt(jnp.where(off, square, 1.0))

    part = jnp.linspace(0.0, 1.0, n_inner + 2)[1:-1, None, None]
    wanted = distance(first) + part * (distance(last) - distance(first))

    def mismatch(position, target):
        found = distance(position)
        return 0.5 * jnp.sum(jnp.where(off, (target - found) ** 2 / found**4, 0.0))

    def images(inner):
        value, gradient = jax.vmap(jax.value_and_grad(mismatch))(inner, wanted)
        return value, -gradient

    path = straight(first, last, n_inner)
    nothing = jnp.zeros(())
    return relax_band(
        images,
        path,
        (nothing, nothing),
        largest_force=largest_force,
        max_steps=max_steps,
        spring=1.0,
    )[0]


def find_band(
    energy_and_force: EnergyAndForce,
    path: Float[Array, "images atoms 3"],
    *,
    largest_force: Float[Array, ""] | float = 0.02,
    loose_force: float = 0.2,
    max_steps: Int[Array, ""] | int = 500,
    spring: float = SPRING,
) -> Band:
    """The minimum-energy path near `path`, whose ends are taken as they are.

    First all images relax to `loose_force`; the highest of them then climbs, until the
    forces of the band are below `largest_force`.
    """
    images = jax.jit(jax.vmap(energy_and_force))  # traced once

    def relax(carry, stage):
        position, energy, _ = carry
        limit, climbs, n_most = stage
        climbing = jnp.where(climbs, jnp.argmax(energy[1:-1]), -1)
        position, n_steps = relax_band(
            images,
            position,
            (energy[0], energy[-1]),
            largest_force=limit,
            max_steps=n_most,
            climbing=climbing,
            spring=spring,
        )
        return (position, *images(position)), (climbing, n_steps + 1)

    # a scan, so that the model is compiled once for all; the first stage takes no step
    limits = jnp.array([0.0, loose_force, largest_force])
    n_most = jnp.array([0, max_steps, max_steps])
    nothing = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(images, path)
    )
    stages = limits, jnp.array([False, False, True]), n_most
    (position, energy, force), found = jax.lax.scan(relax, (path, *nothing), stages)
    climbing, n_steps = found
    pull = band_force(position, energy, force[1:-1], climbing[-1], spring)
    left = largest_norm(pull)
    return Band(
        position=position,
        energy=energy,
        force=force,
        largest_force=left,
        steps=jnp.sum(n_steps),
        converged=left <= largest_force,
    )
