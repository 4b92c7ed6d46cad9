"""The table of integrators, and programs of some of them."""

import dataclasses

import jax
import numpy as np
import potentials
import pytest

from jaxdiff import md
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.md.integrators import TABLE, names, title


def test_names_and_titles():
    assert names(varies_cell=False) == ("nve", "nose-hoover", "langevin", "csvr")
    assert names(varies_cell=True) == ("cell-rescaling",)
    assert all(record.name == name for name, record in TABLE.items())
    assert title("npt") == title("cell-rescaling")  # as older series have it
    assert title("brownian") == "brownian"


@pytest.mark.parametrize("given", [(), ("csvr", "nve"), ("nve", "brownian")])
def test_a_plan_of_integrators_that_there_are_not(given):
    with pytest.raises(ValueError, match="give nve first and then any of nve, nose-hoover"):
        md.Plan(4.0, 0.4, 5, 10, integrators=given)


def test_a_program_of_two_moves_atoms_as_one_of_all(lab):
    """To the last bit; and it says so where it is asked for a third, or given others."""
    every = lab(potentials.einstein, cutoff=2.0)
    plan = dataclasses.replace(every.plan, integrators=("nve", "langevin"))
    run_chunk = md.make_chunk(plan, potentials.einstein)
    with pytest.raises(ValueError, match="no integrator 'csvr'; it was made for nve, lang"):
        every.run(5, "csvr", plan=plan, run_chunk=run_chunk)
    with pytest.raises(ValueError, match="give `initialize` the integrators of the plan"):
        every.run(5, "langevin", plan=plan, run_chunk=run_chunk)
    own = {name: every.state.integrators[name] for name in plan.integrators}
    state = dataclasses.replace(every.state, integrators=own)
    few = every.run(20, "langevin", state, plan=plan, run_chunk=run_chunk)[-1].state
    all_of_them = every.run(20, "langevin")[-1].state
    for name in ("motion", "energy", "force", "info"):
        one, other = (jax.tree.leaves(getattr(x, name)) for x in (few, all_of_them))
        for x, y in zip(one, other, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=name)


def test_own_states_begin_at_rest():
    system = rock_salt_interstitial(1)
    options = {"cutoff": 0.2, "skin": 1.8, "seed": 1}
    state = md.initialize(system, np.array([300.0, 600.0]), **options)
    assert set(state.integrators) == set(TABLE)
    assert state.integrators["nose-hoover"].chain_position.shape == (2, 3)
    assert state.integrators["csvr"].heat.shape == (2,)
    chosen = md.initialize(system, np.array([300.0]), **options, integrators=("nve",))
    assert chosen.integrators == {"nve": ()}
