"""The temperatures of momenta and of positions beside each other."""

import pytest

from jaxdiff.analysis.series import load_series
from jaxdiff.analysis.study import summarize
from jaxdiff.report.document import Table
from jaxdiff.report.temperatures import temperatures

SHORT = {"temperatures": (300.0, 500.0), "replicas": 1, "duration_ps": 20.0}


@pytest.mark.parametrize(
    ("given", "positions"),
    [({}, ["306.0 ± 4.5", "510.0 ± 7.5"]), ({"seed": 1}, ["not recorded"] * 2)],
)
def test_both_are_in_the_report(write_series, given, positions):
    """A run of an earlier version has recorded those of the momenta alone."""
    study = summarize(load_series(write_series(provenance=given, **SHORT)))
    (table,) = (b for b in temperatures(study) if isinstance(b, Table))
    assert [row[0] for row in table.rows] == ["300", "500"]
    assert [row[2] for row in table.rows] == positions
    for row, kelvin in zip(table.rows, (300, 500), strict=True):
        assert abs(float(str(row[1]).split()[0]) - kelvin) < 10
    (check,) = (c for c in study.checks if c.name == "configurational temperature")
    assert check.passed is (None if given else True)


def test_a_trajectory_without_temperatures_has_no_table(write_series):
    folder = write_series(with_thermo=False, provenance={"seed": 1}, **SHORT)
    assert temperatures(summarize(load_series(folder))) == []
