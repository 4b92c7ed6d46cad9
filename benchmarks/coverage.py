"""Do the 95 % intervals hold the truth in 95 % of runs? Estimators on simulated walks.

Each repetition is a run of independent replicas of a walk whose rate, diffusivity, Haven
ratio and activation energy are known.

python benchmarks/coverage.py [RECORD.json] [--repetitions N]
"""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import Record, finish

from jaxdiff import units
from jaxdiff.analysis import correlation, gls, msd, residence
from jaxdiff.analysis.arrhenius import NotIdentifiableError, fit_arrhenius
from jaxdiff.analysis.bootstrap import ratio_bootstrap
from jaxdiff.analysis.displacement import fit_defect, tracer_lags
from jaxdiff.analysis.estimate import Estimate, unknown
from jaxdiff.analysis.memory import between_walkers, defect_memory
from jaxdiff.analysis.rates import compound_poisson, hop_rate
from jaxdiff.lattice.rock_salt import ROCK_SALT

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from kinetic_walk import HAVEN_RATIO, Walk, simulate  # noqa: E402

CELLS = 4  # 257 cations
MIXED = (0.5, 0.25, 0.25, 0.0)  # of the mechanisms, for what concerns the defect alone
COLLINEAR = (1.0, 0.0, 0.0, 0.0)  # for the tracers: here the factor is known
SQUARED_JUMP = 0.5 * 12 + 0.25 * 8 + 0.25 * 4  # <l²> of MIXED, (a/4)²; a/4 = 1 Å
SQUARED_STEPS = 6.0  # (a/4)² of an interstitialcy
FRAMES = 20  # in a residence time, 1 ps: the rate is 1/ps
ACTIVATION_ENERGY = 0.22  # eV
TEMPERATURE = np.array([350.0, 400.0, 450.0, 500.0, 550.0, 600.0])


@dataclasses.dataclass(frozen=True)
class Design:
    """A run at one temperature, and another at all `TEMPERATURE` for Ea."""

    name: str
    replicas: int
    hops: float  # expected in each replica
    replicas_per_temperature: int
    hops_in_all: float  # expected over all temperatures

    @property
    def n_frames(self) -> int:
        """Of a replica, both ends included."""
        return round(self.hops * FRAMES) + 1


DESIGNS = (
    Design("realistic", replicas=16, hops=10, replicas_per_temperature=16, hops_in_all=960),
    Design("small", replicas=8, hops=4, replicas_per_temperature=4, hops_in_all=32),
)


def rate(walk: Walk, seed: int) -> Estimate:
    """By count and exposure."""
    return hop_rate(len(walk.time), float(walk.duration.sum()))


def defect_by_count(walk: Walk, seed: int) -> Estimate:
    """Σl²/(6t)."""
    square = (walk.jump**2).sum(axis=1)
    estimate = compound_poisson(
        int(square.sum()), int((square**2).sum()), 6 * float(walk.duration.sum()), "Å^2/ps"
    )
    return estimate.scaled(units.CM2_PER_S, "cm^2/s")


def defect_by_bootstrap(walk: Walk, seed: int) -> Estimate:
    """Σl²/(6t), error over replicas."""
    square = np.bincount(walk.replica, (walk.jump**2).sum(axis=1), walk.n_replicas)
    estimate = ratio_bootstrap(square, 6 * walk.duration, seed=seed, unit="Å^2/ps")
    return estimate.scaled(units.CM2_PER_S, "cm^2/s")


def _defect_fit(walk: Walk) -> gls.GlsFit | None:
    n_frames = round(float(walk.duration[0]) * FRAMES) + 1
    path = msd.site_paths(
        walk.time,
        walk.replica,
        walk.jump,
        n_walkers=walk.n_replicas,
        n_frames=n_frames,
        frame_ps=1 / FRAMES,
    )
    square = (walk.jump**2).sum(axis=1)
    moment = float((square**2).sum() / square.sum()) if len(square) else 12.0
    stay = float(walk.duration.sum()) / max(len(walk.time), 1)
    found = fit_defect(path, 1 / FRAMES, stay, moment)
    return found[1] if found else None


def defect_by_gls(walk: Walk, seed: int) -> Estimate:
    """Site-projected, a line with an offset; error by the covariance."""
    fit = _defect_fit(walk)
    return fit.diffusivity if fit else unknown("cm^2/s")


def defect_by_memory(walk: Walk, seed: int) -> Estimate:
    """With the measured correlation of the jumps."""
    found = defect_memory(walk.jump.astype(float), _residences(walk))
    if found is None:
        return unknown("cm^2/s")
    return found.diffusivity(between_walkers([found]))


