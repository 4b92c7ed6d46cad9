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
from jaxdiff.report.figures.thermo import thermo
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
from jaxdiff.report.verdict import line, verdict

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
    """The report: the verdict and two figures, then what is folded."""
    arrhenius = Picture(
        "arrhenius",
        "Diffusivity of the defect with the fitted Arrhenius line.",
        figures.arrhenius(study),
    )
    displacements = Picture(
        "displacements",
        "Mean squared displacement of the defect, from sites.",
        figures.displacements(study),
    )
    hops = Picture("hops", "Events over time in each replica.", figures.hops(series))
    several = len(study.rows) > 1
    blocks: list[Block] = [
        *verdict(series, study),
        arrhenius if several else displacements,
        hops,
        *checks(study.checks),
        *by_temperature(study),
        *own_error,
        *line(study),
        *_region(study),
        *comparison(series, study),
        *outlook(study),
        Heading("Motion"),
        *([displacements] if several else []),
        *_motion(study),
        *motion(series, study),
        Heading("Hops"),
        *_hops(series, study),
        *temperatures(study),
        Heading("Frames"),
        *counters(series),
        *_traces(series),
        *assumptions(series, study),
        *source(series),
    ]
    return Document(_title(series), blocks)


def _region(study: Study) -> list[Block]:
    """Beside the parameters of the Arrhenius line, where there is one."""
    if study.activation.headline is None:
        return []
    caption = "Joint 95 % region of Ea and D0 by two estimators."
    return [Picture("region", caption, figures.joint_region(study))]


def _motion(study: Study) -> list[Block]:
    return [
        Picture(
            "exponents",
            "Local exponent of the displacement of the defect; 1 is diffusion.",
            figures.displacement_exponent(study),
        ),
        Picture(
            "tracer",
            "Mean squared displacement of a mobile atom, from sites.",
            figures.tracer_displacements(study),
        ),
        Picture(
            "frames",
            "Mean squared displacements from kept positions, with vibrations.",
            figures.frame_displacements(study),
        ),
    ]


def _hops(series: Series, study: Study) -> list[Block]:
    return [
        Picture(
            "classes",
            "Events by class, with the length of the jump.",
            figures.classes(series, study),
        ),
        Picture(
            "convergence",
            "How the diffusivity settles with the number of hops.",
            figures.convergence(series, study),
        ),
        Picture(
            "dispersion",
            "Hops of each replica, and what one rate at each temperature would give.",
            figures.dispersion(series, study),
        ),
        *_survival(study),
    ]


def _survival(study: Study) -> list[Block]:
    """A panel for each temperature."""
    panels = [lambda ax, row=row: figures.survival(row, ax) for row in study.rows]
    if not panels:
        return []
    columns = 2 if len(panels) in (2, 4) else 3
    return [
        Picture(
            "survival",
            "Probability that the defect has not hopped, by temperature.",
            figures.survival(study.rows[0])
            if len(panels) == 1
            else figures.sheet(panels, columns=columns, height=1.9),
        )
    ]


def _title(series: Series) -> str:
    """What moves, and in what, as far as the run says it."""
    what = f"{series.mobile} hops" if series.mobile else "Hops"
    return f"{what} in {series.formula or series.network.title}: report"


def _traces(series: Series) -> list[Block]:
    figure = thermo(series)
    if figure is None:
        return [Text("The trajectory came without temperatures and energies.")]
    return [Picture("thermo", "Temperature and energies in production.", figure)]


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
