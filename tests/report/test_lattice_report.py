"""The report of a study of the lattice, from volumes with a known a(T)."""

import numpy as np
import pytest

from jaxdiff.analysis import LatticeStudy, StaticLattice, study_lattice
from jaxdiff.report import write_lattice_report

KB, GPA = 8.617333262e-5, 6.241509074e-3  # eV/K, eV/Å^3


def study(temperatures=(300.0, 400.0, 500.0, 600.0), drift=0.0, with_pressure=True):
    """27 cells, B = 60 GPa, α = 3e-5/K; every frame independent."""
    rng = np.random.default_rng(0)
    temperature = np.repeat(temperatures, 4)
    volume = 27 * (4.07 * np.exp(3e-5 * temperature[:, None])) ** 3
    spread = (KB * temperature[:, None] * volume / (60 * GPA)) ** 0.5
    departure = spread * rng.normal(size=(len(temperature), 400))
    return study_lattice(
        volume + departure + drift * spread * np.linspace(-1, 1, 400),
        np.arange(400) * 0.1,
        temperature,
        n_cells=27,
        pressure=-60 * GPA * departure / volume if with_pressure else None,
    )


def test_the_report_has_numbers_curve_and_checks(tmp_path):
    result, folder = study(), tmp_path / "new"
    static = StaticLattice(4.0736, 64.6, -4064.7, 1e-5)
    assert write_lattice_report(result, folder, static=static) == folder / "lattice.html"
    assert LatticeStudy.from_json((folder / "lattice.json").read_text()) == result
    text = (folder / "lattice.md").read_text()
    assert text.index("linear thermal expansion") < text.index("## Checks")
    assert text.count("| 300 |") == 3  # values, sampling, and pressures
    assert "a = 4.0736 Å, B = 64.6 GPa" in text
    assert "A parabola through a(T)" in text
    assert "from 275 to 625 K" in text
    assert "**failed**" not in text
    assert (folder / "figures/lattice.png").stat().st_size > 20_000
    page = (folder / "lattice.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    # a of the last temperature, from the table: 4.07 exp(0.018) within 1 mÅ
    row = next(line for line in text.splitlines() if line.startswith("| 600 |"))
    value = float(row.split("|")[2].split("±")[0])
    assert value == pytest.approx(4.07 * np.exp(0.018), abs=1e-3)


def test_what_is_wrong_or_missing_is_said(tmp_path):
    write_lattice_report(study((300.0, 500.0), 3.0, with_pressure=False), tmp_path)
    text = (tmp_path / "lattice.md").read_text()
    assert "(**volume is steady**)" in text
    assert "equilibrate longer" in text
    assert "A straight line through a(T)" in text
    assert "Cov(V, P)/kT" not in text
    assert "At rest" not in text
    assert "nan" not in text
