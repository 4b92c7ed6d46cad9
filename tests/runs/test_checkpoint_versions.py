"""Checkpoints that earlier versions wrote."""

import shutil
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
from ionic_run import potentials

from jaxdiff import md, units
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.runs import checkpoint

VERSION_1 = Path(__file__).parents[1] / "data" / "checkpoint-v1.h5"
"""Two replicas of nine atoms on springs (`tests/md/conftest.py`), in the middle of a run:
20 steps of CSVR, then 20 of a Nosé–Hoover chain; and where 10 steps more took them."""


def test_version_1_is_read_and_goes_on(tmp_path):
    """It had one chain and one heat for all thermostats, among the positions."""
    shutil.copy(VERSION_1, tmp_path / checkpoint.LATEST)
    system = rock_salt_interstitial(1)
    kelvin = np.array([600.0, 900.0])
    plan = md.Plan(0.2, 1.8, 5, 10, integrators=("nve", "nose-hoover", "csvr"))
    template = md.initialize(
        system, kelvin, cutoff=plan.cutoff, skin=plan.skin, seed=11, capacity=8,
        integrators=plan.integrators,
    )  # fmt: skip
    found = checkpoint.load(tmp_path, template)
    own, state = found.state.integrators, found.state
    with h5py.File(VERSION_1) as file:
        motion = file["state/motion"]
        for name in ("chain_position", "chain_momentum"):
            column = getattr(own["nose-hoover"], name)
            assert np.abs(column).min() > 0
            np.testing.assert_array_equal(column, motion[name])
        np.testing.assert_array_equal(own["csvr"].heat, motion["heat"])
        hottest = file["state/max_temperature"]
        np.testing.assert_array_equal(state.info.max_temperature, hottest)
    conditions = md.conditions(
        system,
        kelvin,
        timestep=units.FEMTOSECOND,
        damping_time=50 * units.FEMTOSECOND,
        friction=10 / units.PICOSECOND,
        seed=11,
    )
    params = {"site": jnp.asarray(system.position), "stiffness": jnp.asarray(3.0)}
    run_chunk = md.make_chunk(plan, potentials.einstein)
    *_, last = md.advance(
        run_chunk, plan, params, conditions, state, n_steps=10, integrator="nose-hoover"
    )
    position = last.state.motion.position
    np.testing.assert_allclose(position, found.counters["position"], rtol=0, atol=1e-12)
    assert np.abs(position - state.motion.position).max() > 1e-2
