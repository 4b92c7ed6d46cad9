"""The report of a crystal without a list of its sites: HTML, Markdown, JSON, figures."""

import json
import math
from pathlib import Path
from typing import Any

from jaxdiff.analysis.activation import ROOM_TEMPERATURE
from jaxdiff.analysis.conductivity import Activated
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.record import parse, plain
from jaxdiff.analysis.transport_study import Row, TransportStudy
from jaxdiff.io import durable
from jaxdiff.report.document import (
    Block,
    Code,
    Document,
    Heading,
    Picture,
    Table,
    Text,
    spoken,
)
from jaxdiff.report.figures.transport import draw_arrhenius_lines, draw_transport
from jaxdiff.report.sections import checks
from jaxdiff.report.site_sections import not_given, sites
from jaxdiff.report.verdict import distrust

FORMAT, FORMAT_VERSION = "jaxdiff-transport", 1

NAME = "report.json"


def write_transport_report(
    study: TransportStudy, provenance: dict[str, Any], directory: Path
) -> Path:
    """Write report.html, .md and .json and the figures; the path of the first."""
    head = {"format": FORMAT, "format_version": FORMAT_VERSION}
    answer = spoken(_verdict(study))
    record = head | {
        "answer": answer,
        "study": plain(study),
        "provenance": plain(provenance),
    }
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    durable.write_text(directory / NAME, text)
    return as_document(study, provenance).write(directory, "report")


def read_transport(directory: Path) -> tuple[TransportStudy, dict[str, Any]] | None:
    """What `write_transport_report` wrote there; None where it wrote nothing."""
    path = directory / NAME
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return None
    if record.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format_version={record.get('format_version')}; this version reads "
            f"{FORMAT_VERSION}. Analyze the trajectories again."
        )
    study = parse(TransportStudy, record.get("study"), "study")
    return study, record.get("provenance") or {}


def as_document(study: TransportStudy, provenance: dict[str, Any]) -> Document:
    """The report, verdict first."""
    blocks: list[Block] = [
        *_verdict(study),
        Picture(
            "displacements",
            "Mean squared displacements relative to the framework; dashed: fitted lines.",
            draw_transport(study),
        ),
        *checks(study.checks),
        *_by_temperature(study),
        *_directions(study),
        *_over_temperatures(study),
        *_with_sites(study),
        Heading("How"),
        Text(_how(study)),
        Heading("Provenance"),
        Code(json.dumps(provenance, indent=2), "json"),
    ]
    title = f"{study.mobile} in {study.formula}: diffusion and conductivity"
    return Document(title, blocks)


def _verdict(study: TransportStudy) -> list[Block]:
    row = study.rows[0]
    at = f"{row.motion.temperature_kelvin:g} K"
    tracer, charge = study.tracer_line, study.charge_line
    if tracer is None:
        first = (
            f"**At {at} {study.mobile} diffuses with {shown(row.motion.tracer.mean)} "
            f"cm²/s** (tracer); conductivity {shown(row.conductivity)} S/cm by collective "
            f"motion, {shown(row.nernst_einstein)} S/cm by Nernst–Einstein (95 %)."
        )
    else:
        word = "extrapolated to" if tracer.extrapolated else "at"
        first = f"**Ea = {_energy(tracer)} of {study.mobile}'s tracer diffusion**"
        first += f", {_energy(charge)} of conduction" if charge else ""
        first += f"; conductivity {word} {ROOM_TEMPERATURE:g} K "
        first += f"{shown(charge.room_conductivity)} S/cm, " if charge else ""
        first += f"{shown(tracer.room_conductivity)} S/cm by Nernst–Einstein (95 %)"
        first += ", if the same line goes on." if tracer.extrapolated else "."
    failed = [c.name for c in study.checks if c.passed is False]
    passed = sum(c.passed is True for c in study.checks)
    text = f"Checks: {passed} passed, {len(failed)} failed"
    text += f" (**{', '.join(failed)}**)." if failed else "."
    if study.sites is None:
        text += f" Hops are not counted: {study.why}."
    else:
        hops = sum(row.n_hops for row in study.sites.rows)
        text += f" {hops} hop{'s' if hops != 1 else ''} between sites."
    lines = *distrust(study.checks), first
    return [*(Text(line, verdict=True) for line in lines), Text(text)]


