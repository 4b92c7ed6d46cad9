"""The report of a crystal without a list of its sites: HTML, Markdown, JSON, figures."""

import json
from pathlib import Path
from typing import Any

from jaxdiff.analysis.activation import ROOM_TEMPERATURE
from jaxdiff.analysis.conductivity import Activated
from jaxdiff.analysis.record import parse, plain
from jaxdiff.analysis.transport_study import Row, TransportStudy
from jaxdiff.io import durable
from jaxdiff.io.shown import counted
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
from jaxdiff.report.figures import (
    charge_displacements,
    ion_displacements,
    ion_exponent,
    transport_arrhenius,
)
from jaxdiff.report.sections import checks
from jaxdiff.report.site_sections import not_given, sites
from jaxdiff.report.values import filled, in_unit, p_value, shown
from jaxdiff.report.verdict import distrust, of_checks

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
    """The report: the verdict and two figures, then what is folded."""
    moved = Picture(
        "displacements",
        f"Mean squared displacement of each {study.mobile}, relative to the framework.",
        ion_displacements(study),
    )
    together = Picture(
        "collective",
        f"Mean squared displacement of the sum over all {study.mobile}, by their number.",
        charge_displacements(study),
    )
    exponent = Picture(
        "exponents",
        "Local exponent of the displacements; 1 is diffusion.",
        ion_exponent(study),
    )
    over = _arrhenius(study)
    blocks: list[Block] = [
        *_verdict(study),
        *([*over, moved] if over else [moved, together]),
        *checks(study.checks),
        *_by_temperature(study),
        *([together] if over else []),
        exponent,
        *_directions(study),
        *_over_temperatures(study),
        *_with_sites(study),
        Heading("Methods"),
        Text(_how(study)),
        Heading("Provenance"),
        Code(json.dumps(provenance, indent=2), "json"),
    ]
    title = f"{study.mobile} in {study.formula}: diffusion and conductivity"
    return Document(title, blocks)


def _arrhenius(study: TransportStudy) -> list[Block]:
    """The figure, where there is more than one temperature."""
    if len(study.rows) < 2:
        return []
    caption = f"Diffusivities over temperature; bars at {ROOM_TEMPERATURE:g} K: 95 %."
    return [Picture("arrhenius", caption, transport_arrhenius(study))]


def _verdict(study: TransportStudy) -> list[Block]:
    row = study.rows[0]
    at = f"{row.motion.temperature_kelvin:g} K"
    tracer, charge = study.tracer_line, study.charge_line
    if tracer is None:
        known = in_unit(row.motion.tracer.mean, "cm²/s")
        first = f"**D* of {study.mobile} at {at} = {known}** (tracer); conductivity "
        first += (
            f"{in_unit(row.conductivity, 'S/cm')} from collective motion, "
            f"{in_unit(row.nernst_einstein, 'S/cm')} from D* (Nernst–Einstein); 95 % "
            "intervals."
        )
    else:
        word = "extrapolated to" if tracer.extrapolated else "at"
        first = f"**Ea = {_energy(tracer)}** for tracer diffusion of {study.mobile}"
        first += f", {_energy(charge)} for conduction" if charge else ""
        first += f"; conductivity {word} {ROOM_TEMPERATURE:g} K: "
        first += (
            f"{in_unit(charge.room_conductivity, 'S/cm')} from collective motion, "
            if charge
            else ""
        )
        first += f"{in_unit(tracer.room_conductivity, 'S/cm')} from D* (Nernst–Einstein)"
        first += (
            ", assuming the same Arrhenius line down to there."
            if tracer.extrapolated
            else "."
        )
    text = of_checks(study.checks)
    if study.sites is None:
        text += f" Hops are not counted: {study.why}."
    else:
        hops = sum(row.n_hops for row in study.sites.rows)
        text += f" {counted(hops, 'hop')} between sites."
    lines = *distrust(study.checks), first
    return [*(Text(line, verdict=True) for line in lines), Text(text)]


def _by_temperature(study: TransportStudy) -> list[Block]:
    motion = filled(
        (
            *("T (K)", "trajectories", "time (ps)", f"{study.mobile} atoms"),
            *("D* (cm²/s)", "D_σ (cm²/s)", "Haven ratio D*/D_σ"),
        ),
        [_motion(row) for row in study.rows],
    )
    exponents = filled(
        ("T (K)", "exponent of D*", "exponent of D_σ"),
        [
            (
                f"{row.motion.temperature_kelvin:g}",
                shown(row.motion.exponent, "{:.2f}"),
                shown(row.motion.charge_exponent, "{:.2f}"),
            )
            for row in study.rows
        ],
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
        f"Values with 95 % intervals. D*: tracer diffusivity of {study.mobile}; D_σ: "
        f"charge diffusivity, from the sum of all displacements. Charge of {study.mobile}: "
        f"{study.charge:+g} e, {study.charge_from}. The exponent is d ln MSD / d ln t over "
        "the lag times of the fit; vibrations, an offset of the line, make it less than 1."
    )
    return [Heading("By temperature"), motion, current, exponents, Text(note)]


