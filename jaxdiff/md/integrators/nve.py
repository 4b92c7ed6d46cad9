"""Velocity Verlet: constant energy, no thermostat."""

from jaxdiff.md.integrators.record import Integrator
from jaxdiff.md.kinetics import drift, kick, kinetic_energy


def before_force(given, motion, own, force, strain_gradient):
    """Half a kick, and the drift."""
    timestep = given.bath.timestep
    return drift(kick(motion, force, timestep / 2), given.mass, timestep), own


def after_force(given, motion, own, force):
    """The other half of the kick."""
    return kick(motion, force, given.bath.timestep / 2), own


def conserved(given, motion, own, potential_energy):
    """The total energy U + K, eV."""
    return potential_energy + kinetic_energy(motion.momentum, given.mass)


NVE = Integrator(
    name="nve",
    title="none (NVE)",
    init=lambda motion: (),
    before_force=before_force,
    after_force=after_force,
    conserved=conserved,
)
