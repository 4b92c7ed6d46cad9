"""The end of an equilibration is seen where it is, and not before."""

import numpy as np
import pytest
from warming import TAU_PS, warming

from jaxdiff.analysis import checks
from jaxdiff.analysis.settling import FEWEST_ROWS, settling

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize(
    ("length", "least", "most"),
    [(2, 0, 0.03), (4, 0.1, 0.3), (8, 0.6, 0.85), (20, 0.98, 1)],
)
def test_as_many_seem_to_have_settled_as_is_said(length, least, most):
    assert least <= settling(*warming(length)).has_settled.mean() <= most


def test_a_steady_record_has_settled_at_once():
    found = settling(*warming(20, away=0.0))
    assert found.has_settled.mean() > 0.98
    assert np.median(found.settled_ps) < TAU_PS


def test_kinetic_or_potential_energy_alone_would_not_do():
    """The exchange between them crosses any mean at once."""
    time, kinetic, potential, n = warming(2)
    steady = np.full_like(potential, potential.mean())
    assert settling(time, kinetic, steady, n).has_settled.mean() > 0.3
    assert settling(time, kinetic, potential, n).has_settled.mean() < 0.03


def test_a_replica_is_judged_by_its_own_rows():
    time, kinetic, potential, n = warming(20, replicas=6)
    alone = settling(time, kinetic[2:3], potential[2:3], n)
    for column in (kinetic, potential):
        column[1, 30:] = np.nan  # held after 30 rows
        column[4, FEWEST_ROWS - 1 :] = np.nan
    found = settling(time, kinetic, potential, n)
    assert found.settled_ps[2] == alone.settled_ps[0]
    np.testing.assert_allclose(found.record_ps[[0, 1, 4]], [4.0, 0.6, 0.0])
    assert not found.has_settled[4]


@pytest.mark.parametrize(("length", "expected"), [(2, False), (4, False), (12, True)])
def test_the_check_fails_where_production_began_too_early(length, expected):
    for seed in range(20):
        found = settling(*warming(length, replicas=16, seed=seed))
        assert checks.check_settling(found).passed is expected


def test_nothing_is_said_of_runs_without_a_record():
    short = settling(*warming(0.5, replicas=2))
    assert checks.check_settling(None).passed is None
    assert checks.check_settling(short).passed is None
    assert "not recorded" in checks.check_settling(None).detail
