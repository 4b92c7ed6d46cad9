"""The parts of a report in words and tables."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxdiff.analysis.checks import Check
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.memory import PAIRS_PER_ORDER
from jaxdiff.analysis.series import Series
from jaxdiff.analysis.study import Study, TemperatureRow
from jaxdiff.lattice.jumps import VACANCY
from jaxdiff.report import published
from jaxdiff.report.document import Block, Heading, Table, Text


def defect_name(sign: int) -> str:
    """Vacancy or interstitial."""
    return "vacancy" if sign == VACANCY else "interstitial"


def checks(made: Sequence[Check]) -> list[Block]:
    """What was checked, and what was seen."""
    word = {True: "passed", False: "**failed**", None: "not\u00a0made"}
    rows = [
        (
            c.name,
            word[c.passed],
            f"{c.detail}. {c.advice}" if c.passed is False else c.detail,
        )
        for c in made
    ]
    return [Heading("Checks"), Table(("check", "result", "seen"), rows, numbers=False)]


def by_temperature(study: Study) -> list[Block]:
    """Counts and diffusivities; lattice constants if they differ, replicas that stopped."""
    constants = {f"{r.lattice_constant_angstrom:.4f}" for r in study.rows}
    own = ("a (Å)",) if len(constants) > 1 else ()
    early = ("stopped",) if any(r.n_stopped for r in study.rows) else ()
    names = study.rows[0].events_by_class if study.rows else ()
    shown = [name for name in names if any(r.events_by_class[name] for r in study.rows)]
    counts = Table(
        (
            *("T (K)", *own, "replicas", *early, "exposure (ps)", "hops"),
            *(words(name) for name in shown),
            *("rate (1/ns)", "residence (ps)", "exponential, p", "steady, p"),
        ),
        [
            (
                f"{r.temperature_kelvin:.0f}",
                *(f"{r.lattice_constant_angstrom:.4f}" for _ in own),
                *(r.n_replicas, *(r.n_stopped for _ in early), f"{r.exposure_ps:.1f}"),
                *(r.hops, *(r.events_by_class[name] for name in shown)),
                shown_range(r.rate.scaled(1000.0, "1/ns"), "{:.3g}"),
                shown_range(r.residence, "{:.3g}"),
                *(_p(r.exponential.p_value), _p(r.stationarity.p_value)),
            )
            for r in study.rows
        ],
    )
    header = ("T (K)", "D_def", "D_def, f = 1", "the same, replicas", "D_def, GLS", "z")
    defect = Table(header, [_of_defect(row) for row in study.rows])
    header = ("T (K)", "D*, measured f", "D*, f by class", "D*, f = 1", "D*, GLS")
    tracer = Table(header, [_of_tracer(row) for row in study.rows])
    note = (
        "Values with 95 % intervals, cm²/s. D_def belongs to the defect, D* to a mobile "
        f"atom chosen at random among the {study.n_mobile} of the cell: D* depends on the "
        "size of the cell, D_def does not. D_def carries the measured correlation of the "
        f"jumps where there are {PAIRS_PER_ORDER} pairs of hops, else it is that of f = 1. "
        "D* with the measured correlation holds for any mix of mechanisms and needs two "
        "replicas; f by class holds for one mechanism alone and no memory of the defect. "
        "z: GLS less D_def in standard errors of the difference. Without a hop there is an "
        "upper bound only. p of residences without memory, and of a rate that is steady in "
        "time."
    )
    return [Heading("By temperature"), counts, defect, tracer, Text(note)]


def _of_defect(row: TemperatureRow) -> tuple[str, ...]:
    z = f"{row.agreement_z:+.1f}" if math.isfinite(row.agreement_z) else "–"
    return (
        f"{row.temperature_kelvin:.0f}",
        shown_range(row.headline_diffusivity),
        shown_range(row.defect_diffusivity),
        shown_range(row.defect_diffusivity_replicas),
        shown_range(row.defect_diffusivity_gls),
        z,
    )


def _of_tracer(row: TemperatureRow) -> tuple[str, ...]:
    return (
        f"{row.temperature_kelvin:.0f}",
        shown_range(row.tracer_diffusivity),
        shown_range(row.tracer_diffusivity_by_class),
        shown_range(row.tracer_diffusivity_uncorrelated),
        shown_range(row.tracer_diffusivity_msd),
    )


def comparison(series: Series, study: Study) -> list[Block]:
    """Against published point values, where there are any for this crystal and defect."""
    known = published.find(series)
    if known is None:
        return []
    others = known.differences(series)
    if others:
        text = (
            f"Activation energies of the {defect_name(study.sign)} in {series.formula} are "
            f"published ({known.source}), of another system: this run is at "
            f"{' and at '.join(others)}. They are not compared."
        )
        return [Heading("Comparison"), Text(text)]
    energies = known.energies_ev.items()
    values = ", ".join(f"{value:.2f} eV ({name})" for name, value in energies)
    text = (
        f"Published for the {defect_name(study.sign)} in {series.formula}: {values}; "
        f"{known.source}. "
        "These are point values without error bars, so only the uncertainty of this run is "
        "known."
    )
    fit = study.activation.headline
    if fit is not None:
        energy = fit.activation_energy
        low, high = energy.interval
        inside = [name for name, value in energies if low <= value <= high]
        difference = ", ".join(
            f"{1000 * (energy.value - value):+.0f} meV ({name})" for name, value in energies
        )
        text += f" This run minus published: {difference}. "
        text += f"Inside the 95 % interval: {', '.join(inside) or 'none'}."
    return [Heading("Comparison"), Text(text)]


def motion(series: Series, study: Study) -> list[Block]:
    """Memory of the defect and of mobile atoms."""
    table = Table(
        (
            *("T (K)", "f of the defect", "of so many hops"),
            *("f of the mobile atoms", "Haven ratio N D*/D_def, f = 1"),
        ),
        [
            (
                f"{r.temperature_kelvin:.0f}",
                shown_range(r.correlation_factor, "{:.2f}"),
                r.memory_order or "–",
                shown_range(r.tracer_correlation, "{:.2f}"),
                shown_range(r.haven_ratio, "{:.2f}"),
            )
            for r in study.rows
        ],
    )
    text = (
        f"{_haven_ratios(series, study.sign)}Over all temperatures: Haven ratio "
        f"{_known(study.haven_ratio)}, f of the mobile atoms "
        f"{_known(study.tracer_correlation)}, f of the defect "
        f"{_known(study.correlation_factor)}, p = {_p(study.no_memory_p_value)} of f = 1. "
        "Of these f of the defect alone is in D_def and Ea, temperature by temperature."
    )
    return [table, Text(text)]


def _haven_ratios(series: Series, sign: int) -> str:
    """What each jump would show if it were alone: f Σ s² / l²."""
    jumps = series.network.jumps_of(sign)
    ratio = [j.tracer_correlation * j.squared_steps / j.squared_length for j in jumps]
    shown = [f"{r:.2f} ({words(j.name)})" for r, j in zip(ratio, jumps, strict=True)]
    return f"Haven ratios of one kind of hop alone: {', '.join(shown)}. " if shown else ""


def words(name: str) -> str:
    """The name of a class in a sentence."""
    return name.replace("_", " ")


def outlook(study: Study) -> list[Block]:
    """How much more simulation the wanted precision costs."""
    plan = study.activation.plan
    if plan is None:
        return []
    if plan.factor <= 1:
        text = f"Ea is known to ± {plan.half_width_ev:.3f} eV already."
        return [Heading("How much more"), Text(text)]
    text = (
        f"For a 95 % interval of Ea of ± {plan.half_width_ev:.3f} eV the same design has "
        f"to run {plan.factor:.3g} times as long in all: "
        f"{plan.exposure_ps.sum() / 1000:.3g} ns of replica time, with about "
        f"{plan.hops.sum():.0f} hops."
    )
    return [Heading("How much more"), Text(text)]


def counters(series: Series) -> list[Block]:
    """Frames by what was known in them, over all replicas."""
    frames = max(int(series.frames["frames"].sum()), 1)
    words = {
        "frames": "observed",
        "exposure": "from the first settled one on",
        "undefined": "not settled",
        "transit": "of these: in transit between sites",
        "frenkel": "with a Frenkel pair",
        "anion_displaced": "with a host atom off its site",
    }
    rows = [
        (text, int(series.frames[name].sum()), f"{series.frames[name].sum() / frames:.2%}")
        for name, text in words.items()
    ]
    lost = int((series.lost_frame >= 0).sum())
    stopped, n = int(series.stopped.sum()), len(series.lost_frame)
    rows.append(("replicas whose log ran over", lost, f"{lost / n:.2%}"))
    rows.append(("replicas that diverged", stopped, f"{stopped / n:.2%}"))
    return [Table(("frames", "number", "share"), rows)]


def assumptions(series: Series, study: Study) -> list[Block]:
    """Every estimator with what it assumes."""
    index = study.dispersion.index
    scatter = f"index {index:.2f}" if math.isfinite(index) else "no index: too few hops"
    how = (
        f"Frames every {1000 * series.frame_ps:g} fs; a site counts after "
        f"{series.dwell_frames} frames within {series.core_radius:g} Å. Exposure is all "
        "time with a known defect, also without hops. Intervals are widened where counts "
        f"scatter more than Poisson ({scatter}). Jumps are measured in the lattice of "
        f"their replica, a = {spread(series.lattice_constant)} Å."
    )
    header = ("value", "from", "assumes")
    return [
        Heading("How"),
        Text(how),
        Table(header, _estimators(series, study), numbers=False),
    ]


def _estimators(series: Series, study: Study) -> list[tuple[str, str, str]]:
    """Value, from what, and what that assumes."""
    return [
        (
            "rate, residence",
            "events / exposure, Garwood's exact interval",
            "independent hops at one rate: see dispersion, survival, stationarity",
        ),
        (
            "survival",
            "Kaplan–Meier, residences begun by a hop",
            "censoring has nothing to do with the hop",
        ),
        (
            "D_def",
            "Σ l² f / 6t, f of an autoregression of the jumps, errors of all together",
            "a memory of at most 8 hops, or one that fades",
        ),
        ("D_def, f = 1", "Σ l² / 6t", "successive jumps uncorrelated"),
        ("the same, replicas", "studentised bootstrap", "independent replicas"),
        (
            "D_def, GLS",
            "line with an offset through the site-projected mean squared displacement, "
            "from four residences on, full covariance",
            "a memory that is over after some residences",
        ),
        (
            "D*, measured f",
            "Σ s² f / 6Nt, f of the mobile atoms from the order of the hops",
            "a memory of at most 7 hops",
        ),
        (
            "D*, f by class",
            f"the same with f by class: {_factors(series, study.sign)}",
            "one mechanism alone; no memory of the defect",
        ),
        (
            "D*, GLS",
            "tracer displacement with an offset, error over replicas",
            "lags long enough; biased upwards by a few per cent with few hops",
        ),
        (
            "Haven ratio, f",
            "order of the hops, bootstrap over replicas",
            "memory of at most 7 hops",
        ),
        (
            "Ea, D0",
            "Poisson regression on D_def, each as the hops that its error is worth; with "
            "f = 1 on the counts of replicas; likelihood intervals",
            "one Arrhenius line: see curvature; without f at the temperatures of few hops",
        ),
        (
            "Ea, displacements",
            "regression of D_def, GLS, weights from the fitted line",
            "the same; temperatures of short paths are left out, so it may come out low",
        ),
    ]


def _factors(series: Series, sign: int) -> str:
    jumps = series.network.jumps_of(sign)
    return ", ".join(f"{j.tracer_correlation:.4g} {words(j.name)}" for j in jumps)


def spread(value: Float[np.ndarray, " replicas"]) -> str:
    """A lattice constant, or the smallest and the largest where replicas differ."""
    low, high = f"{value.min():.4f}", f"{value.max():.4f}"
    return low if low == high else f"{low} to {high}"


def shown_range(estimate: Estimate, form: str = "{:.2e}") -> str:
    """Value and 95 % interval, or the bound alone; one that says nothing is left out."""
    low, high = estimate.interval
    if math.isnan(estimate.value):
        return "–"
    if math.isinf(estimate.value):
        return f"> {form.format(low)}"
    if estimate.value == 0 and low == 0:
        return f"< {form.format(high)}"
    if low == high or (low <= 0 and math.isinf(high)):
        return f"{form.format(estimate.value)}, error not known"
    text = f"{form.format(estimate.value)} [{form.format(low)}, {form.format(high)}]"
    return text.replace("inf", "∞")


def _known(estimate: Estimate) -> str:
    return "not known" if math.isnan(estimate.value) else str(estimate)


def _p(value: float) -> str:
    return f"{value:.2g}" if math.isfinite(value) else "–"