def tracer_by_count(walk: Walk, seed: int) -> Estimate:
    """Σs² f/(6 N t) with the factor of the mechanism."""
    weight = SQUARED_STEPS * ROCK_SALT.tracer_correlation[0]
    n = len(walk.time)
    exposure = 6 * walk.n_cations * float(walk.duration.sum())
    estimate = compound_poisson(n * weight, n * weight**2, exposure, "Å^2/ps")
    return estimate.scaled(units.CM2_PER_S, "cm^2/s")


def tracer_by_gls(walk: Walk, seed: int) -> Estimate:
    """With an offset, from five residences or a quarter of the run on; over replicas."""
    n_frames = round(float(walk.duration[0]) * FRAMES) + 1
    number, owner = msd.cation_walkers(walk.replica, walk.cation, walk.n_cations)
    path = msd.site_paths(
        np.repeat(walk.time, 2),
        number.ravel(),
        walk.step.reshape(-1, 3),
        n_walkers=len(owner),
        n_frames=n_frames,
        frame_ps=1 / FRAMES,
    )
    stay = float(walk.duration.sum()) / max(len(walk.time), 1)
    lag = tracer_lags(n_frames, stay * FRAMES)
    moved = msd.at_lags(path, lag)
    of_replica = [np.bincount(owner, row, walk.n_replicas) for row in moved]
    fit = gls.fit_msd(
        np.stack(of_replica, axis=1) / walk.n_cations,
        lag,
        n_frames=n_frames,
        frame_ps=1 / FRAMES,
        moment_ratio=SQUARED_STEPS,
        intercept="memory",
        n_walkers=walk.n_cations,
    )
    return fit.replica_error(seed)


def tracer_by_order(walk: Walk, seed: int) -> Estimate:
    """From the rate and the order of the hops."""
    return correlation.measured_tracer_diffusivity(
        walk.replica,
        walk.cation,
        walk.step,
        walk.duration,
        n_cations=walk.n_cations,
        seed=seed,
    )


def _residences(walk: Walk) -> residence.Residences:
    start = np.zeros(walk.n_replicas)
    return residence.residences(walk.time, walk.replica, start, walk.duration)


def residence_time(walk: Walk, seed: int) -> Estimate:
    """Maximum likelihood with censoring."""
    return residence.mean_residence(_residences(walk))


def survival(walk: Walk, seed: int) -> Estimate:
    """Kaplan-Meier, of one residence time."""
    data = _residences(walk)
    if not (data.ended & data.entered).any():
        return unknown("1")
    value, low, high = residence.survival(data).at(1.0)
    return Estimate(value, (high - low) / 3.92, (low, high), len(walk.time), "1")


def tracer_factor(walk: Walk, seed: int) -> Estimate:
    """From the order of the hops."""
    return correlation.tracer_correlation(
        walk.replica, walk.cation, walk.step, n_replicas=walk.n_replicas, seed=seed
    )


def defect_factor(walk: Walk, seed: int) -> Estimate:
    """Of an autoregression of the jumps."""
    found = defect_memory(walk.jump.astype(float), _residences(walk))
    return found.factor if found else unknown("1")


def haven(walk: Walk, seed: int) -> Estimate:
    """From the order of the hops."""
    return correlation.haven_ratio(
        walk.replica,
        walk.jump,
        walk.cation,
        walk.step,
        n_replicas=walk.n_replicas,
        seed=seed,
    )


Estimator = Callable[[Walk, int], Estimate]

_D = units.CM2_PER_S / 6
_TRACER = SQUARED_STEPS * ROCK_SALT.tracer_correlation[0] * _D / (4 * CELLS**3 + 1)

OF_MIXED: dict[str, tuple[Estimator, float]] = {
    "hop rate": (rate, 1.0),
    "D_def, measured f": (defect_by_memory, SQUARED_JUMP * _D),
    "D_def, hop count, f = 1": (defect_by_count, SQUARED_JUMP * _D),
    "the same, replica bootstrap": (defect_by_bootstrap, SQUARED_JUMP * _D),
    "D_def, GLS": (defect_by_gls, SQUARED_JUMP * _D),
    "residence time, maximum likelihood": (residence_time, 1.0),
    "survival at one residence time": (survival, math.exp(-1)),
    "correlation factor of the defect": (defect_factor, 1.0),
}

