"""All that displacements say of a crystal: by temperature, over temperatures, checks."""

import dataclasses
import math
from collections.abc import Sequence

from jaxdiff.analysis.checks import Check, smallest_of
from jaxdiff.analysis.conductivity import Activated, activated, of_row
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.site_study import SiteStudy
from jaxdiff.analysis.transport import Paths, Transport, measure

STRAIGHT_LIMIT = 0.01
"""Smallest p-value of a straight mean squared displacement, over all temperatures."""

HOST_LIMIT = 0.05
"""Largest diffusivity of a framework element, of that of the mobile atoms."""

KNOWN = 3.0
"""A diffusivity is known if the ends of its interval differ by no more than this factor."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One temperature: motion, and conductivities by it, S/cm.

    - `conductivity`: by the collective motion; `nernst_einstein`: as if ions moved
      independently.
    """

    motion: Transport
    conductivity: Estimate
    nernst_einstein: Estimate


@dataclasses.dataclass(frozen=True)
class TransportStudy:
    """Motion of one element in a crystal, without a list of its sites.

    - `mobile`: its symbol; `charge`: in elementary charges; `charge_from`: where that is
      from. `formula`: of the cell, smallest whole numbers.
    - `why`: why hops are not counted; `sites`: what they are, where sites were given.
    - `tracer_line`, `charge_line`: Arrhenius lines of D* and of D_σ; `tracer_missing`,
      `charge_missing`: why there is none.
    """

    mobile: str
    formula: str
    charge: float
    charge_from: str
    why: str
    rows: tuple[Row, ...]
    tracer_line: Activated | None
    charge_line: Activated | None
    tracer_missing: str
    charge_missing: str
    checks: tuple[Check, ...]
    sites: SiteStudy | None = None


def study_transport(
    several: Sequence[Sequence[Paths]],
    *,
    mobile: str,
    formula: str,
    charge: float,
    charge_from: str,
    why: str,
) -> TransportStudy:
    """Results of trajectories, given by temperature."""
    motions = [measure(paths) for paths in several]
    rows = []
    for motion in motions:
        collective, independent = of_row(motion, charge)
        rows.append(Row(motion, collective, independent))
    tracer, tracer_missing = activated(motions, [m.tracer.mean for m in motions], charge)
    line, missing = activated(motions, [m.charge.mean for m in motions], charge)
    return TransportStudy(
        mobile=mobile,
        formula=formula,
        charge=charge,
        charge_from=charge_from,
        why=why,
        rows=tuple(rows),
        tracer_line=tracer,
        charge_line=line,
        tracer_missing=tracer_missing,
        charge_missing=missing,
        checks=_checks(mobile, motions),
    )


def _checks(mobile: str, motions: Sequence[Transport]) -> tuple[Check, ...]:
    return (
        _moves(mobile, motions),
        _straight(motions),
        _framework(motions),
        _known("D* is known", "D*", [(m, m.tracer.mean) for m in motions]),
        _known("collective motion is known", "D_σ", [(m, m.charge.mean) for m in motions]),
    )


def _moves(mobile: str, motions: Sequence[Transport]) -> Check:
    """Some atoms change places at every temperature, and D* is above zero."""
    still = [m for m in motions if m.n_far == 0 or m.tracer.mean.interval[0] <= 0]
    seen = ", ".join(
        f"{m.n_far} of {m.n_mobile} at {m.temperature_kelvin:g} K" for m in motions
    )
    return Check(
        "atoms diffuse",
        not still,
        f"{mobile} atoms that end more than half of their spacing from where they began: "
        f"{seen}",
        "Without diffusion only an upper bound of D* is known: run longer, or hotter.",
    )


def _straight(motions: Sequence[Transport]) -> Check:
    known = {
        m.temperature_kelvin: m.straight_p_value
        for m in motions
        if math.isfinite(m.straight_p_value)
    }
    if not known:
        return Check("straight lines", None, "no displacement to test")
    kelvin = min(known, key=known.__getitem__)
    joint = min(1.0, known[kelvin] * len(known))
    return Check(
        "straight lines",
        joint >= STRAIGHT_LIMIT,
        f"tracer displacements: p = {joint:.2g} at {kelvin:g} K{smallest_of(len(known))}; "
        f"limit {STRAIGHT_LIMIT}",
        "The motion is not diffusive over the lag times of the fit: run longer, leave out "
        "the beginning (--start), or equilibrate longer (equilibration.duration_ps).",
    )


def _framework(motions: Sequence[Transport]) -> Check:
    worst, text = 0.0, []
    for m in motions:
        for host in m.host:
            d = host.diffusivity
            share = max(d.interval[0], 0.0) / max(m.tracer.mean.value, 1e-300)
            worst = max(worst, share)
            if share > HOST_LIMIT:
                text.append(
                    f"{host.symbol} {d.value:.2e} cm²/s at {m.temperature_kelvin:g} K"
                )
    return Check(
        "framework stands",
        worst <= HOST_LIMIT,
        "; ".join(text) or "no other element diffuses",
        "Other atoms diffuse too: the crystal melts, or another element is mobile as well. "
        "Displacements are relative to the mean of these atoms.",
    )


def _known(name: str, symbol: str, given: Sequence[tuple[Transport, Estimate]]) -> Check:
    wide = [(m, d) for m, d in given if not d.interval[1] <= KNOWN * d.interval[0]]
    if not wide:
        detail = f"every 95 % interval of {symbol} spans less than a factor of {KNOWN:g}"
        return Check(name, True, detail)
    motion, d = max(wide, key=lambda pair: pair[1].interval[1] / max(pair[1].value, 1e-300))
    return Check(
        name,
        False,
        f"{symbol} at {motion.temperature_kelvin:g} K is between {d.interval[0]:.2g} and "
        f"{d.interval[1]:.2g} cm²/s (95 %)",
        f"{motion.duration_ps:.4g} ps are too short for it. The error falls with the root "
        "of the time: run longer, or more replicas.",
    )
