"""The first lines of a report: whether to trust it, what it found, what it would take."""

import math
from collections.abc import Sequence

from jaxdiff.analysis.arrhenius import ArrheniusFit
from jaxdiff.analysis.checks import Check
from jaxdiff.analysis.memory import PAIRS_PER_ORDER
from jaxdiff.analysis.series import Series
from jaxdiff.analysis.study import Study
from jaxdiff.io.provenance import units_of
from jaxdiff.io.shown import counted
from jaxdiff.report.document import Block, Heading, Text
from jaxdiff.report.sections import defect_name
from jaxdiff.report.values import in_unit, rounded, scatter

TELLS_EV = 0.3
"""A 95 % interval of Ea that is wider cannot tell 0.1 from 0.4 eV."""


def verdict(series: Series, study: Study) -> list[Block]:
    """Trust, then the answer, then hops, checks and D at room temperature."""
    seen = (
        f"{counted(study.total_hops, 'hop')} in {study.exposure_ps / 1000:.3g} ns of "
        f"observed time at {counted(len(study.rows), 'temperature')}. "
        f"{of_checks(study.checks)}"
    )
    lines = *_trust(series, study), _answer(study)
    return [*(Text(line, verdict=True) for line in lines), Text(seen + _room(study))]


def of_checks(made: Sequence[Check]) -> str:
    """How many passed and failed, and which failed."""
    failed = [c.name for c in made if c.passed is False]
    passed = sum(c.passed is True for c in made)
    text = f"Checks: {passed} passed, {len(failed)} failed"
    return f"{text} (**{', '.join(failed)}**)." if failed else f"{text}."


def _trust(series: Series, study: Study) -> list[str]:
    """Why the answer is not to be trusted, or does not say much."""
    lines = distrust(study.checks)
    fit = study.activation.headline
    if fit is None:
        return lines
    low, high = fit.activation_energy.interval
    if not high - low <= TELLS_EV:
        lines.append(
            f"**Too few hops for an activation energy:** the 95 % interval is "
            f"{high - low:.2f} eV wide and cannot tell 0.1 from 0.4 eV."
            f"{_cost(series, study)}"
        )
    return lines


def distrust(made: Sequence[Check]) -> list[str]:
    """A sentence where checks failed."""
    failed = sum(c.passed is False for c in made)
    if not failed:
        return []
    return [
        f"**Do not trust this result as it stands:** {counted(failed, 'check')} failed; "
        "see Checks for what to do."
    ]


def _cost(series: Series, study: Study) -> str:
    """What a useful interval takes, in hops, time and hours of the machine that ran it."""
    plan = study.activation.plan
    if plan is None or not plan.factor > 1:
        return ""
    text = (
        f" ± {plan.half_width_ev:.2g} eV needs about {rounded(plan.hops.sum())} hops, that "
        f"is a run {plan.factor:.3g} times as long ({plan.exposure_ps.sum() / 1000:.3g} ns "
        "over all replicas"
    )
    walls = [unit.get("wall_s") for unit in units_of(series.provenance)]
    known = [wall for wall in walls if isinstance(wall, int | float)]
    if known and len(known) == len(walls):
        hours = plan.factor * sum(known) / 3600
        text += f", {hours:.3g} hours on the machine that ran it"
    return f"{text})."


def _answer(study: Study) -> str:
    """Ea; at one temperature D."""
    energies, what = study.activation, defect_name(study.sign)
    if energies.diffusion is None:
        row = study.rows[0] if len(study.rows) == 1 else None
        why = energies.not_identifiable or ""
        if row is None or not row.hops:
            return f"**No activation energy:** {why[:1].lower()}{why[1:]}"
        known = in_unit(row.headline_diffusivity, "cm²/s")
        return f"**D of the {what} at {row.temperature_kelvin:.0f} K = {known}.** {why}"
    if energies.correlated:
        text = (
            f"**Ea = {_energy(energies.correlated)}** for diffusion of the {what}, from "
            "hop counts and the measured correlation of jumps; without correlation (f = 1) "
            f"{_energy(energies.diffusion)}"
        )
    else:
        text = (
            f"**Ea = {_energy(energies.diffusion)}** for diffusion of the {what}, from hop "
            "counts, if successive jumps are uncorrelated (f = 1; to measure f takes "
            f"{PAIRS_PER_ORDER} pairs of hops)"
        )
    if energies.gls:
        text += f"; from displacements (GLS) {_energy(energies.gls)}"
    return f"{text}."


def _energy(fit: ArrheniusFit) -> str:
    energy = fit.activation_energy
    low, high = energy.interval
    return f"{energy.value:.3f} eV (95 %: {low:.3f} to {high:.3f})"


def _room(study: Study) -> str:
    room = study.activation.room
    if room is None:
        return ""
    kelvin = f"{room.temperature_kelvin:.0f} K"
    value = in_unit(room.estimate, "cm²/s")
    if not room.extrapolated:
        return f" D at {kelvin}: {value}."
    return (
        f" D extrapolated to {kelvin}: {value}, assuming the same Arrhenius line down to "
        "there."
    )


def line(study: Study) -> list[Block]:
    """The parameters of the Arrhenius line."""
    fit = study.activation.headline
    if fit is None:
        return []
    prefactor, middle = (
        str(e).removesuffix(f" {e.unit}") for e in (fit.log_prefactor, fit.middle)
    )
    text = (
        f"ln(D0 / cm² s⁻¹) = {prefactor} (D0 = {math.exp(fit.log_prefactor.value):.2e} "
        f"cm²/s); its error and that of Ea have a correlation of {fit.correlation:.3f}. "
        f"The line is known best at {fit.middle_temperature_kelvin:.0f} K: ln(D / cm² "
        f"s⁻¹) = {middle}. "
        f"{scatter(fit.dispersion)}"
    )
    return [Heading("Arrhenius line"), Text(text)]
