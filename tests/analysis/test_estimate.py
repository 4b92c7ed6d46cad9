import math

import pytest

from jaxdiff.analysis.estimate import Estimate, normal, unknown


@pytest.mark.parametrize(
    ("value", "error", "unit", "text"),
    [
        (0.22134, 0.0082, "eV", "0.221 ± 0.016 eV"),
        (-5.04, 0.21, "ln(cm^2/s)", "-5.04 ± 0.41 ln(cm^2/s)"),
        (300.04, 12.0, "K", "300 ± 24 K"),
        (1.05, 0.03, "1", "1.050 ± 0.059"),
        (3.1e-6, 1e-7, "cm^2/s", "3.10e-06 ± 2.0e-07 cm^2/s"),
    ],
)
def test_printed_digits_follow_the_interval(value, error, unit, text):
    assert str(normal(value, error, 10, unit)) == text


def test_an_unknown_value_says_so():
    assert str(unknown("eV")) == "nan eV, error unknown"
    assert math.isnan(unknown("eV").value)


def test_scaling_keeps_the_number_of_observations():
    twice = Estimate(1.0, 0.1, (0.8, 1.3), 7, "a").scaled(2.0, "b")
    assert twice == Estimate(2.0, 0.2, (1.6, 2.6), 7, "b")