def _by_temperature(study: TransportStudy) -> list[Block]:
    motion = Table(
        (
            *("T (K)", "trajectories", "time (ps)", f"{study.mobile} atoms"),
            *("D* (cm²/s)", "exponent", "D_σ (cm²/s)", "exponent", "Haven ratio D*/D_σ"),
        ),
        [_motion(row) for row in study.rows],
    )
    current = Table(
        ("T (K)", "ions per nm³", "σ, collective (S/cm)", "σ, Nernst–Einstein (S/cm)"),
        [
            (
                f"{row.motion.temperature_kelvin:g}",
                f"{1000 * row.motion.density:.3g}",
                shown(row.conductivity),
                shown(row.nernst_einstein),
            )
            for row in study.rows
        ],
    )
    note = (
        f"Values with 95 % intervals. D*: of one {study.mobile}; D_σ: of the charge, from "
        f"the sum of all displacements. Charge of {study.mobile}: {study.charge:+g} e, "
        f"{study.charge_from}. The exponent is d ln MSD / d ln t over the lags of the fit; "
        "vibrations, which are an offset of the line, make it less than 1."
    )
    return [Heading("By temperature"), motion, current, Text(note)]


def _motion(row: Row) -> tuple[str | int, ...]:
    motion = row.motion
    return (
        f"{motion.temperature_kelvin:g}",
        motion.n_trajectories,
        f"{motion.duration_ps:.4g}",
        motion.n_mobile,
        shown(motion.tracer.mean),
        shown(motion.exponent, "{:.2f}"),
        shown(motion.charge.mean),
        shown(motion.charge_exponent, "{:.2f}"),
        shown(motion.haven_ratio, "{:.2f}"),
    )


def _directions(study: TransportStudy) -> list[Block]:
    rows = []
    for row in study.rows:
        tracer, charge = row.motion.tracer, row.motion.charge
        for number in dict.fromkeys(tracer.group):
            mine = [k for k in range(3) if tracer.group[k] == number]
            rows.append(
                (
                    f"{row.motion.temperature_kelvin:g}",
                    _axes(tracer.axes, mine),
                    shown(tracer.principal[mine[0]]),
                    shown(charge.principal[mine[0]]),
                )
            )
    matrices = Table(
        ("T (K)", "", "xx", "yy", "zz", "yz", "xz", "xy"),
        [
            (f"{row.motion.temperature_kelvin:g}", name, *_components(given))
            for row in study.rows
            for name, given in (("D*", row.motion.tracer), ("D_σ", row.motion.charge))
        ],
    )
    text = (
        "Principal axes are those of D*, as Cartesian unit vectors; values that differ by "
        "less than three standard errors are taken together. Below: the tensors, cm²/s, ± "
        "one standard error."
    )
    return [
        Heading("Directions"),
        Table(("T (K)", "axis", "D* (cm²/s)", "D_σ (cm²/s)"), rows),
        Text(text),
        matrices,
    ]


def _axes(axes: tuple[tuple[float, ...], ...], mine: list[int]) -> str:
    if len(mine) == 3:
        return "all directions alike"
    (other,) = set(range(3)) - set(mine) if len(mine) == 2 else (mine[0],)
    vector = "(" + ", ".join(f"{x:+.2f}" for x in axes[other]) + ")"
    return f"perpendicular to {vector}" if len(mine) == 2 else vector


def _components(given: Any) -> list[str]:
    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    return [f"{given.matrix[a][b]:.2e} ± {given.error[a][b]:.1e}" for a, b in pairs]


