"""The report of a run, from `series.h5` alone: HTML, Markdown, JSON, CSV and figures."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxdiff.analysis.record import plain
from jaxdiff.analysis.series import Series, load_series
from jaxdiff.analysis.study import Study, summarize
from jaxdiff.io import durable
from jaxdiff.report import figures, published
from jaxdiff.report.document import Block, Document, Heading, Picture, Text, spoken
from jaxdiff.report.model_error import model_error, read_model_error
from jaxdiff.report.sections import (
    assumptions,
    by_temperature,
    checks,
    comparison,
    counters,
    motion,
    outlook,
)
from jaxdiff.report.settings import provenance, settings, source
from jaxdiff.report.tables import write_tables
from jaxdiff.report.temperatures import temperatures
from jaxdiff.report.verdict import verdict

FORMAT, FORMAT_VERSION = "jaxdiff-report", 2


def write_report(run_dir: str | Path, *, allow_incomplete: bool = False) -> Path:
    """Write report.html and the same as .md, .json and .csv; the path of the first.

    Only `series.h5` is read, so a report can be written again at any time.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(f"{run_dir} is not a folder; give the folder of a run.")
    series = load_series(run_dir, allow_incomplete=allow_incomplete)
    study = summarize(series)
    own = read_model_error(run_dir)
    content = as_json(series, study) | {"model_error": own}
    record = json.dumps(content, indent=2, allow_nan=False) + "\n"
    durable.write_text(run_dir / "report.json", record)
    write_tables(run_dir, series, study)
    return as_document(series, study, model_error(own, study)).write(run_dir, "report")


def as_document(series: Series, study: Study, own_error: Sequence[Block] = ()) -> Document:
    """The report, verdict first."""
    blocks: list[Block] = [
        *verdict(series, study),
        *_arrhenius(study),
        *checks(study.checks),
        *by_temperature(study),
        *own_error,
        *temperatures(study),
        *comparison(series, study),
        Heading("Motion"),
        Picture(
            "displacements",
            "Mean squared displacements, their exponent and the fitted line.",
            figures.draw_displacements(study),
        ),
        *motion(series, study),
        Heading("Hops"),
        Picture("hops", "Events over time, by replica.", figures.draw_hops(series)),
        Picture(
            "classes",
            "Events by class, with the length of the jump.",
            figures.draw_classes(series, study),
        ),
        Picture(
            "survival",
            "Survival of the defect on its site.",
            figures.draw_survival(study),
        ),
        Picture(
            "convergence",
            "How the diffusivity settled.",
            figures.draw_convergence(series, study),
        ),
        Picture(
            "dispersion",
            "Hops of each replica against Poisson's expectation.",
            figures.draw_dispersion(series, study),
        ),
        *outlook(study),
        Heading("Validity"),
        *counters(series),
        *_traces(series),
        *assumptions(series, study),
        *source(series),
    ]
    return Document(_title(series), blocks)


def _arrhenius(study: Study) -> list[Block]:
    """The figure, where there is more than one temperature to draw a line through."""
    if len(study.rows) < 2:
        return []
    caption = "Diffusivity of the defect by two estimators, and their joint regions."
    return [Picture("arrhenius", caption, figures.draw_arrhenius(study))]


def _title(series: Series) -> str:
    """What moves, and in what, as far as the run says it."""
    what = f"{series.mobile} hops" if series.mobile else "Hops"
    return f"{what} in {series.formula or series.network.title}: report"


def _traces(series: Series) -> list[Block]:
    png = figures.draw_thermo(series)
    if png is None:
        return [Text("The trajectory came without temperatures and energies.")]
    return [Picture("thermo", "Temperature and energies of the replicas.", png)]


def as_json(series: Series, study: Study) -> dict[str, Any]:
    """Everything of the study, and where it is from; NaN and infinities become null."""
    energies, fit = study.activation, study.activation.headline
    hops, gls = energies.diffusion, energies.gls
    known = published.find(series)
    same = known is not None and not known.differences(series)
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "answer": spoken(verdict(series, study)),
        "activation_energy": fit and fit.activation_energy,
        "headline_carries_correlation": energies.correlated is not None,
        "activation_energy_without_memory": hops and hops.activation_energy,
        "activation_energy_gls": gls and gls.activation_energy,
        "log_prefactor": fit and fit.log_prefactor,
        "middle": fit and fit.middle,
        **{f.name: getattr(study, f.name) for f in dataclasses.fields(study)},
        "published_activation_energies_ev": known.energies_ev if known and same else None,
        "settings": settings(series),
        "provenance": provenance(series),
        "run_file": series.run_file,
    }
    return plain(record)
