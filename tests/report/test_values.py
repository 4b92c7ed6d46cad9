"""Numbers as reports show them."""

import math

import pytest

from jaxdiff.analysis.estimate import Estimate
from jaxdiff.io.shown import counted
from jaxdiff.report.values import filled, rounded, scatter, shown, shown_if_known

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("value", "interval", "n", "text"),
    [
        (1.5, (1.0, 2.0), 9, "1.50 [1.00, 2.00]"),
        (1.5, (0.0, 2.0), 9, "1.50 [0, 2.00]"),
        (1.5, (1.0, INF), 9, "1.50 [1.00, ∞]"),
        (0.0, (0.0, 2.0), 0, "< 2.00"),  # no hop
        (0.5, (0.0, 2.0), 0.3, "< 2.00"),  # worth less than one
        (INF, (3.0, INF), 0, "> 3.00"),  # a residence without its end
        (NAN, (3.0, INF), 0, "> 3.00"),
        (NAN, (NAN, NAN), 0, "–"),
        (NAN, (0.0, INF), 0, "–"),
        (0.5, (0.0, INF), 0.3, "–"),
        (1.5, (0.0, INF), 9, "1.50 (error not known)"),
        (1.5, (-INF, INF), 9, "1.50 (error not known)"),
        (1.5, (NAN, NAN), 9, "1.50 (error not known)"),
        (1.67, (1.67, 1.67), 9, "1.67 (error not known)"),
    ],
)
def test_an_interval_is_shown_only_where_it_says_something(value, interval, n, text):
    estimate = Estimate(value, NAN, interval, n, "1")
    assert shown(estimate, "{:.2f}") == text
    expected = "–" if "not known" in text else text
    assert shown_if_known(estimate, "{:.2f}") == expected


def test_large_numbers_are_written_out():
    estimate = Estimate(1234.0, 1.0, (0.98, 15600.0), 9, "1/ns")
    assert shown(estimate) == "1230 [0.980, 15600]"
    assert shown(estimate.scaled(1e-5, "1/ns")) == "0.0123 [9.80e-06, 0.156]"
    vast = Estimate(2.5e-7, 1.0, (1e-20, 1e8), 9, "S/cm")
    assert shown(vast) == "unknown by 28 orders of magnitude"
    assert (rounded(33804.0), rounded(7.2)) == ("34000", "7")
    assert (counted(1, "hop"), counted(0, "hop")) == ("1 hop", "0 hops")


def test_columns_that_say_nothing_are_left_out():
    table = filled(("a", "b", "c"), [("1", "–", "–"), ("2", "–", "3")])
    assert list(table.header) == ["a", "c"]
    assert [list(row) for row in table.rows] == [["1", "–"], ["2", "3"]]
    assert list(filled(("a", "b"), []).header) == ["a", "b"]


def test_over_dispersion_is_explained():
    assert "1.44 times what" in scatter(1.44)
    assert "√1.44 = 1.20" in scatter(1.44)
    assert "not widened" in scatter(1.0)
