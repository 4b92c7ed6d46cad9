"""The part of a report on hops between the sites of any crystal."""

import math
from collections.abc import Sequence

from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.site_study import SiteRow, SiteStudy
from jaxdiff.report.document import Block, Heading, Table, Text

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
        Table(
            ("T (K)", "kind", "sites", "filled, file", "filled, seen", "residence (ps)"),
            [line for row in study.rows for line in _kinds(row)],
        ),
        Heading("Hops"),
        Table(
            (
                *("T (K)", "from, to", "length (Å)", "hops", "rate (1/ns)"),
                *("return", "neighbours", "leads"),
            ),
            [line for row in study.rows for line in _classes(row)],
        ),
        Table(
            ("T (K)", "hops", "D by hops, f = 1 (cm²/s)", "f = D*/D by hops", "in cores"),
            [_counts(row) for row in study.rows],
        ),
        Text(_note(study, mobile)),
    ]


def _source(study: SiteStudy) -> str:
    text = (
        f"Sites: {study.source}. An atom has arrived once it was within "
        f"{study.core_radius:g} Å of a site (nearer where sites are close) for "
        f"{study.dwell_ps:.3g} ps."
    )
    if study.halves is not None:
        one, two, share = study.halves
        text += (
            f" The first half of the (first) trajectory alone has {one} maxima, the second "
            f"{two}; {share:.0%} of them are in both."
        )
    away = [r for r in study.rows if r.in_core < OFTEN]
    if away:
        text += (
            f" **Atoms are within a core for only {min(r.in_core for r in away):.0%} of "
            "the time**: the sites are not where they stay, or there are too few of them."
        )
    return text


def _kinds(row: SiteRow) -> list[tuple[str | int, ...]]:
    return [
        (
            *(f"{row.temperature_kelvin:g}", kind.name, kind.n_sites),
            f"{kind.given:.2f}" if math.isfinite(kind.given) else "–",
            *(f"{kind.seen:.2f}", _shown(kind.residence)),
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
            _shown(one.rate),
            f"{one.returning:.0%}",
            f"{one.neighbours:.0%}",
            "far" if one.far else "round a cage",
        )
        for one in row.classes
    ]


def _counts(row: SiteRow) -> tuple[str | int, ...]:
    return (
        *(f"{row.temperature_kelvin:g}", row.n_hops),
        _shown(row.hop_diffusivity, "{:.2e}"),
        *(_shown(row.correlation, "{:.2f}"), f"{row.in_core:.0%}"),
    )


def _note(study: SiteStudy, mobile: str) -> str:
    text = (
        f"Rates are of one {mobile} atom; their intervals are widened by how much more "
        "than Poisson's the hops of atoms scatter. Return: hops straight back to the site "
        "before. Neighbours: hops between sites that share a face of their Voronoi cells; "
        "others passed through a third unseen. Leads: whether ways of this length or less "
        "go through the whole crystal, or only round a cage of sites. D by hops is "
        "Σ l²/6Nt, as if no hop depended on the one before; f is what D* is of that. "
    )
    text += "".join(_vacancies(row) for row in study.rows) or (
        "Atoms have more sites than they fill, and none that has to be filled, so that an "
        "empty site is no defect: no D of a vacancy or interstitial is given."
    )
    energy = study.activation_energy
    if energy is not None:
        low, high = energy.interval
        text += (
            f" Ea of the rate of all hops: {energy.value:.3f} eV ({low:.3f} to "
            f"{high:.3f}), which is that of diffusion only if all classes lead far and f "
            "stays the same."
        )
    return text


def _shown(estimate: Estimate, form: str = "{:.3g}") -> str:
    low, high = estimate.interval
    top = form.format(high) if math.isfinite(high) else "∞"
    if not math.isfinite(estimate.value):
        return f"> {form.format(low)}" if low > 0 else "not known"
    return f"{form.format(estimate.value)} [{form.format(low)}, {top}]"


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
        f"{'is' if n_empty == 1 else 'are'} vacant: a "
        f"vacancy diffuses with {_shown(d, '{:.2e}')} cm²/s if its jumps have no memory. "
    )


def not_given(rows: Sequence[SiteRow]) -> tuple[tuple[str, str], ...]:
    """What even these sites do not give, and why."""
    share = max((row.doubly for row in rows), default=0.0)
    crowd = f"; two atoms share a core in {share:.0%} of frames" if share > 0 else ""
    return (
        (
            "D and residence of a defect",
            f"which sites are filled in the perfect crystal{crowd}",
        ),
        ("moves of several atoms at once", "which chains of atoms are one event"),
    )
