"""Ensembles with cheap potentials; implicit promotion of dtypes and ranks is an error."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import potentials
import pytest

from jaxdiff import md, units
from jaxdiff.lattice.lithium_fluoride import (
    LITHIUM_FLUORIDE_LATTICE,
    rock_salt_interstitial,
)
from jaxdiff.md.integrators import TABLE


@dataclasses.dataclass
class Lab:
    """Everything that a run needs."""

    plan: md.Plan
    run_chunk: Any
    params: Any
    conditions: md.Conditions
    state: md.EnsembleState

    def run(self, n_steps, thermostat, state=None, **changes):
        """The parts of a run from its start or from another state."""
        given = dataclasses.replace(self, **changes)
        return list(
            md.advance(
                given.run_chunk,
                given.plan,
                given.params,
                given.conditions,
                self.state if state is None else state,
                n_steps=n_steps,
                integrator=thermostat,
            )
        )


compiled = functools.cache(md.make_chunk)  # labs of the same shapes share a program


def make(
    potential=potentials.pairs,
    *,
    supercell=2,
    temperature=(600.0,),
    replica_id=None,
    timestep_fs=1.0,
    tdamp_fs=50.0,
    friction_per_ps=10.0,
    cutoff=potentials.CUTOFF,
    skin=0.4,
    steps_per_frame=5,
    frames_per_chunk=10,
    seed=11,
    capacity=None,
    close=None,
    observe=None,
    observer=None,
    stiffness=3.0,
    bulk_modulus=0.1,
    pressure=0.0,
    pressure_time_fs=50.0,
    compressibility=10.0,
    lattice_constant=LITHIUM_FLUORIDE_LATTICE,
    compression=0.0,
    devices=(),
    group_size=1,
    max_temperature=20_000.0,
    integrators=tuple(TABLE),
):
    """A lab; a program of few integrators is compiled in half the time."""
    system = rock_salt_interstitial(supercell, lattice_constant)
    charge = jnp.asarray(np.where(system.atomic_number == 3, 1.0, -1.0))
    params = {
        "charge": charge,
        "cutoff": jnp.asarray(cutoff),
        "site": jnp.asarray(system.position),
        "stiffness": jnp.asarray(stiffness),
        "volume": jnp.asarray(np.linalg.det(system.cell)),
        "bulk_modulus": jnp.asarray(bulk_modulus),
    }
    plan = md.Plan(cutoff, skin, steps_per_frame, frames_per_chunk, group_size, integrators)
    run_chunk = compiled(plan, potential, observe, devices)
    kelvin = np.asarray(temperature)
    conditions = md.conditions(
        system,
        kelvin,
        timestep=timestep_fs * units.FEMTOSECOND,
        damping_time=tdamp_fs * units.FEMTOSECOND,
        friction=friction_per_ps / units.PICOSECOND,
        seed=seed,
        replica_id=replica_id,
        max_temperature=max_temperature,
        pressure=pressure,
        pressure_time=pressure_time_fs * units.FEMTOSECOND,
        compressibility=compressibility,
    )
    state = md.initialize(
        system,
        kelvin,
        cutoff=cutoff,
        skin=skin,
        seed=seed,
        replica_id=replica_id,
        capacity=capacity,
        close=close,
        observer=observer,
        compression=compression,
        integrators=integrators,
    )
    state = md.evaluate(run_chunk, params, conditions, state)
    return Lab(plan, run_chunk, params, conditions, state)


@pytest.fixture(scope="session")
def lab():
    """The function that makes one."""
    return make


@pytest.fixture(scope="session")
def thermal(lab):
    """Nine ions in one narrow cell, thermalised at 600 K: a small N shows lost freedom."""
    ions = lab(
        supercell=1, temperature=[600.0] * 4, steps_per_frame=1, frames_per_chunk=500
    )
    return ions, md.restart(ions.run(500, "langevin")[-1].state)


@pytest.fixture(scope="session")
def free():
    """Makes eight replicas of nine free particles in an elastic cell: one program."""

    def particles(*, temperature, **options):
        return make(
            potentials.elastic, temperature=(temperature,) * 8, supercell=1, cutoff=0.2,
            skin=1.8, compression=0.6, capacity=24, frames_per_chunk=1000, **options,
        )  # fmt: skip

    return particles


@pytest.fixture(autouse=True)
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