def _over_temperatures(study: TransportStudy) -> list[Block]:
    if len(study.rows) < 2:
        text = (
            f"Activation energy and values at {ROOM_TEMPERATURE:g} K need trajectories at "
            "two temperatures: give them together (--temperature-kelvin for each), or run "
            "at more of them (ensemble.temperatures_kelvin)."
        )
        return [Heading("Over temperatures"), Text(text)]
    rows, notes = [], []
    for name, line, missing in (
        ("D*, Nernst–Einstein", study.tracer_line, study.tracer_missing),
        ("D_σ, collective", study.charge_line, study.charge_missing),
    ):
        if line is None:
            notes.append(f"{name}: {missing}")
            continue
        rows.append(
            (
                *(name, shown(line.activation_energy, "{:.3f}")),
                *(shown(line.room_diffusivity), shown(line.room_conductivity)),
                f"{line.linearity_p_value:.2g}"
                if math.isfinite(line.linearity_p_value)
                else "–",
            )
        )
        if line.left_out:
            kelvin = ", ".join(f"{t:g}" for t in line.left_out)
            notes.append(
                f"{name}: only bounded at {kelvin} K, which is left out, so Ea may come "
                "out too low."
            )
    room = f"at {ROOM_TEMPERATURE:g} K"
    header = ("from", "Ea (eV)", f"D {room} (cm²/s)", f"σ {room} (S/cm)", "straight, p")
    text = (
        "One Arrhenius line through ln D, so that Ea is that of σT. Beyond the "
        "temperatures of the trajectories values hold only if the line goes on: no change "
        f"of phase or mechanism. The density {room} is taken to be that of the coldest "
        "trajectory."
    )
    return [
        Heading("Over temperatures"),
        Picture(
            "arrhenius", "Diffusivities over temperature.", draw_arrhenius_lines(study)
        ),
        Table(header, rows),
        Text(" ".join([text, *notes])),
    ]


def _with_sites(study: TransportStudy) -> list[Block]:
    if study.sites is None:
        return _without_sites(study)
    header = ("not given", "what it needs to know")
    rest = Table(header, not_given(study.sites.rows), numbers=False)
    return [*sites(study.sites, study.mobile), rest]


def _without_sites(study: TransportStudy) -> list[Block]:
    text = (
        f"Hops are not counted here: {study.why}. A hop leads from one site to another, so "
        "these need a list of the crystal's sites (a network from a structure file, or "
        "maxima of the density):"
    )
    rows = (
        ("hops and their classes", "from which site to which, and how far"),
        ("residence times, survival", "when an atom has left its site"),
        ("rates, D and Ea by hop counts", "the number of hops: known even where few occur"),
        ("correlation factors of jumps", "the order of the hops"),
        ("occupancies of sites", "which sites there are"),
    )
    header = ("not given", "what it needs to know")
    return [Heading("What needs sites"), Text(text), Table(header, rows, numbers=False)]


def _how(study: TransportStudy) -> str:
    motion = study.rows[0].motion
    line = motion.lines[0]
    return (
        "Displacements are differences of fractional coordinates, unwrapped, less the mean "
        f"over all atoms but {study.mobile} (the drift of the framework), times the mean "
        "cell, so a cell that breathes moves no atom. D* and D_σ are slopes of straight "
        "lines with an offset by generalised least squares, over lags from a tenth of a "
        "trajectory, or from where atoms have moved 5 Å r.m.s. if that is sooner, to half "
        f"of it; here {line.first_ps:.3g} to {line.last_ps:.3g} ps at "
        f"{motion.temperature_kelvin:g} K. Errors: of D* from the scatter of the atoms, "
        "widened by how much more than independent ones they fluctuate together; of D_σ, "
        "which is one walk of all atoms, from the covariance of a Gaussian walk. The Haven "
        "ratio takes the two as independent. Lines through several temperatures: a gamma "
        f"likelihood of ln D. Longest step of {study.mobile} between frames: "
        f"{max(r.motion.longest_step for r in study.rows):.2f} Å; neighbours are "
        f"{motion.spacing:.2f} Å apart in the first frame."
    )


def _energy(line: Activated) -> str:
    low, high = line.activation_energy.interval
    return f"{line.activation_energy.value:.3f} eV ({low:.3f} to {high:.3f})"


def shown(estimate: Estimate, form: str = "{:.2e}") -> str:
    """Value with its 95 % interval; a bound alone where it is worth no observation."""
    low, high = estimate.interval
    if math.isnan(estimate.value):
        return f"> {form.format(low)}" if low > 0 else "not known"
    top = form.format(high) if math.isfinite(high) else "∞"
    if low == 0 and not estimate.n_effective >= 1:
        return f"< {top}"
    bottom = form.format(low) if low else "0"
    return f"{form.format(estimate.value)} [{bottom}, {top}]"
