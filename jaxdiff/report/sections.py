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
from jaxdiff.io.shown import counted
from jaxdiff.lattice.jumps import VACANCY
from jaxdiff.report import published
from jaxdiff.report.document import Block, Heading, Mark, Table, Text
from jaxdiff.report.values import (
    NOTHING,
    filled,
    p_value,
    rounded,
    shown,
    shown_if_known,
)


def defect_name(sign: int) -> str:
    """Vacancy or interstitial."""
    return "vacancy" if sign == VACANCY else "interstitial"


def checks(made: Sequence[Check]) -> list[Block]:
    """What was checked, and what was seen."""
    rows = [
        (
            c.name,
            Mark(c.passed),
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
    seen = [name for name in names if any(r.events_by_class[name] for r in study.rows)]
    counts = Table(
        (
            *("T (K)", *own, "replicas", *early, "observed (ps)", "hops"),
            *(words(name) for name in seen),
        ),
        [
            (
                f"{r.temperature_kelvin:.0f}",
                *(f"{r.lattice_constant_angstrom:.4f}" for _ in own),
                *(r.n_replicas, *(r.n_stopped for _ in early), f"{r.exposure_ps:.1f}"),
                *(r.hops, *(r.events_by_class[name] for name in seen)),
            )
            for r in study.rows
        ],
    )
    rates = filled(
        ("T (K)", "rate (1/ns)", "residence (ps)", "exponential, p", "constant rate, p"),
        [
            (
                f"{r.temperature_kelvin:.0f}",
                shown(r.rate.scaled(1000.0, "1/ns")),
                shown(r.residence),
                *(p_value(r.exponential.p_value), p_value(r.stationarity.p_value)),
            )
            for r in study.rows
        ],
    )
    header = ("T (K)", "D_def", "D_def, f = 1", "f = 1, over replicas", "D_def, GLS", "z")
    defect = filled(header, [_of_defect(row) for row in study.rows])
    header = ("T (K)", "D*, measured f", "D*, f by class", "D*, f = 1", "D*, GLS")
    tracer = filled(header, [_of_tracer(row) for row in study.rows])
    note = (
        "Values with 95 % intervals, diffusivities in cm²/s; a temperature without hops "
        "has an upper bound only. D_def is that of the defect, D* that of a mobile atom, "
        f"averaged over the {study.n_mobile} of the cell: D* depends on the size of the "
        "cell, D_def does not. D_def includes the measured correlation of the jumps where "
        f"there are {PAIRS_PER_ORDER} pairs of hops; elsewhere f = 1. D* with the measured "
        "f holds for any mixture of mechanisms and needs two replicas; D* with f by class "
        "holds for a single mechanism and a defect without memory. z: D_def from GLS minus "
        "D_def, in standard errors of the difference. Exponential, p: of exponentially "
        "distributed residence times. Constant rate, p: of a hop rate that does not change "
        "with time."
    )
    return [Heading("By temperature"), counts, rates, defect, tracer, Text(note)]


def _of_defect(row: TemperatureRow) -> tuple[str, ...]:
    z = f"{row.agreement_z:+.1f}" if math.isfinite(row.agreement_z) else NOTHING
    return (
        f"{row.temperature_kelvin:.0f}",
        shown(row.headline_diffusivity),
        shown(row.defect_diffusivity),
        shown_if_known(row.defect_diffusivity_replicas),
        shown(row.defect_diffusivity_gls),
        z,
    )


def _of_tracer(row: TemperatureRow) -> tuple[str, ...]:
    return (
        f"{row.temperature_kelvin:.0f}",
        shown(row.tracer_diffusivity),
        shown(row.tracer_diffusivity_by_class),
        shown(row.tracer_diffusivity_uncorrelated),
        shown(row.tracer_diffusivity_msd),
    )


def comparison(series: Series, study: Study) -> list[Block]:
    """Against published point values, where there are any for this crystal and defect."""
    known = published.find(series)
    if known is None:
        return []
    others = known.differences(series)
    if others:
        text = (
            f"Published activation energies of the {defect_name(study.sign)} in "
            f"{series.formula} ({known.source}) are not compared, because this run is at "
            f"{' and at '.join(others)}."
        )
        return [Heading("Comparison with the literature"), Text(text)]
    energies = known.energies_ev.items()
    values = ", ".join(f"{value:.2f} eV ({name})" for name, value in energies)
    text = (
        f"Published for the {defect_name(study.sign)} in {series.formula}: {values}; "
        f"{known.source}. "
        "These are point values without error bars, so the uncertainty below is that of "
        "this run alone."
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
        text += f"Within the 95 % interval: {', '.join(inside) or 'none'}."
    return [Heading("Comparison with the literature"), Text(text)]


def motion(series: Series, study: Study) -> list[Block]:
    """Memory of the defect and of mobile atoms."""
    table = filled(
        (
            *("T (K)", "f of the defect", "memory (hops)"),
            *("f of the mobile atoms", "Haven ratio N D*/D_def, f = 1"),
        ),
        [
            (
                f"{r.temperature_kelvin:.0f}",
                shown(r.correlation_factor, "{:.2f}"),
                r.memory_order or NOTHING,
                shown(r.tracer_correlation, "{:.2f}"),
                shown(r.haven_ratio, "{:.2f}"),
            )
            for r in study.rows
        ],
    )
    text = (
        f"{_haven_ratios(series, study.sign)}Over all temperatures: Haven ratio "
        f"{_known(study.haven_ratio)}, f of the mobile atoms "
        f"{_known(study.tracer_correlation)}, f of the defect "
        f"{_known(study.correlation_factor)}; p = {p_value(study.no_memory_p_value)} for "
        "f = 1. Only f of the defect enters D_def and Ea, and at each temperature its own. "
        "Memory: how many hops back a jump depends on."
    )
    return [table, Text(text)]


def _haven_ratios(series: Series, sign: int) -> str:
    """What each jump would show if it were alone: f Σ s² / l²."""
    jumps = series.network.jumps_of(sign)
    ratio = [j.tracer_correlation * j.squared_steps / j.squared_length for j in jumps]
    given = [f"{r:.2f} ({words(j.name)})" for r, j in zip(ratio, jumps, strict=True)]
    return f"Haven ratio of each kind of hop alone: {', '.join(given)}. " if given else ""


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
        return [Heading("How much longer to run"), Text(text)]
    text = (
        f"A 95 % interval of Ea of ± {plan.half_width_ev:.3f} eV takes, at the same "
        f"temperatures and shares of time, a run {plan.factor:.3g} times as long: "
        f"{plan.exposure_ps.sum() / 1000:.3g} ns over all replicas, with about "
        f"{rounded(plan.hops.sum())} hops."
    )
    return [Heading("How much longer to run"), Text(text)]


def counters(series: Series) -> list[Block]:
    """Frames by what was known in them, over all replicas."""
    frames = max(int(series.frames["frames"].sum()), 1)
    words = {
        "frames": "frames, all replicas",
        "exposure": "from the first frame with a settled defect on",
        "undefined": "defect not settled",
        "transit": "of these, in transit between sites",
        "frenkel": "with a Frenkel pair",
        "anion_displaced": "with a host atom off its site",
    }
    rows = [
        (text, int(series.frames[name].sum()), f"{series.frames[name].sum() / frames:.2%}")
        for name, text in words.items()
    ]
    lost = int((series.lost_frame >= 0).sum())
    stopped, n = int(series.stopped.sum()), len(series.lost_frame)
    rows.append(("replicas whose log of site changes was full", lost, f"{lost / n:.2%}"))
    rows.append(("replicas that diverged", stopped, f"{stopped / n:.2%}"))
    return [Table(("what", "number", "share"), rows)]


def assumptions(series: Series, study: Study) -> list[Block]:
    """Every estimator with what it assumes."""
    how = (
        f"Sites were assigned every {1000 * series.frame_ps:g} fs; an atom has arrived at "
        f"a site after {counted(series.dwell_frames, 'frame')} within "
        f"{series.core_radius:g} Å of it. Observed time is all time with a known defect, "
        "also without hops. "
        f"{_scatter(study)} Jumps are measured in the lattice of their replica, a = "
        f"{spread(series.lattice_constant)} Å."
    )
    header = ("value", "from", "assumes")
    return [
        Heading("Methods"),
        Text(how),
        Table(header, _estimators(series, study), numbers=False),
    ]


def _scatter(study: Study) -> str:
    index = study.dispersion.index
    if not math.isfinite(index):
        return "There are too few hops to see whether their counts scatter like Poisson's."
    return (
        f"The variance of the hop counts over replicas is {index:.2f} times Poisson's; "
        "intervals are widened where this is more than chance explains."
    )


def _estimators(series: Series, study: Study) -> list[tuple[str, str, str]]:
    """Value, from what, and what that assumes."""
    return [
        (
            "rate, residence",
            "hops / observed time, exact interval (Garwood)",
            "independent hops at a constant rate: see dispersion, survival and the checks",
        ),
        (
            "survival",
            "Kaplan–Meier, residences that began with a hop",
            "the end of observation has nothing to do with the hops",
        ),
        (
            "D_def",
            "Σ l² f / 6t; f from an autoregression of the jumps, errors from all of them",
            "a memory of at most 8 hops, or one that fades",
        ),
        ("D_def, f = 1", "Σ l² / 6t", "uncorrelated successive jumps"),
        ("f = 1, over replicas", "studentised bootstrap", "independent replicas"),
        (
            "D_def, GLS",
            "line with an offset through the site-projected mean squared displacement from "
            "four residence times on, full covariance",
            "a memory that is over after a few residences",
        ),
        (
            "D*, measured f",
            "Σ s² f / 6Nt; f of the mobile atoms from the order of the hops",
            "a memory of at most 7 hops",
        ),
        (
            "D*, f by class",
            f"Σ s² f / 6Nt with the f of each class: {_factors(series, study.sign)}",
            "a single mechanism; a defect without memory",
        ),
        (
            "D*, GLS",
            "line with an offset through the displacement of the mobile atoms, error over "
            "replicas",
            "long enough times; a few per cent too high with few hops",
        ),
        (
            "Haven ratio, f",
            "order of the hops, bootstrap over replicas",
            "a memory of at most 7 hops",
        ),
        (
            "Ea, D0",
            "Poisson regression of D_def, each weighted as the number of hops that its "
            "error is worth; for f = 1 of the counts of the replicas; likelihood intervals",
            "one Arrhenius line (see curvature); f = 1 at temperatures with few hops",
        ),
        (
            "Ea, displacements",
            "regression of D_def from GLS, weights from the fitted line",
            "the same; temperatures with too short paths are left out, which may bias Ea "
            "low",
        ),
    ]


def _factors(series: Series, sign: int) -> str:
    jumps = series.network.jumps_of(sign)
    return ", ".join(f"{j.tracer_correlation:.4g} {words(j.name)}" for j in jumps)


def spread(value: Float[np.ndarray, " replicas"]) -> str:
    """A lattice constant, or the smallest and the largest where replicas differ."""
    low, high = f"{value.min():.4f}", f"{value.max():.4f}"
    return low if low == high else f"{low} to {high}"


def _known(estimate: Estimate) -> str:
    return "not known" if math.isnan(estimate.value) else str(estimate)
