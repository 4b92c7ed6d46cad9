"""The report of a study of the lattice: HTML, Markdown, JSON and a figure."""

import math
from pathlib import Path

from jaxdiff.analysis.blocks import BLOCK_TIMES
from jaxdiff.analysis.equation_of_state import StaticLattice
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.lattice import MARGIN_KELVIN, LatticePoint, LatticeStudy
from jaxdiff.io import durable
from jaxdiff.report.document import Block, Document, Heading, Picture, Table, Text
from jaxdiff.report.figures import bulk_modulus
from jaxdiff.report.figures.lattice import lattice_with_residual
from jaxdiff.report.sections import checks
from jaxdiff.report.values import filled, p_value
from jaxdiff.report.verdict import distrust, of_checks


def write_lattice_report(
    result: LatticeStudy, directory: str | Path, *, static: StaticLattice | None = None
) -> Path:
    """Write lattice.html, .md and .json and the figures; the path of the first.

    - `static`: the crystal at rest, to compare with; it does not enter lattice.json.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    durable.write_text(directory / "lattice.json", result.to_json())
    return as_document(result, static).write(directory, "lattice")


def as_document(result: LatticeStudy, static: StaticLattice | None) -> Document:
    """The report, verdict first."""
    blocks: list[Block] = [
        *_verdict(result),
        Picture(
            "lattice",
            "Lattice constant with the fitted curve; below, what the curve leaves.",
            lattice_with_residual(result, static),
        ),
        Picture("modulus", "Bulk modulus.", bulk_modulus(result, static)),
        *checks(result.checks),
        Heading("By temperature"),
        *_by_temperature(result),
        *_pressures(result),
        *_at_rest(result, static),
        Heading("Methods"),
        Text(_how(result)),
    ]
    return Document("Lattice over temperature", blocks)


def _verdict(result: LatticeStudy) -> list[Block]:
    first, last = result.points[0], result.points[-1]
    middle = (first.temperature_kelvin + last.temperature_kelvin) / 2
    constants = ", ".join(
        f"{result.lattice_constant_at(p.temperature_kelvin)} at {p.temperature_kelvin:g} K"
        for p in (first, last)
    )
    expansion = result.expansion_at(middle).scaled(1e6, "10⁻⁶/K")
    lines = (
        *distrust(result.checks),
        f"**a = {constants}**; linear thermal expansion {expansion} at {middle:g} K; "
        f"pressure {result.target_pressure_gpa:g} GPa (± 95 %).",
    )
    text = of_checks(result.checks)
    return [*(Text(line, verdict=True) for line in lines), Text(text)]


def _by_temperature(result: LatticeStudy) -> list[Block]:
    header = ("T (K)", "a (Å)", "a, fit (Å)", "α (10⁻⁶/K)", "B (GPa)")
    values = Table(header, [_values(result, point) for point in result.points])
    header = (
        *("T (K)", "replicas", "each (ps)", "correlation time (ps)", "blocks"),
        *("2nd − 1st half (Å)", "equal halves, p"),
    )
    return [values, filled(header, [_sampling(point) for point in result.points])]


def _values(result: LatticeStudy, point: LatticePoint) -> tuple[str, ...]:
    kelvin = point.temperature_kelvin
    return (
        f"{kelvin:g}",
        _number(point.lattice_constant_angstrom),
        _number(result.lattice_constant_at(kelvin)),
        _number(result.expansion_at(kelvin).scaled(1e6, "1")),
        _number(point.bulk_modulus_gpa),
    )


def _sampling(point: LatticePoint) -> tuple[str | int, ...]:
    tau = point.correlation_ps
    return (
        f"{point.temperature_kelvin:g}",
        point.n_replicas,
        f"{point.duration_ps:.4g}",
        f"{tau:.2g}" if math.isfinite(tau) else "too short to tell",
        int(point.lattice_constant_angstrom.n_effective),
        f"{point.drift_angstrom:+.1e}",
        p_value(point.halves_p_value),
    )


def _pressures(result: LatticeStudy) -> list[Block]:
    rows = [
        (
            f"{p.temperature_kelvin:g}",
            _number(p.mean_pressure_gpa),
            _number(p.pressure_covariance),
            _number(p.bulk_modulus_by_pressure_gpa),
        )
        for p in result.points
        if p.mean_pressure_gpa is not None
        and p.pressure_covariance is not None
        and p.bulk_modulus_by_pressure_gpa is not None
    ]
    header = ("T (K)", "mean pressure (GPa)", "−Cov(V, P)/kT", "B by pressure (GPa)")
    return [Table(header, rows)] if rows else []


def _at_rest(result: LatticeStudy, static: StaticLattice | None) -> list[Block]:
    if static is None:
        return []
    text = (
        f"At rest, from the energies of cells of several volumes: a = "
        f"{static.lattice_constant:.4f} Å, B = {static.bulk_modulus:.1f} GPa, without "
        "zero-point motion."
    )
    return [Text(text)]


def _how(result: LatticeStudy) -> str:
    fit, (low, high) = result.fit, result.range_kelvin
    terms = ("", "A straight line", "A parabola")[len(fit.coefficient_angstrom) - 1]
    chi = f"χ² = {fit.chi_square:.2f}, degrees of freedom: {fit.degrees_of_freedom}"
    if fit.degrees_of_freedom:
        chi += f", p = {fit.p_value:.2g}"
    return (
        f"a = (⟨V⟩/n)^(1/3) with n = {result.n_cells:g} conventional cells and all frames. "
        f"Errors are half-widths of 95 % intervals (Student's t) from blocks of at least "
        f"{BLOCK_TIMES} correlation times over all replicas. B = kT ⟨V⟩/Var(V) "
        "(doi:10.1063/1.443248); from the pressure, B = −⟨V⟩ Cov(V, P)/Var(V). Equal "
        "halves, p: of the same mean volume in both halves of the time. "
        f"{terms} through a(T), weighted by the errors: {chi}. α = a'/a of that curve, "
        f"which holds from {low:g} to {high:g} K, {MARGIN_KELVIN:g} K beyond the "
        "temperatures run. Motion is classical: well below the Debye temperature a real "
        "crystal expands less."
    )


def _number(estimate: Estimate) -> str:
    """Without the unit, which is in the header."""
    return str(estimate).removesuffix(f" {estimate.unit}")
