r"""Nosé–Hoover chain (doi:10.1063/1.463940), as LAMMPS's `fix nvt` does by default.

Three links, one substep; chain masses $Q_1 = g k_B T \tau^2$, $Q_j = k_B T \tau^2$ with
$g = 3N - 3$. (jax-md's own `nvt_nose_hoover` counts 3N, which holds the temperature at
(3N / (3N - 3)) times the target; the chain itself is jax-md's.)
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxdiff.md.integrators import nve
from jaxdiff.md.integrators.record import Given, Integrator
from jaxdiff.md.kinetics import Motion, degrees_of_freedom, kinetic_energy

# jax-md computes while it is imported, in ways that strict promotion forbids
with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
    from jax_md import simulate

CHAIN_LENGTH = 3


@flax.struct.dataclass
class Chain:
    """Positions and momenta of the links."""

    chain_position: Float[Any, "*replicas links"]
    chain_momentum: Float[Any, "*replicas links"]


def init(motion):
    """A chain at rest."""
    return Chain(jnp.zeros(CHAIN_LENGTH), jnp.zeros(CHAIN_LENGTH))


def before_force(given, motion, own, force, strain_gradient):
    """Half a step of the chain, half a kick, and the drift."""
    motion, own = _half_step(given, motion, own)
    return nve.before_force(given, motion, own, force, strain_gradient)


def after_force(given, motion, own, force):
    """The other half of the kick, and of the chain's step."""
    return _half_step(given, *nve.after_force(given, motion, own, force))


def conserved(given, motion, own, potential_energy):
    r"""The energy with that of the chain, eV.

    $$ H' = U + K + \sum_j \frac{p_j^2}{2 Q_j} + g k_B T\, \xi_1 + k_B T \sum_{j>1} \xi_j $$
    """
    _, chain = _chain(given, motion, own)
    weight = jnp.ones_like(chain.mass).at[0].set(chain.degrees_of_freedom)
    bath_energy = jnp.sum(
        chain.momentum**2 / (2 * chain.mass) + given.kt * weight * chain.position
    )
    return nve.conserved(given, motion, own, potential_energy) + bath_energy


def _half_step(given: Given, motion: Motion, own: Chain) -> tuple[Motion, Chain]:
    """jax-md's chain for half a time step, on 3N - 3 degrees of freedom.

    Its constants are float32: powers of two, harmless once promoted to the state's dtype,
    which is why the time step goes in as an array. Its substeps (`chain_steps`,
    `sy_steps` > 1) round the time step itself to float32; one substep does not.
    """
    half_step, chain = _chain(given, motion, own)
    with jax.numpy_dtype_promotion("standard"):
        momentum, chain = half_step(motion.momentum, chain, given.kt)
    return replace(motion, momentum=momentum), Chain(chain.position, chain.momentum)


def _chain(given: Given, motion: Motion, own: Chain) -> tuple[Callable, Any]:
    """jax-md's half step, and its chain with our positions and momenta."""
    dof = degrees_of_freedom(given.mass.shape[0])
    kinetic = kinetic_energy(motion.momentum, given.mass)
    with jax.numpy_dtype_promotion("standard"):
        functions = simulate.nose_hoover_chain(
            given.bath.timestep, CHAIN_LENGTH, 1, 1, given.bath.damping_time
        )
        chain = functions.initialize(dof, kinetic, given.kt)
    return functions.half_step, chain.set(
        position=own.chain_position, momentum=own.chain_momentum
    )


NOSE_HOOVER = Integrator(
    name="nose-hoover",
    title="Nosé–Hoover chain",
    init=init,
    before_force=before_force,
    after_force=after_force,
    conserved=conserved,
)
