"""The report of a run: verdict, tables, checks, figures; from `series.h5` alone."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.analysis.defects import CLASSES
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.series import Series, load_series
from jaxdiff.analysis.study import Study, TemperatureRow, summarize
from jaxdiff.report.figures import draw_arrhenius, draw_hops, draw_thermo

PUBLISHED = {"DeePMD": 0.24, "MACE-MPA-0": 0.22, "MACE-MPA-0 fine-tuned": 0.20}
"""Activation energies of the interstitial in LiF, eV (doi:10.1088/2515-7655/ae6c5a)."""

FORMAT, FORMAT_VERSION = "jaxdiff-report", 1


def write_report(run_dir: str | Path, *, allow_incomplete: bool = False) -> Path:
    """Write report.md, report.json and figures next to series.h5; the path of the first.

    Only `series.h5` is read, so a report can be written again at any time.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(f"{run_dir} is not a folder; give the folder of a run.")
    series = load_series(run_dir / "series.h5", allow_incomplete=allow_incomplete)
    study = summarize(series)
    draw_arrhenius(study, run_dir / "arrhenius.png")
    draw_hops(series, run_dir / "hops.png")
    draw_thermo(series, run_dir / "thermo.png")
    record = json.dumps(as_json(series, study), indent=2, allow_nan=False) + "\n"
    (run_dir / "report.json").write_text(record, encoding="utf-8")
    target = run_dir / "report.md"
    target.write_text(as_markdown(series, study), encoding="utf-8")
    return target


def as_json(series: Series, study: Study) -> dict[str, Any]:
    """Everything of the study, and where it is from; NaN and infinities become null."""
    energy = study.diffusion_fit.activation_energy if study.diffusion_fit else None
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "activation_energy": energy and dataclasses.asdict(energy),
        **{f.name: getattr(study, f.name) for f in dataclasses.fields(study)},
        "published_activation_energies_ev": PUBLISHED,
        "settings": _settings(series),
        "provenance": _provenance(series),
        "run_file": series.run_file,
    }
    return _plain(record)