OF_COLLINEAR: dict[str, tuple[Estimator, float]] = {
    "D*, f by class": (tracer_by_count, _TRACER),
    "D*, GLS": (tracer_by_gls, _TRACER),
    "D*, measured f": (tracer_by_order, _TRACER),
    "correlation factor of the tracer": (tracer_factor, ROCK_SALT.tracer_correlation[0]),
    "Haven ratio": (haven, HAVEN_RATIO[0]),
}


def activation_energies(design: Design, repetitions: int, seed: int) -> list[Estimate]:
    """Poisson regression on the counts of the replicas, equal time for each."""
    rng = np.random.default_rng(seed)
    temperature = np.repeat(TEMPERATURE, design.replicas_per_temperature)
    boltzmann = np.exp(-ACTIVATION_ENERGY / (units.KB * temperature))
    mean = boltzmann * design.hops_in_all / boltzmann.sum()
    result = []
    for _ in range(repetitions):
        try:
            fit = fit_arrhenius(temperature, rng.poisson(mean), np.ones(len(mean)))
            result.append(fit.activation_energy)
        except NotIdentifiableError:
            result.append(unknown("eV"))
    return result


def summary(estimates: list[Estimate], truth: float) -> dict[str, float]:
    """Bias, scatter and coverage; of the repetitions with a value."""
    known = [
        e for e in estimates if math.isfinite(e.value) and not math.isnan(e.interval[0])
    ]
    if len(known) < 2:
        return {"truth": truth, "undetermined": 1.0}
    value = np.array([e.value for e in known]) / truth
    low, high = (np.array([e.interval[i] for e in known]) / truth for i in (0, 1))
    error = np.array([e.standard_error for e in known]) / truth
    inside = (low <= 1) & (high >= 1)
    return {
        "truth": truth,
        "bias": round(float(value.mean()) - 1, 4),
        "relative_sd": round(float(value.std(ddof=1)), 4),
        "mean_reported_error": round(float(np.nanmean(error)), 4),
        "coverage": round(float(inside.mean()), 4),
        "interval_above": round(float((low > 1).mean()), 4),
        "interval_below": round(float((high < 1).mean()), 4),
        "undetermined": round(1 - len(known) / len(estimates), 4),
    }


def study(design: Design, repetitions: int, seed: int) -> dict[str, dict[str, float]]:
    """All estimators at one design."""
    n = design.replicas
    result = {}
    for probability, estimators in ((MIXED, OF_MIXED), (COLLINEAR, OF_COLLINEAR)):
        everything = simulate(
            np.ones(n * repetitions),
            np.full(n * repetitions, float(design.hops)),
            probability=probability,
            cells=CELLS,
            seed=seed,
        )
        runs = [everything.select(n * k, n * (k + 1)) for k in range(repetitions)]
        for name, (estimator, truth) in estimators.items():
            estimates = [estimator(run, k) for k, run in enumerate(runs)]
            result[name] = summary(estimates, truth)
    energies = activation_energies(design, repetitions, seed)
    result["Ea, Poisson regression, f = 1"] = summary(energies, ACTIVATION_ENERGY)
    return result


def table(design: Design, rows: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    lines = [
        f"{design.name}: {design.replicas} replicas x {design.hops:g} hops; Ea: "
        f"{len(TEMPERATURE)} temperatures x {design.replicas_per_temperature} replicas, "
        f"{design.hops_in_all:g} hops in all",
        "",
        "| estimator | bias % | s.d. % | reported s.d. % | coverage % | undetermined % |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if "bias" not in row:
            lines.append(f"| {name} | – | – | – | – | 100.0 |")
            continue
        numbers = (
            f"{100 * row['bias']:+.1f}",
            f"{100 * row['relative_sd']:.1f}",
            f"{100 * row['mean_reported_error']:.1f}",
            f"{100 * row['coverage']:.1f}",
            f"{100 * row['undetermined']:.1f}",
        )
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    return "\n".join(lines) + "\n"


def main(
    record: Record = None,
    repetitions: Annotated[int, typer.Option(min=2, help="Runs of each design.")] = 1000,
) -> None:
    """How often does the 95 % interval of each estimator hold the truth?"""
    start = time.perf_counter()
    found = {"repetitions": repetitions, "designs": {}}
    for number, design in enumerate(DESIGNS):
        rows = study(design, repetitions, seed=100 + number)
        print(table(design, rows), flush=True)
        found["designs"][design.name] = dataclasses.asdict(design) | {"estimators": rows}
    finish(record, found, start)


if __name__ == "__main__":
    typer.run(main)
