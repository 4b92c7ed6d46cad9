"""The part of a report on hops between the sites of any crystal."""

import math
from collections.abc import Sequence

from jaxdiff.analysis.site_study import SiteRow, SiteStudy
from jaxdiff.report.document import Block, Heading, Text
from jaxdiff.report.values import NOTHING, filled, in_unit, shown

FULL = 0.99
"""Occupancy, as the file says, of a site that is filled in the perfect crystal."""

FEW = 0.1
"""Largest share of such sites that may be empty for each to be a vacancy."""

OFTEN = 0.7
"""Share of time within cores below which the sites are not those of the atoms."""


def sites(study: SiteStudy, mobile: str) -> list[Block]:
    """Sites by kind, hops by class, diffusivity by counts."""
    return [
        Heading("Sites"),
        Text(_source(study)),
        filled(
            ("T (K)", "kind", "sites", "filled, file", "filled, seen", "residence (ps)"),
            [line for row in study.rows for line in _kinds(row)],
        ),
        Heading("Hops"),
        filled(
            (
                *("T (K)", "from, to", "length (Å)", "hops", "rate (1/ns)"),
                *("return", "neighbours", "leads"),
            ),
            [line for row in study.rows for line in _classes(row)],
        ),
        filled(
            (
                *("T (K)", "hops", "D from hops, f = 1 (cm²/s)"),
                *("f = D*/D from hops", "in cores"),
            ),
            [_counts(row) for row in study.rows],
        ),
        Text(_note(study, mobile)),
    ]


def _source(study: SiteStudy) -> str:
    text = (
        f"Sites: {study.source}. An atom has arrived at a site after {study.dwell_ps:.3g} "
        f"ps within its core of {study.core_radius:g} Å (less where sites are close)."
    )
    if study.halves is not None:
        one, two, share = study.halves
        text += (
            f" The first half of the first trajectory has {one} maxima, the second half "
            f"{two}; {share:.0%} of them are in both."
        )
    away = [r for r in study.rows if r.in_core < OFTEN]
    if away:
        text += (
            f" **Atoms are in a core for only {min(r.in_core for r in away):.0%} of the "
            "time**: the sites are not where atoms stay, or sites are missing."
        )
    return text


def _kinds(row: SiteRow) -> list[tuple[str | int, ...]]:
    return [
        (
            *(f"{row.temperature_kelvin:g}", kind.name, kind.n_sites),
            f"{kind.given:.2f}" if math.isfinite(kind.given) else NOTHING,
            *(f"{kind.seen:.2f}", shown(kind.residence)),
        )
        for kind in row.kinds
    ]


def _classes(row: SiteRow) -> list[tuple[str | int, ...]]:
    return [
        (
            f"{row.temperature_kelvin:g}",
            f"{one.kinds[0]}, {one.kinds[1]}",
            f"{one.length:.2f}",
            one.n,
            shown(one.rate),
            f"{one.returning:.0%}",
            f"{one.neighbours:.0%}",
            "through the crystal" if one.far else "within a cage",
        )
        for one in row.classes
    ]


def _counts(row: SiteRow) -> tuple[str | int, ...]:
    return (
        *(f"{row.temperature_kelvin:g}", row.n_hops),
        shown(row.hop_diffusivity),
        *(shown(row.correlation, "{:.2f}"), f"{row.in_core:.0%}"),
    )


def _note(study: SiteStudy, mobile: str) -> str:
    text = (
        f"Rates are per {mobile} atom; intervals are widened where the hops of the atoms "
        "scatter more than Poisson's. Return: hops straight back to the previous site. "
        "Neighbours: hops between sites whose Voronoi cells share a face; the others "
        "passed through a third site unseen. Leads: whether hops of this length or less "
        "lead through the whole crystal or stay within a cage of sites. D from hops is "
        "Σ l²/6Nt, for uncorrelated hops; f = D*/D. "
    )
    text += "".join(_vacancies(row) for row in study.rows) or (
        "There are more sites than atoms also in the perfect crystal, so an empty site is "
        "no defect, and no D of a vacancy or interstitial is given."
    )
    energy = study.activation_energy
    if energy is not None:
        low, high = energy.interval
        text += (
            f" Ea of the rate of all hops: {energy.value:.3f} eV ({low:.3f} to "
            f"{high:.3f}). It is that of diffusion only if all classes lead through the "
            "crystal and f does not depend on temperature."
        )
    return text


def _vacancies(row: SiteRow) -> str:
    """D of a vacancy where all sites are filled in the perfect crystal, and few are not."""
    full = all(kind.given > FULL for kind in row.kinds)
    n_sites = sum(kind.n_sites for kind in row.kinds)
    n_empty = n_sites - row.n_atoms
    if not full or not 0 < n_empty <= FEW * n_sites:
        return ""
    d = row.hop_diffusivity.scaled(row.n_atoms / n_empty, "cm^2/s")
    return (
        f"At {row.temperature_kelvin:g} K {n_empty} of {n_sites} sites "
        f"{'is' if n_empty == 1 else 'are'} vacant: D of a vacancy is "
        f"{in_unit(d, 'cm²/s')} if its jumps are uncorrelated. "
    )


def not_given(rows: Sequence[SiteRow]) -> tuple[tuple[str, str], ...]:
    """What even these sites do not give, and why."""
    share = max((row.doubly for row in rows), default=0.0)
    crowd = f"; two atoms share a core in {share:.0%} of frames" if share > 0 else ""
    return (
        (
            "D and residence of a defect",
            f"the sites that are filled in the perfect crystal{crowd}",
        ),
        ("concerted moves of several atoms", "the chains of atoms that move as one event"),
    )
