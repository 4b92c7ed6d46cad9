r"""Derivatives through a trajectory: an experiment, because they do not reach far.

Positions after n steps are a differentiable function of the parameters. But neighbouring
trajectories part as $e^{\lambda t}$, and so does the derivative of each: after a few times
$1/\lambda$ its spread over starting states hides the mean that is wanted
(doi:10.48550/arXiv.2111.05803). A number of hops has no such derivative at all: it is a
step function of the path. For rates use `jaxdiff.objectives.transition`;
`simulate/trajectory_gradient.py` measures the horizon.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax_md import simulate
from jaxtyping import Array, Float

from jaxdiff.objectives.path_score import Energy


def trajectory(
    energy: Energy,
    params: Any,
    position: Float[Array, "atoms 3"],
    velocity: Float[Array, "atoms 3"],
    mass: Float[Array, " atoms"],
    *,
    timestep: float,
    n_steps: int,
) -> Float[Array, "steps atoms 3"]:
    """Positions, Å, after each step of velocity Verlet, unwrapped; internal units, NVE.

    In reverse mode the state of each step is kept, and forces are found again on the way
    back. JAX-MD rounds the time step to float32.
    """

    def force(x):
        return -jax.grad(energy, argnums=1)(params, x)

    return _verlet(force, position, velocity, mass, timestep, n_steps)


@partial(jax.jit, static_argnames=("energy", "n_steps"))
def trajectory_slope(
    energy: Energy,
    params: Any,
    direction: Any,
    position: Float[Array, "atoms 3"],
    velocity: Float[Array, "atoms 3"],
    mass: Float[Array, " atoms"],
    *,
    timestep: Float[Array, ""] | float,
    n_steps: int,
) -> tuple[Float[Array, "steps atoms 3"], Float[Array, "steps atoms 3"]]:
    """`trajectory` and its derivative along a direction of the parameters (as params).

    The derivative obeys Newton's equation, too, with that of the force: one pass gives it
    for all steps.
    """
    n = len(position)

    def slope_of_energy(x, dx):
        over_params, gradient = jax.grad(energy, argnums=(0, 1))(params, x)
        products = jax.tree.map(jnp.vdot, over_params, direction)
        return sum(jax.tree.leaves(products), jnp.vdot(gradient, dx)), gradient

    def force(both):
        slope, gradient = jax.grad(slope_of_energy, has_aux=True)(both[:n], both[n:])
        return -jnp.concatenate([gradient, slope])

    zero = jnp.zeros_like(position)
    positions, velocities = (jnp.concatenate([x, zero]) for x in (position, velocity))
    found = _verlet(force, positions, velocities, jnp.tile(mass, 2), timestep, n_steps)
    return found[:, :n], found[:, n:]


def _verlet(force, position, velocity, mass, timestep, n_steps):
    """Positions after each step."""
    begin, advance = simulate.nve(force, lambda x, dx: x + dx, timestep)
    momentum = velocity * mass[:, None]
    start = begin(jax.random.key(0), position, 0.0, mass=mass, momenta=momentum)

    @jax.checkpoint
    def step(state, _):
        state = advance(state)
        return state, state.position

    return jax.lax.scan(step, start, length=n_steps)[1]