def _motion(row: Row) -> tuple[str | int, ...]:
    motion = row.motion
    return (
        f"{motion.temperature_kelvin:g}",
        motion.n_trajectories,
        f"{motion.duration_ps:.4g}",
        motion.n_mobile,
        shown(motion.tracer.mean),
        shown(motion.charge.mean),
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
        "Principal axes of D*, as Cartesian unit vectors; directions whose D* differ by "
        "less than three standard errors are averaged. Below: the tensors, cm²/s, ± one "
        "standard error."
    )
    return [
        Heading("Directions"),
        Table(("T (K)", "axis", "D* (cm²/s)", "D_σ (cm²/s)"), rows),
        Text(text),
        matrices,
    ]


def _axes(axes: tuple[tuple[float, ...], ...], mine: list[int]) -> str:
    if len(mine) == 3:
        return "isotropic"
    (other,) = set(range(3)) - set(mine) if len(mine) == 2 else (mine[0],)
    vector = "(" + ", ".join(f"{x:+.2f}" for x in axes[other]) + ")"
    return f"perpendicular to {vector}" if len(mine) == 2 else vector


def _components(given: Any) -> list[str]:
    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    return [f"{given.matrix[a][b]:.2e} ± {given.error[a][b]:.1e}" for a, b in pairs]


def _over_temperatures(study: TransportStudy) -> list[Block]:
    if len(study.rows) < 2:
        text = (
            f"An activation energy and values at {ROOM_TEMPERATURE:g} K need trajectories "
            "at two or more temperatures: give them together (--temperature-kelvin for "
            "each), or run at more temperatures (ensemble.temperatures_kelvin)."
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
                p_value(line.linearity_p_value),
            )
        )
        if line.left_out:
            kelvin = ", ".join(f"{t:g}" for t in line.left_out)
            notes.append(
                f"{name}: at {kelvin} K there is only an upper bound, which is left out, "
                "so Ea may be too low."
            )
    room = f"at {ROOM_TEMPERATURE:g} K"
    header = (
        *("from", "Ea (eV)", f"D {room} (cm²/s)", f"σ {room} (S/cm)"),
        "straight line, p",
    )
    text = (
        "One Arrhenius line through ln D, so Ea is that of σT. Extrapolated values assume "
        "that no phase or mechanism changes on the way. The density "
        f"{room} is taken to be that of the coldest trajectory."
    )
    return [
        Heading("Over temperatures"),
        filled(header, rows),
        Text(" ".join([text, *notes])),
    ]


def _with_sites(study: TransportStudy) -> list[Block]:
    if study.sites is None:
        return _without_sites(study)
    header = ("not given", "because it needs")
    rest = Table(header, not_given(study.sites.rows), numbers=False)
    return [*sites(study.sites, study.mobile), rest]


def _without_sites(study: TransportStudy) -> list[Block]:
    text = (
        f"Hops are not counted: {study.why}. A hop leads from one site to another, so the "
        "following need a list of sites (--network with a structure file or maxima, "
        "hops.network in a run file):"
    )
    rows = (
        ("hops and their classes", "the sites that each hop joins"),
        ("residence times, survival", "the time at which an atom leaves its site"),
        ("rates, D and Ea from hop counts", "the number of hops"),
        ("correlation factors of jumps", "the order of the hops"),
        ("occupancies of sites", "the sites"),
    )
    header = ("not given", "because it needs")
    return [Heading("What needs sites"), Text(text), Table(header, rows, numbers=False)]


def _how(study: TransportStudy) -> str:
    motion = study.rows[0].motion
    line = motion.lines[0]
    return (
        "Displacements are unwrapped differences of fractional coordinates, minus the mean "
        f"over all atoms but {study.mobile} (drift of the framework), times the mean cell, "
        "so fluctuations of the cell move no atom. D* and D_σ are slopes of straight lines "
        "with an offset, fitted by generalised least squares to lag times from a tenth of "
        "a trajectory (or from where atoms have moved 5 Å r.m.s., if that is sooner) to "
        f"half of it; here {line.first_ps:.3g} to {line.last_ps:.3g} ps at "
        f"{motion.temperature_kelvin:g} K. The error of D* is from the scatter of the "
        "atoms, widened by their measured correlation; that of D_σ, a single walk of all "
        "atoms, from the covariance of a Gaussian walk. The error of the Haven ratio takes "
        "the two as independent. Arrhenius lines: gamma likelihood of D. Longest step of "
        f"{study.mobile} between frames: "
        f"{max(r.motion.longest_step for r in study.rows):.2f} Å; neighbours are "
        f"{motion.spacing:.2f} Å apart in the first frame."
    )


def _energy(line: Activated) -> str:
    low, high = line.activation_energy.interval
    return f"{line.activation_energy.value:.3f} eV ({low:.3f} to {high:.3f})"