def _plain(value: Any) -> Any:
    """JSON types only."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _settings(series: Series) -> dict[str, Any]:
    return {
        "status": series.status,
        "n_replicas": len(series.temperature),
        "frame_ps": series.frame_ps,
        "dwell_frames": series.dwell_frames,
        "core_radius_angstrom": series.core_radius,
        "lattice_constant_angstrom": series.lattice_constant,
        "supercell": series.supercell.matrix,
        "n_mobile": series.n_mobile,
        "n_anion": series.n_anion,
    }


def _provenance(series: Series) -> Any:
    try:
        return json.loads(series.provenance)
    except json.JSONDecodeError:
        return {"text": series.provenance}


def as_markdown(series: Series, study: Study) -> str:
    """The report as text, verdict first."""
    parts = [
        "# Lithium hops: report\n",
        _verdict(study),
        "![Arrhenius plot](arrhenius.png)\n",
        _results(study),
        _comparison(study),
        _checks(study),
        "![hops over time](hops.png)\n\n![temperature and energy](thermo.png)\n",
        _methods(series, study),
        _source(series),
    ]
    return "\n".join(part for part in parts if part)


def _verdict(study: Study) -> str:
    if study.diffusion_fit:
        fit = study.diffusion_fit
        low, high = fit.activation_energy.interval
        first = (
            f"**Ea = {fit.activation_energy}** (95 % interval {low:.3f} to {high:.3f} eV), "
            "diffusion of the interstitial.\n\n"
            f"ln D0 = {fit.log_prefactor} (D0 = {math.exp(fit.log_prefactor.value):.2e} "
            f"cm²/s); over-dispersion {fit.dispersion:.2f}"
        )
        if math.isfinite(fit.linearity_p_value):
            first += f"; straight line p = {fit.linearity_p_value:.2g}"
        first += "."
    else:
        first = f"**Ea is not identifiable.** {study.not_identifiable}"
    failed = [c.name for c in study.checks if c.passed is False]
    passed = sum(c.passed is True for c in study.checks)
    checks = f"Checks: {passed} passed, {len(failed)} failed"
    checks += f" ({', '.join(failed)})." if failed else "."
    return (
        f"{first}\n\n{study.total_hops} hops in {study.exposure_ps / 1000:.3g} ns of "
        f"exposure at {len(study.rows)} temperatures. {checks}\n"
    )


def _results(study: Study) -> str:
    lines = [
        "## By temperature\n",
        _line(
            [
                "T (K)",
                "replicas",
                "exposure (ps)",
                "hops",
                *_class_names(),
                "rate (1/ns)",
            ]
        ),
        _line(["---:"] * (5 + len(CLASSES))),
    ]
    for row in study.rows:
        by_class = [row.events_by_class[name] for name in CLASSES]
        lines.append(
            _line(
                [
                    f"{row.temperature_kelvin:.0f}",
                    row.n_replicas,
                    f"{row.exposure_ps:.1f}",
                    row.hops,
                    *by_class,
                    _range(row.rate.scaled(1000.0, "1/ns"), "{:.3g}"),
                ]
            )
        )
    lines += [
        "",
        _line(["T (K)", "D_def, f = 1", "f", "D_def × f", "D*, corrected", "D*, f = 1"]),
        _line(["---:"] * 6),
        *(_diffusivities(row) for row in study.rows),
        "",
        "Values with 95 % intervals from the counts, cm²/s. D_def belongs to the "
        f"interstitial, D* to a lithium chosen at random among the {study.n_mobile} of the "
        "cell: D* depends on the size of the cell, D_def does not. Without a hop the upper "
        "end is a bound.\n",
    ]
    return "\n".join(lines)


def _diffusivities(row: TemperatureRow) -> str:
    return _line(
        [
            f"{row.temperature_kelvin:.0f}",
            _range(row.defect_diffusivity),
            _range(row.correlation_factor, "{:.2f}"),
            _range(row.correlated_defect_diffusivity),
            _range(row.tracer_diffusivity),
            _range(row.tracer_diffusivity_uncorrelated),
        ]
    )


def _class_names() -> list[str]:
    return [name.replace("_", " ") for name in CLASSES]


def _comparison(study: Study) -> str:
    values = ", ".join(f"{value:.2f} eV ({name})" for name, value in PUBLISHED.items())
    text = (
        f"## Comparison\n\nPublished: {values}; doi:10.1088/2515-7655/ae6c5a. These are "
        "point values without error bars, so only the uncertainty of this run is known."
    )
    if study.diffusion_fit:
        energy = study.diffusion_fit.activation_energy
        low, high = energy.interval
        inside = [name for name, value in PUBLISHED.items() if low <= value <= high]
        difference = ", ".join(
            f"{1000 * (energy.value - value):+.0f} meV ({name})"
            for name, value in PUBLISHED.items()
        )
        text += f" This run minus published: {difference}. "
        text += f"Inside the 95 % interval: {', '.join(inside) or 'none'}."
    return text + "\n"


def _checks(study: Study) -> str:
    word = {True: "passed", False: "**failed**", None: "not made"}
    lines = ["## Checks\n", _line(["check", "result", "seen"]), _line(["---"] * 3)]
    lines += [_line([c.name, word[c.passed], c.detail]) for c in study.checks]
    return "\n".join(lines) + "\n"


def _methods(series: Series, study: Study) -> str:
    return (
        "## How\n\n"
        f"Frames every {1000 * series.frame_ps:g} fs; a site counts after "
        f"{series.dwell_frames} frames within {series.core_radius:g} Å. Exposure is all "
        "time with a known defect, also without hops. Rates are maximum-likelihood with "
        "Garwood intervals, Ea is from Poisson regression on the counts of the replicas; "
        "the variance is scaled where counts scatter more than Poisson "
        f"(index {study.dispersion.index:.2f}). f = 1 + 2⟨cos⟩ of successive jumps of the "
        f"defect, over all temperatures {study.correlation_factor}; it is not in Ea. "
        "D* is corrected with the factors 2/3, 32/33, 0.9643 and 1 for collinear, "
        "non-collinear 1, 2 and direct hops (doi:10.1039/TF9585401498), valid for a defect "
        "without memory, and 1 is assumed for other hops.\n"
    )


def _source(series: Series) -> str:
    provenance = json.dumps(_provenance(series), indent=2)
    run_file = series.run_file.strip()
    return (
        f"## Provenance\n\n```json\n{provenance}\n```\n\nRun file:\n\n"
        f"```toml\n{run_file}\n```\n"
    )


def _range(estimate: Estimate, form: str = "{:.2e}") -> str:
    if not math.isfinite(estimate.value):
        return "–"
    low, high = (form.format(bound) for bound in estimate.interval)
    return f"{form.format(estimate.value)} [{low}, {high}]"


def _line(cells: list[Any]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
