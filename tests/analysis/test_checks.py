"""Checks fail as often by chance as they say."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from jaxdiff.analysis import checks
from jaxdiff.analysis.configurational import configurational

# a series of temperatures only
pytestmark = pytest.mark.usefixtures("unchecked")


def passed(trace):
    series = SimpleNamespace(
        temperature=np.full(len(trace), 600.0), kinetic_temperature=trace
    )
    return checks._temperature(series, 600.0).passed


@pytest.mark.parametrize("replicas", [1, 2, 8])
def test_a_right_temperature_fails_by_chance_as_seldom_as_is_said(replicas):
    """Of 5 to 40 blocks; with 3 standard errors of 5 blocks 4 % of runs would fail."""
    rng, n = np.random.default_rng(3), 6000
    failed = n - sum(passed(rng.normal(600.0, 120.0, (replicas, 50))) for _ in range(n))
    expected = checks.TEMPERATURE_CHANCE * n
    assert abs(failed - expected) < 4 * np.sqrt(expected)


def test_a_wrong_temperature_fails():
    rng = np.random.default_rng(4)
    trace = rng.normal(600.0, 30.0, (2, 280))
    assert passed(trace)
    assert not passed(trace + 15.0)


@pytest.mark.parametrize(("thermostat", "right"), [("langevin", 0.011), ("csvr", 0.0)])
def test_langevin_momenta_are_cold_by_the_time_step(thermostat, right):
    """1.1 % at 2.5 fs for the stiff toy of a referee: right for BAOAB, wrong for others."""
    rng = np.random.default_rng(5)
    provenance = {"thermostat": thermostat, "momentum_error": 0.011}
    for low in (0.0, 0.011):
        series = SimpleNamespace(
            temperature=np.full(4, 600.0),
            kinetic_temperature=rng.normal(600 * (1 - low), 10.0, (4, 400)),
            provenance=json.dumps(provenance),
        )
        error = checks._momentum_error(series)
        assert checks._temperature(series, 600.0, error).passed == (low == right)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"thermostat": "langevin"}'])
def test_runs_that_do_not_say_their_error_are_taken_at_their_word(text):
    assert checks._momentum_error(SimpleNamespace(provenance=text)) == 0


def recorded(*kelvin, error=5.0, timestep=0.01, replicas=2):
    """Positions at 500, 600 ... K."""
    return [
        {
            "temperature_kelvin": 500.0 + 100 * k,
            "replicas": replicas,
            "kelvin": value,
            "standard_error_kelvin": error,
            "timestep_error": timestep,
        }
        for k, value in enumerate(kelvin)
    ]


def read(*units):
    """As from the series of a run, or of a campaign of several units."""
    given = [{"configurational_temperature": unit} for unit in units]
    text = json.dumps(given if len(given) > 1 else given[0])
    return configurational(SimpleNamespace(provenance=text))


@pytest.mark.parametrize(
    ("kelvin", "right"),
    [
        ((505.0, 606.0), True),  # the 1 % of the time step
        ((518.0, 620.0), False),  # 2.6 and 2.8 standard errors: too hot together
        ((494.0, 617.0), True),  # 2.2 too cold and 2.2 too hot
        ((505.0, 622.0), False),  # 3.2 standard errors
        ((489.0, 606.0), False),  # cold by 3.2
    ],
)
def test_positions_as_hot_as_asked_for(kelvin, right):
    assert checks.check_configurational(read(recorded(*kelvin))).passed is right


def test_units_of_a_campaign_count_by_their_replicas():
    """600 K of one replica and 520 K of three: 540 K, ± √(9² + 9²)/4 K."""
    one, three = (
        recorded(600.0, error=9.0, replicas=1),
        recorded(520.0, error=3.0, replicas=3),
    )
    (row,) = read(one, three)
    assert row.seen.value == pytest.approx(540.0)
    assert row.seen.standard_error == pytest.approx(np.sqrt(9.0**2 + 9.0**2) / 4)
    assert row.seen.n_effective == 4
    assert row.expected == pytest.approx(505.0)
    assert checks.check_configurational((row,)).passed is False


def test_a_small_deviation_is_allowed_however_well_it_is_known():
    for kelvin, right in ((507.0, True), (508.0, False)):
        found = checks.check_configurational(read(recorded(kelvin, error=0.1)))
        assert found.passed is right


@pytest.mark.parametrize("lost", [{"kelvin": float("nan")}, {"kelvin": None}])
def test_positions_that_were_not_recorded_are_no_failure(lost):
    """As of an earlier version, of a trajectory, or of forces without curvature."""
    before = configurational(SimpleNamespace(provenance="written by hand"))
    for rows in (read([row | lost for row in recorded(505.0)]), read([]), before):
        assert checks.check_configurational(rows).passed is None


@pytest.mark.parametrize(
    ("meV", "replicas", "n", "right"),
    [
        (0.0, 4, 50, None),  # 1 ps with the noise of 65 atoms: cannot be told from 20
        (0.0, 4, 2000, True),
        (30.0, 4, 2000, False),
        (30.0, 1, 2000, False),
        (0.0, 1, 2000, True),
    ],
)
def test_a_drift_fails_only_where_the_run_can_tell(meV, replicas, n, right):
    rng, time = np.random.default_rng(6), 0.02 * np.arange(n)
    outcomes = []
    for _ in range(200):
        energy = rng.normal(0, 1.5e-3, (replicas, n)) + meV * 65e-6 * time
        series = SimpleNamespace(
            temperature=np.full(replicas, 600.0),
            conserved_energy=energy,
            time_ps=time,
            n_mobile=33,
            n_anion=32,
        )
        outcomes.append(checks._drift(series).passed)
    if right is None:
        assert outcomes.count(False) < 0.12 * len(outcomes)  # of 4 replicas by chance
        assert outcomes.count(None) > outcomes.count(False)
    else:
        assert outcomes.count(right) == len(outcomes)
