"""The first lines of a report: whether to believe it, what it found, what it would take."""

import math
from collections.abc import Sequence

from jaxdiff.analysis.arrhenius import ArrheniusFit
from jaxdiff.analysis.checks import Check
from jaxdiff.analysis.memory import PAIRS_PER_ORDER
from jaxdiff.analysis.series import Series
from jaxdiff.analysis.study import Study
from jaxdiff.io.provenance import units_of
from jaxdiff.report.document import Block, Text
from jaxdiff.report.sections import defect_name, shown_range

TELLS_EV = 0.3
"""A 95 % interval of Ea that is wider cannot tell 0.1 from 0.4 eV."""


def verdict(series: Series, study: Study) -> list[Block]:
    """Trust, then the answer, then hops and checks, in a few sentences."""
    failed = [c.name for c in study.checks if c.passed is False]
    passed = sum(c.passed is True for c in study.checks)
    n = len(study.rows)
    seen = (
        f"{study.total_hops} hop{'s' if study.total_hops != 1 else ''} in "
        f"{study.exposure_ps / 1000:.3g} ns of exposure at "
        f"{n} temperature{'s' if n != 1 else ''}. Checks: {passed} passed, "
        f"{len(failed)} failed"
    )
    seen += f" (**{', '.join(failed)}**)." if failed else "."
    first = [Text(line, verdict=True) for line in (*_trust(series, study), _answer(study))]
    return [*first, Text(seen), *_parameters(study)]


def _trust(series: Series, study: Study) -> list[str]:
    """Why the answer is not to be believed, or does not say much."""
    lines = distrust(study.checks)
    fit = study.activation.headline
    if fit is None:
        return lines
    low, high = fit.activation_energy.interval
    if not high - low <= TELLS_EV:
        lines.append(
            f"**Too few hops for an activation energy:** its 95 % interval, "
            f"{high - low:.2f} eV wide, cannot tell 0.1 from 0.4 eV.{_cost(series, study)}"
        )
    return lines


def distrust(made: Sequence[Check]) -> list[str]:
    """A sentence where checks failed."""
    failed = sum(c.passed is False for c in made)
    word = "a check" if failed == 1 else f"{failed} checks"
    if not failed:
        return []
    return [f"**Not to be believed as it stands:** {word} failed, see below."]


def _cost(series: Series, study: Study) -> str:
    """What a useful interval takes, in hops, time and hours of the machine that ran it."""
    plan = study.activation.plan
    if plan is None or not plan.factor > 1:
        return ""
    text = (
        f" ± {plan.half_width_ev:.2g} eV takes about {plan.hops.sum():.0f} hops: "
        f"{plan.factor:.3g} times as long, {plan.exposure_ps.sum() / 1000:.3g} ns of "
        "replica time"
    )
    walls = [unit.get("wall_s") for unit in units_of(series.provenance)]
    known = [wall for wall in walls if isinstance(wall, int | float)]
    if known and len(known) == len(walls):
        hours = plan.factor * sum(known) / 3600
        text += f", {hours:.3g} hours of the machine that ran it"
    return f"{text}."


def _answer(study: Study) -> str:
    """Ea; at one temperature D."""
    energies, what = study.activation, defect_name(study.sign)
    if energies.diffusion is None:
        row = study.rows[0] if len(study.rows) == 1 else None
        why = f"Ea is not identifiable. {energies.not_identifiable}"
        if row is None or not row.hops:
            return f"**{why.replace('. ', '.** ', 1)}"
        known = f"{shown_range(row.headline_diffusivity)} cm²/s"
        return f"**D of the {what} at {row.temperature_kelvin:.0f} K = {known}.** {why}"
    if energies.correlated:
        text = (
            f"**Ea = {_energy(energies.correlated)}** by hop counts with the measured "
            f"correlation of jumps; {_energy(energies.diffusion)} if there is none (f = 1)"
        )
    else:
        text = (
            f"**Ea = {_energy(energies.diffusion)}** by hop counts, if jumps have no "
            f"memory (f = 1): measuring it takes {PAIRS_PER_ORDER} pairs of hops"
        )
    if energies.gls:
        text += f"; {_energy(energies.gls)} by displacements (GLS)"
    return f"{text}; diffusion of the {what}."


def _energy(fit: ArrheniusFit) -> str:
    energy = fit.activation_energy
    low, high = energy.interval
    return f"{energy.value:.3f} eV (95 %: {low:.3f} to {high:.3f})"


def _parameters(study: Study) -> list[Block]:
    fit = study.activation.headline
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
        text += (
            f" D {kind} {room.temperature_kelvin:.0f} K: {shown_range(room.estimate)} cm²/s"
        )
        text += ", if the same line goes on." if room.extrapolated else "."
    return [Text(text)]
