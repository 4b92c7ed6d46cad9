"""Stochastic cell rescaling (doi:10.1063/5.0020514), isotropic, with CSVR for the atoms."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from jaxdiff.md.integrators import csvr
from jaxdiff.md.integrators.record import CELL_NOISE, Integrator
from jaxdiff.md.kinetics import kick, pressure, velocity
from jaxdiff.neighbors import volume


def before_force(given, motion, own, force, strain_gradient):
    r"""Kick, rescaling of the cell, drift.

    $$ d\epsilon = -\frac{\beta_T}{\tau_p} (P_0 - P)\, dt
       + \sqrt{\frac{2 k_B T \beta_T}{V \tau_p}}\, dW, \qquad \epsilon = \ln V $$

    Positions are scaled about the origin, momenta inversely.
    """
    bath, mass = given.bath, given.mass
    motion = kick(motion, force, bath.timestep / 2)
    rate = bath.compressibility * bath.timestep / bath.pressure_time
    key = jax.random.fold_in(given.key, CELL_NOISE)
    noise = jax.random.normal(key, (), motion.momentum.dtype)
    strain = rate * (pressure(motion, strain_gradient, mass) - bath.pressure)
    strain = strain + jnp.sqrt(2 * given.kt * rate / volume(motion.cell)) * noise
    scale = jnp.exp(strain / 3)
    momentum = motion.momentum / scale
    position = scale * motion.position + bath.timestep * velocity(momentum, mass)
    cell = scale * motion.cell
    return replace(motion, position=position, momentum=momentum, cell=cell), own


def conserved(given, motion, own, potential_energy):
    """Not a number: no such quantity is kept here."""
    return jnp.full_like(potential_energy, jnp.nan)


CELL_RESCALING = Integrator(
    name="cell-rescaling",
    title="CSVR, with stochastic cell rescaling (doi:10.1063/5.0020514)",
    init=csvr.init,
    before_force=before_force,
    after_force=csvr.after_force,
    conserved=conserved,
    varies_cell=True,
)
