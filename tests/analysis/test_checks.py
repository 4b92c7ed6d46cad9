"""Checks fail as often by chance as they say."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxdiff.analysis import checks


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
