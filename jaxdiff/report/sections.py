"""The parts of a report in words and tables."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxdiff.analysis.arrhenius import ArrheniusFit
from jaxdiff.analysis.checks import Check
from jaxdiff.analysis.defects import CLASSES, VACANCY
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.series import Series
from jaxdiff.analysis.study import Study, TemperatureRow
from jaxdiff.report.document import Block, Heading, Table, Text

PUBLISHED = {"DeePMD": 0.24, "MACE-MPA-0": 0.22, "MACE-MPA-0 fine-tuned": 0.20}
"""Activation energies of the interstitial in LiF, eV (doi:10.1088/2515-7655/ae6c5a)."""


def verdict(study: Study) -> list[Block]:
    """Activation energy, hops and checks in a few sentences."""
    energies = study.activation
    what = "vacancy" if study.sign == VACANCY else "interstitial"
    if energies.diffusion:
        first = f"**Ea = {_energy(energies.diffusion)}** by hop counts"
        if energies.gls:
            first += f"; **{_energy(energies.gls)}** by displacements (GLS)"
        first += f"; diffusion of the {what}."
    else:
        first = f"**Ea is not identifiable.** {energies.not_identifiable}"
    failed = [c.name for c in study.checks if c.passed is False]
    passed = sum(c.passed is True for c in study.checks)
    seen = (
        f"{study.total_hops} hops in {study.exposure_ps / 1000:.3g} ns of exposure at "
        f"{len(study.rows)} temperatures. Checks: {passed} passed, {len(failed)} failed"
    )
    seen += f" (**{', '.join(failed)}**)." if failed else "."
    return [Text(first, verdict=True), Text(seen), *_parameters(study)]


def _energy(fit: ArrheniusFit) -> str:
    energy = fit.activation_energy
    low, high = energy.interval
    return f"{energy.value:.3f} eV (95 %: {low:.3f} to {high:.3f})"


def _parameters(study: Study) -> list[Block]:
    fit = study.activation.diffusion
    if fit is None:
        return []
    middle, prefactor = fit.middle, fit.log_prefactor
    text = (
        f"ln D0 = {prefactor} (D0 = {math.exp(prefactor.value):.2e} cm²/s), correlated "
        f"with Ea by {fit.correlation:.3f}. Known best: ln D = {middle} at "
        f"{fit.middle_temperature_kelvin:.0f} K. Over-dispersion {fit.dispersion:.2f}."
    )
    room = study.activation.room
    if room is not None:
        kind = "extrapolated to" if room.extrapolated else "at"
        text += f" D {kind} {room.temperature_kelvin:.0f} K: {_range(room.estimate)} cm²/s"
        text += ", if the same line goes on." if room.extrapolated else "."
    return [Text(text)]


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
    shown = [name for name in CLASSES if any(r.events_by_class[name] for r in study.rows)]
    counts = Table(
        (
            *("T (K)", *own, "replicas", *early, "exposure (ps)", "hops"),
            *(name.replace("_", " ") for name in shown),
            *("rate (1/ns)", "residence (ps)", "exponential, p", "steady, p"),
        ),
        [
            (
                f"{r.temperature_kelvin:.0f}",
                *(f"{r.lattice_constant_angstrom:.4f}" for _ in own),
                *(r.n_replicas, *(r.n_stopped for _ in early), f"{r.exposure_ps:.1f}"),
                *(r.hops, *(r.events_by_class[name] for name in shown)),
                _range(r.rate.scaled(1000.0, "1/ns"), "{:.3g}"),
                _range(r.residence, "{:.3g}"),
                *(_p(r.exponential.p_value), _p(r.stationarity.p_value)),
            )
            for r in study.rows
        ],
    )
    header = ("T (K)", "D_def, hops", "D_def, replicas", "D_def, GLS", "z")
    defect = Table(header, [_of_defect(row) for row in study.rows])
    header = ("T (K)", "D*, hops", "D*, f = 1", "D*, GLS")
    tracer = Table(header, [_of_tracer(row) for row in study.rows])
    note = (
        "Values with 95 % intervals, cm²/s. D_def belongs to the defect, D* to a cation "
        f"chosen at random among the {study.n_mobile} of the cell: D* depends on the size "
        "of the cell, D_def does not. z: GLS less hops in standard errors of the "
        "difference. Without a hop there is an upper bound only. p of residences without "
        "memory, and of a rate that is steady in time."
    )
    return [Heading("By temperature"), counts, defect, tracer, Text(note)]


def _of_defect(row: TemperatureRow) -> tuple[str, ...]:
    z = f"{row.agreement_z:+.1f}" if math.isfinite(row.agreement_z) else "–"
    return (
        f"{row.temperature_kelvin:.0f}",
        _range(row.defect_diffusivity),
        _range(row.defect_diffusivity_replicas),
        _range(row.defect_diffusivity_gls),
        z,
    )


def _of_tracer(row: TemperatureRow) -> tuple[str, ...]:
    return (
        f"{row.temperature_kelvin:.0f}",
        _range(row.tracer_diffusivity),
        _range(row.tracer_diffusivity_uncorrelated),
        _range(row.tracer_diffusivity_msd),
    )


def comparison(study: Study) -> list[Block]:
    """Against the published point values, for the interstitial."""
    if study.sign == VACANCY:
        return []
    values = ", ".join(f"{value:.2f} eV ({name})" for name, value in PUBLISHED.items())
    text = (
        f"Published for the interstitial in LiF: {values}; doi:10.1088/2515-7655/ae6c5a. "
        "These are point values without error bars, so only the uncertainty of this run is "
        "known."
    )
    fit = study.activation.diffusion
    if fit is not None:
        energy = fit.activation_energy
        low, high = energy.interval
        inside = [name for name, value in PUBLISHED.items() if low <= value <= high]
        difference = ", ".join(
            f"{1000 * (energy.value - value):+.0f} meV ({name})"
            for name, value in PUBLISHED.items()
        )
        text += f" This run minus published: {difference}. "
        text += f"Inside the 95 % interval: {', '.join(inside) or 'none'}."
    return [Heading("Comparison"), Text(text)]


def motion(study: Study) -> list[Block]:
    """Memory of defect and cations."""
    table = Table(
        ("T (K)", "f of the defect", "f of the cations", "Haven ratio N D*/D_def"),
        [
            (
                f"{r.temperature_kelvin:.0f}",
                _range(r.correlation_factor, "{:.2f}"),
                _range(r.tracer_correlation, "{:.2f}"),
                _range(r.haven_ratio, "{:.2f}"),
            )
            for r in study.rows
        ],
    )
    text = (
        "A Haven ratio of 1/3 belongs to collinear interstitialcy hops, 0.73 and 1.45 to "
        "non-collinear ones, 1 to direct hops. Over all temperatures: Haven ratio "
        f"{_known(study.haven_ratio)}, f of the cations "
        f"{_known(study.tracer_correlation)}, f of the defect "
        f"{_known(study.correlation_factor)}; none of them is in Ea."
    )
    return [table, Text(text)]


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
        "anion_displaced": "with an anion off its site",
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
    rows = [
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
        ("D_def, hops", "Σ l² / 6t", "successive jumps uncorrelated (f = 1)"),
        ("D_def, replicas", "the same, studentised bootstrap", "independent replicas"),
        (
            "D_def, GLS",
            "site-projected mean squared displacement, full covariance",
            "a random walk with jumps at random times",
        ),
        (
            "D*, hops",
            "Σ s² f / 6Nt; f = 2/3, 32/33, 0.9643, 1 by class, 0.7815 for vacancies",
            "one mechanism at a time; no memory of the defect",
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
            "Poisson regression on counts of replicas, likelihood intervals",
            "one Arrhenius line: see curvature",
        ),
        (
            "Ea, displacements",
            "regression of D_def, GLS, weights from the fitted line",
            "the same; temperatures without hops are left out, so it may come out low",
        ),
    ]
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
    return [Heading("How"), Text(how), Table(header, rows, numbers=False)]


def spread(value: Float[np.ndarray, " replicas"]) -> str:
    """A lattice constant, or the smallest and the largest where replicas differ."""
    low, high = f"{value.min():.4f}", f"{value.max():.4f}"
    return low if low == high else f"{low} to {high}"


def _range(estimate: Estimate, form: str = "{:.2e}") -> str:
    low, high = estimate.interval
    if math.isnan(estimate.value):
        return "–"
    if math.isinf(estimate.value):
        return f"> {form.format(low)}"
    if estimate.value == 0 and low == 0:
        return f"< {form.format(high)}"
    text = f"{form.format(estimate.value)} [{form.format(low)}, {form.format(high)}]"
    return text.replace("inf", "∞")


def _known(estimate: Estimate) -> str:
    return "not known" if math.isnan(estimate.value) else str(estimate)


def _p(value: float) -> str:
    return f"{value:.2g}" if math.isfinite(value) else "–"
