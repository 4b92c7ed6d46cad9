"""Several runs compared: one joint regression, differences, power and equivalence."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxdiff.analysis.activation import effective_hops
from jaxdiff.analysis.comparison import Comparison, compare_arrhenius
from jaxdiff.analysis.consistency import P_LIMIT
from jaxdiff.analysis.record import plain
from jaxdiff.analysis.series import Series, load_series
from jaxdiff.analysis.study import Study, summarize
from jaxdiff.io import durable
from jaxdiff.report.document import Block, Document, Heading, Picture, Table, Text
from jaxdiff.report.figures import compared_arrhenius, energy_differences
from jaxdiff.report.sections import spread
from jaxdiff.report.values import scatter, shown

FORMAT, FORMAT_VERSION = "jaxdiff-comparison", 1


def write_comparison(
    run_dirs: Sequence[str | Path], out: str | Path, *, margin_ev: float = 0.02
) -> Path:
    """Write compare.html, .md and .json into `out`; the path of the first.

    - `margin_ev`: largest difference of Ea that does not matter, eV.
    """
    if len(run_dirs) < 2:
        raise ValueError(f"{len(run_dirs)} run given; a comparison needs two or more.")
    if not margin_ev > 0:
        raise ValueError(f"margin_ev={margin_ev} eV; it must be positive, such as 0.02.")
    runs = {
        name: load_series(folder)
        for name, folder in zip(_names(run_dirs), run_dirs, strict=True)
    }
    if len({series.sign for series in runs.values()}) > 1:
        raise ValueError(
            "Some runs have an interstitial and some a vacancy; their activation energies "
            "belong to different processes. Compare runs of one kind of defect."
        )
    comparison = _compare(runs, margin_ev)
    studies = {name: summarize(series) for name, series in runs.items()}
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "runs": {n: str(d) for n, d in zip(runs, run_dirs, strict=True)},
        "comparison": plain(comparison),
    }
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    durable.write_text(out / "compare.json", text)
    return _document(runs, studies, comparison).write(out, "compare")


def _names(run_dirs: Sequence[str | Path]) -> list[str]:
    """What tells the folders apart: their names, or their paths where names repeat."""
    paths = [os.path.normpath(folder) for folder in run_dirs]
    if len(set(paths)) < len(paths):
        raise ValueError("A folder is given twice; a run does not differ from itself.")
    names = [os.path.basename(path) for path in paths]
    return names if len(set(names)) == len(names) else paths


def _compare(runs: Mapping[str, Series], margin_ev: float) -> Comparison:
    def rows(of) -> np.ndarray:
        return np.concatenate([of(series) for series in runs.values()])

    return compare_arrhenius(
        np.repeat(list(runs), [len(s.temperature) for s in runs.values()]),
        rows(lambda s: s.temperature),
        rows(lambda s: effective_hops(s)[0]),
        rows(lambda s: s.exposure_ps),
        scale=rows(lambda s: effective_hops(s)[1]),
        margin=margin_ev,
        detectable=margin_ev,
    )


def _document(
    runs: Mapping[str, Series], studies: Mapping[str, Study], comparison: Comparison
) -> Document:
    blocks: list[Block] = [
        *(
            Text(
                f"**{p.second} − {p.first}: ΔEa = {p.activation_energy}** (95 %), p = "
                f"{p.p_value:.2g} for equal Ea: **{p.verdict}**.",
                verdict=True,
            )
            for p in comparison.pairs
        ),
        *_warnings(runs),
        *_remembering(studies),
        Picture(
            "comparison",
            "Diffusivities of the runs with their Arrhenius lines.",
            compared_arrhenius(studies),
        ),
        Picture(
            "differences",
            "Differences of Ea with 95 % intervals.",
            energy_differences(comparison),
        ),
        Heading("Runs"),
        _runs(runs, studies),
        Heading("Pairs"),
        _pairs(comparison),
        Text(_how(comparison)),
    ]
    return Document("Comparison of runs", blocks)


def _warnings(runs: Mapping[str, Series]) -> list[Block]:
    """What else differs between the runs."""
    found: list[Block] = []
    constants = {n: s.lattice_constant for n, s in runs.items()}
    if any(np.ptp([of(a) for a in constants.values()]) > 4e-4 for of in (np.min, np.max)):
        listed = ", ".join(f"{spread(a)} Å ({n})" for n, a in constants.items())
        text = "The lattice constants differ, and barriers depend on them:"
        found.append(Text(f"**{text}** {listed}."))
    sizes = {n: s.supercell.n_host for n, s in runs.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{k} host atoms ({n})" for n, k in sizes.items())
        found.append(Text(f"**The cells differ in size:** {listed}."))
    elif len({s.supercell for s in runs.values()}) > 1:
        text = "The cells have different lattice vectors:"
        given = "; ".join(f"{s.supercell.in_constants} ({n})" for n, s in runs.items())
        found.append(Text(f"**{text}** {given}, in lattice constants."))
    return found


def _remembering(studies: Mapping[str, Study]) -> list[Block]:
    """Runs whose jumps have a memory, which a comparison of counts leaves out."""
    named = [n for n, study in studies.items() if study.no_memory_p_value < P_LIMIT]
    if not named:
        return []
    text = (
        f"**Successive jumps are correlated** in {', '.join(named)}, and the comparison is "
        "of hop counts (f = 1). Compare the headlines of the single reports instead."
    )
    return [Text(text)]


def _runs(runs: Mapping[str, Series], studies: Mapping[str, Study]) -> Table:
    rows = []
    for name, study in studies.items():
        fit = study.activation.diffusion
        energy = shown(fit.activation_energy, "{:.3f}") if fit else "not determined"
        failed = sum(check.passed is False for check in study.checks)
        kelvin = ", ".join(f"{row.temperature_kelvin:.0f}" for row in study.rows)
        hops, exposure = study.total_hops, f"{study.exposure_ps / 1000:.3g}"
        rows.append((name, kelvin, hops, exposure, energy, failed))
    header = ("run", "T (K)", "hops", "observed (ns)", "Ea, f = 1 (eV)", "checks failed")
    return Table(header, rows)


def _pairs(comparison: Comparison) -> Table:
    rows = []
    for p in comparison.pairs:
        low, high = p.activation_energy.interval
        ratio_low, ratio_high = p.rate_ratio.interval
        rows.append(
            (
                f"{p.second} − {p.first}",
                f"{p.activation_energy.value:+.3f} [{low:+.3f}, {high:+.3f}]",
                f"{p.p_value:.2g}",
                f"{p.equivalence_p_value:.2g}",
                f"{p.power:.0%}",
                f"{p.rate_ratio.value:.2f} [{ratio_low:.2f}, {ratio_high:.2f}] at "
                f"{p.middle_temperature_kelvin:.0f} K",
                p.verdict,
            )
        )
    header = (
        "pair",
        "ΔEa (eV)",
        "equal, p",
        "equivalent, p",
        "power",
        "D ratio",
        "verdict",
    )
    return Table(header, rows)


def _how(comparison: Comparison) -> str:
    pair = comparison.pairs[0]
    return (
        "One Poisson regression on the hop counts of all replicas; each run has its own Ea "
        f"and prefactor. {scatter(comparison.dispersion)} It is taken as common to the "
        f"runs. One Ea for all: p = {comparison.equal_energy_p_value:.2g}. Equivalent, p: "
        f"of two one-sided tests against ± {pair.margin_ev:g} eV. Power: the probability "
        f"that data like these show a difference of {pair.detectable_ev:g} eV at the 5 % "
        "level. With several pairs, p-values are corrected by Holm's method. Undecided: "
        "the data allow a difference as well as none."
    )
