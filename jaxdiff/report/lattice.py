"""The report of a study of the lattice: HTML, Markdown, JSON and a figure."""

import math
from pathlib import Path

from jaxdiff.analysis.blocks import BLOCK_TIMES
from jaxdiff.analysis.equation_of_state import StaticLattice
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.lattice import MARGIN_KELVIN, LatticePoint, LatticeStudy
from jaxdiff.io import durable
from jaxdiff.report.document import Block, Document, Heading, Picture, Table, Text
from jaxdiff.report.figures.lattice import draw_lattice
from jaxdiff.report.sections import checks


def write_lattice_report(
    result: LatticeStudy, directory: str | Path, *, static: StaticLattice | None = None
) -> Path:
    """Write lattice.html, .md and .json and figures/lattice.png; the path of the first.

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
            "Lattice constant with the fitted curve, and bulk modulus.",
            draw_lattice(result, static),
        ),
        *checks(result.checks),
        Heading("By temperature"),
        _by_temperature(result),
        *_pressures(result),
        *_at_rest(result, static),
        Heading("How"),
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
    failed = [c.name for c in result.checks if c.passed is False]
    passed = sum(c.passed is True for c in result.checks)
    text = f"Checks: {passed} passed, {len(failed)} failed"
    text += f" (**{', '.join(failed)}**)." if failed else "."
    return [
        Text(
            f"**a = {constants}**; linear expansion {expansion} at {middle:g} K, at "
            f"{result.target_pressure_gpa:g} GPa (95 %).",
            verdict=True,
        ),
        Text(text),
    ]


def _by_temperature(result: LatticeStudy) -> Table:
    header = (
        *("T (K)", "replicas", "ps each", "τ (ps)", "blocks", "a (Å)", "a, fit (Å)"),
        *("α (10⁻⁶/K)", "B (GPa)", "2nd − 1st half (Å)", "p"),
    )
    return Table(header, [_row(result, point) for point in result.points])


def _row(result: LatticeStudy, point: LatticePoint) -> tuple[str | int, ...]:
    kelvin, constant = point.temperature_kelvin, point.lattice_constant_angstrom
    tau = point.correlation_ps
    return (
        f"{kelvin:g}",
        point.n_replicas,
        f"{point.duration_ps:.4g}",
        f"{tau:.2g}" if math.isfinite(tau) else "not seen",
        int(constant.n_effective),
        _number(constant),
        _number(result.lattice_constant_at(kelvin)),
        _number(result.expansion_at(kelvin).scaled(1e6, "1")),
        _number(point.bulk_modulus_gpa),
        f"{point.drift_angstrom:+.1e}",
        f"{point.halves_p_value:.2g}",
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
        f"At rest, by energies of cells of several volumes: a = "
        f"{static.lattice_constant:.4f} Å, B = {static.bulk_modulus:.1f} GPa, without "
        "zero-point motion."
    )
    return [Text(text)]


def _how(result: LatticeStudy) -> str:
    fit, (low, high) = result.fit, result.range_kelvin
    terms = ("", "A straight line", "A parabola")[len(fit.coefficient_angstrom) - 1]
    chi = f"χ² = {fit.chi_square:.2f} with {fit.degrees_of_freedom} degrees of freedom"
    if fit.degrees_of_freedom:
        chi += f", p = {fit.p_value:.2g}"
    return (
        f"a = (⟨V⟩/n)^(1/3) with n = {result.n_cells:g} conventional cells, all frames "
        f"used; errors from blocks of at least {BLOCK_TIMES} correlation times τ over all "
        "replicas, ± half of the 95 % interval by Student's t. B = kT ⟨V⟩/Var(V) "
        "(doi:10.1063/1.443248), by pressure -⟨V⟩ Cov(V, P)/Var(V). p: of equal means in "
        f"both halves of the time. {terms} through a(T), weighted: {chi}. α = a'/a of that "
        f"curve, which holds from {low:g} to {high:g} K, {MARGIN_KELVIN:g} K beyond the "
        "temperatures run. Motion is classical: well below the Debye temperature the "
        "expansion of the crystal is smaller."
    )


def _number(estimate: Estimate) -> str:
    """Without the unit, which is in the header."""
    return str(estimate).removesuffix(f" {estimate.unit}")
