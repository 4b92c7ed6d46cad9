"""How often does each check of a run fail, and how often does the headline hold the truth?

Walks whose jumps are undone with a known probability, and walks with one other fault each,
through the estimators and checks of the report. Every temperature has the same rate, 1/ps:
the true Ea is 0, and the errors are those of any other Ea with as many hops.

python benchmarks/power.py [RECORD.json] [--repetitions N]
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import Record, finish

from jaxdiff import units
from jaxdiff.analysis import checks, consistency
from jaxdiff.analysis.activation import activation
from jaxdiff.analysis.curvature import fit_curvature
from jaxdiff.analysis.diffusion import defect_diffusivity
from jaxdiff.analysis.displacement import collective_slope
from jaxdiff.analysis.estimate import Estimate, unknown
from jaxdiff.analysis.memory import between_walkers, defect_memory, no_memory
from jaxdiff.analysis.rates import dispersion_index, hop_rate
from jaxdiff.analysis.residence import exponentiality, residences
from jaxdiff.analysis.series import pool
from jaxdiff.analysis.settling import settling
from jaxdiff.analysis.stationarity import stationarity
from jaxdiff.analysis.study import memories
from jaxdiff.analysis.walkers import follow

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from memory_walk import SQUARED_JUMP, as_series, factor, remember  # noqa: E402
from warming import warming  # noqa: E402

TEMPERATURES = np.array([600.0, 700.0, 800.0, 900.0])
REPLICAS = 4  # at each temperature
BACK = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
HOPS = (40, 160, 640)  # expected at each temperature
ALL_CHECKS = (160,)  # of these: a run through all checks takes long
FRAMES = 10  # in a residence
SIMULATIONS = 99
SIZES, LENGTHS = (65, 217, 1001), (2, 4, 6, 8, 10, 20)  # of the equilibration
COVERED = (
    *("D", "D, displacements", "D, f = 1"),
    *("Ea", "Ea, displacements", "Ea, f = 1"),
)

Rows = dict[str, dict[str, float]]


def with_memory(kind: str, back: float, hops: int, seed: int) -> dict[str, float]:
    """One run: 1 for each check that failed, and each interval that holds the truth."""
    temperature = np.repeat(TEMPERATURES, REPLICAS)
    duration = np.full(len(temperature), hops / REPLICAS)
    walk = remember(np.ones_like(duration), duration, kind=kind, back=back, seed=seed)
    series = as_series(walk, temperature, kind=kind, frame_ps=1 / FRAMES)
    walkers = follow(series)
    memory = memories(series, walkers)
    noise = between_walkers(list(memory.values()))
    truth = SQUARED_JUMP[kind] / 6 * units.CM2_PER_S * factor(back)
    covered: dict[str, list[float]] = {name: [] for name in COVERED}
    score, p_value, values = {}, {}, []
    for t in TEMPERATURES.tolist():
        mine = series.temperature == t
        totals, part = pool(series, mine), walkers.select(mine)
        one, slope = memory.get(t), collective_slope(series, mine, totals)
        best = one.diffusivity(noise) if one else unknown("cm^2/s")
        gls = slope.fit.diffusivity if slope and slope.fit else unknown("cm^2/s")
        found = (best, gls, defect_diffusivity(totals))
        for name, estimate in zip(COVERED, found, strict=False):
            covered[name].append(_holds(estimate, truth))
        values.append((t, gls))
        score[t] = consistency.agreement_z(best, gls)
        p_value[t] = exponentiality(
            part.residences(), seed=0, frame_ps=series.frame_ps, n_simulations=SIMULATIONS
        ).p_value
    overall = activation(series, values, memory, noise)
    fits = (overall.correlated, overall.gls, overall.diffusion)
    for name, fit in zip(COVERED[3:], fits, strict=True):
        covered[name].append(_holds(fit.activation_energy, 0.0) if fit else np.nan)
    factors = {t: m.factor for t, m in memory.items()}
    no_factor = no_memory(list(memory.values()))
    steady = stationarity(
        *(walkers.time, walkers.walker, walkers.start, walkers.stop),
        seed=0,
        group=walkers.temperature,
    )
    made = (
        *consistency.check_estimates(factors, no_factor, score, p_value, steady, overall),
        checks.check_poisson(
            dispersion_index(series.hop_count, series.exposure_ps, series.temperature)
        ),
    )
    failed = {c.name: np.nan if c.passed is None else float(not c.passed) for c in made}
    return failed | {name: _mean(values) for name, values in covered.items()}


def _holds(estimate: Estimate, truth: float) -> float:
    if not np.isfinite(estimate.value):
        return np.nan
    low, high = estimate.interval
    return float(low < truth < high)


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else np.nan


def jumps_alone(kind: str, back: float, hops: int, seed: int) -> dict[str, float]:
    """One run, by its jumps only: seen to have a memory, and what D holds the truth."""
    n = len(TEMPERATURES) * REPLICAS
    duration = np.full(n, hops / REPLICAS)
    walk = remember(np.ones(n), duration, kind=kind, back=back, seed=seed)
    truth = SQUARED_JUMP[kind] / 6 * units.CM2_PER_S * factor(back)
    found, counted = [], []
    for first in range(0, n, REPLICAS):
        part = walk.select(first, first + REPLICAS)
        data = residences(part.time, part.replica, np.zeros(REPLICAS), part.duration)
        found.append(defect_memory(part.jump.astype(float), data))
        count = hop_rate(len(part.time), float(part.duration.sum()))
        counted.append(count.scaled(SQUARED_JUMP[kind] / 6 * units.CM2_PER_S, "cm^2/s"))
    known = [one for one in found if one]
    noise = between_walkers(known)
    return {
        "jumps without memory": float(no_memory(known) < consistency.P_LIMIT),
        "D": _mean([_holds(one.diffusivity(noise), truth) for one in known]),
        "D, f = 1": _mean([_holds(count, truth) for count in counted]),
    }


def memory_table(
    of_run: Callable[[str, float, int, int], dict[str, float]],
    kind: str,
    repetitions: int,
    every: Sequence[int] = HOPS,
) -> dict[str, Rows]:
    """By hops and back-jumps: means over the runs."""
    table: dict[str, Rows] = {}
    for hops in every:
        for back in BACK:
            runs = [of_run(kind, back, hops, seed) for seed in range(repetitions)]
            row = {name: round(_mean([r[name] for r in runs]), 4) for name in runs[0]}
            table.setdefault(str(hops), {})[f"{back:g}"] = row
    return table


def shape(fault: float, hops: int, rng: np.random.Generator) -> float:
    """p of residences of a Weibull distribution of shape 1 - `fault`."""
    time = np.cumsum(rng.weibull(1 - fault, 2 * hops + 50))
    time = time[time < hops]
    data = residences(time, np.zeros(len(time), int), np.zeros(1), np.array([1.0 * hops]))
    return exponentiality(data, seed=0, n_simulations=SIMULATIONS).p_value


def beginning(fault: float, hops: int, rng: np.random.Generator) -> float:
    """p of a rate that is higher by `fault` in the first quarter."""
    early = rng.uniform(0, 0.25, rng.poisson(hops / 4 * (1 + fault)))
    time = np.append(early, rng.uniform(0.25, 1, rng.poisson(0.75 * hops)))
    walker = rng.integers(REPLICAS, size=len(time))
    zero, one = np.zeros(REPLICAS), np.ones(REPLICAS)
    return stationarity(time, walker, zero, one, seed=0, n_simulations=999).p_value


def scatter(fault: float, hops: int, rng: np.random.Generator) -> float:
    """p of rates that vary by `fault` between 16 replicas."""
    size = 4 * REPLICAS
    rate = rng.gamma(fault**-2, fault**2, size) if fault else np.ones(size)
    return dispersion_index(rng.poisson(rate * hops / size), np.ones(size)).p_value


def bend(fault: float, hops: int, rng: np.random.Generator) -> float:
    """p of an Ea that changes by `fault` (eV) over the temperatures, of as many hops."""
    x = 1 / (units.KB * TEMPERATURES)
    mean = np.exp(fault / np.ptp(x) * (x - x.mean()) ** 2 / 2)
    count = rng.poisson(hops * mean / mean.mean())
    return fit_curvature(TEMPERATURES, count, np.ones(len(x))).p_value


FAULTS: dict[str, tuple[Callable[..., float], tuple[float, ...]]] = {
    "residences exponential: Weibull shape below 1 by": (shape, (0, 0.1, 0.2, 0.3)),
    "stationary: rate of the first quarter higher by": (beginning, (0, 0.25, 0.5, 1.0)),
    "hops are Poisson: rates of 16 replicas vary by": (scatter, (0, 0.2, 0.4, 0.6)),
    "Arrhenius curvature: Ea changes by, eV": (bend, (0, 0.1, 0.2, 0.4)),
}


def fault_table(repetitions: int) -> dict[str, dict[str, Rows]]:
    """Chance to fail of each check, by its own fault and by hops."""
    found: dict[str, dict[str, Rows]] = {}
    for name, (p_value, faults) in FAULTS.items():
        for fault in faults:
            row = {}
            for hops in HOPS:
                rng = np.random.default_rng(hops)
                p = [p_value(fault, hops, rng) for _ in range(repetitions)]
                row[str(hops)] = round(float(np.mean(np.array(p) < consistency.P_LIMIT)), 4)
            found.setdefault(name, {})[f"{fault:g}"] = row
    return found


def settling_table(repetitions: int) -> dict[str, Rows]:
    """Chance of the check of the equilibration to fail, and of a replica to go on.

    By atoms and by the length of the equilibration in relaxation times of the energy.
    """
    found: dict[str, Rows] = {}
    for n_atoms in SIZES:
        for length in LENGTHS:
            failed, on = [], []
            for seed in range(repetitions):
                record = warming(length, 4 * REPLICAS, n_atoms, seed=seed)
                seen = settling(*record)
                failed.append(checks.check_settling(seen).passed is False)
                on.append(1 - np.mean(seen.has_settled))
            row = {"check fails": np.mean(failed), "a replica goes on": np.mean(on)}
            mine = found.setdefault(f"{n_atoms} atoms", {})
            mine[f"{length:g}"] = {k: round(float(v), 4) for k, v in row.items()}
    return found


def show_settling(table: dict[str, Rows]) -> str:
    """Markdown."""
    lines = [
        f"| of {4 * REPLICAS} replicas, after | {' | '.join(f'{x} τ' for x in LENGTHS)} |"
    ]
    lines += ["|---|" + "---|" * len(LENGTHS)]
    for atoms, by_length in table.items():
        for what in next(iter(by_length.values())):
            cells = " | ".join(f"{row[what]:.1%}" for row in by_length.values())
            lines.append(f"| {atoms}: {what} | {cells} |")
    return "\n".join(lines) + "\n"


def show(kind: str, table: dict[str, Rows]) -> str:
    """Markdown: a table for each number of hops."""
    lines = []
    for hops, rows in table.items():
        names = list(next(iter(rows.values())))
        lines += [f"{kind}, {hops} hops at each of {len(TEMPERATURES)} temperatures", ""]
        lines += [f"| | {' | '.join(f'{float(b):.0%}' for b in rows)} |"]
        lines += ["|---|" + "---|" * len(rows)]
        for name in names:
            cells = (f"{row[name]:.1%}".replace("nan%", "–") for row in rows.values())
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def show_faults(table: dict[str, Rows]) -> str:
    """Markdown."""
    lines = [f"| check and fault | {' | '.join(f'{h} hops' for h in HOPS)} |"]
    lines += ["|---|" + "---|" * len(HOPS)]
    for name, rows in table.items():
        for fault, row in rows.items():
            cells = " | ".join(f"{row[str(h)]:.1%}" for h in HOPS)
            lines.append(f"| {name} {fault} | {cells} |")
    return "\n".join(lines) + "\n"


def main(
    record: Record = None,
    repetitions: Annotated[int, typer.Option(min=2, help="Runs of each setting.")] = 400,
) -> None:
    """How often does each check fail, and each interval hold the truth?"""
    start = time.perf_counter()
    found: dict[str, object] = {"repetitions": repetitions}
    for kind in SQUARED_JUMP:
        table = memory_table(jumps_alone, kind, repetitions)
        print(show(kind, table), flush=True)
        found[kind] = table
    found["faults"] = faults = fault_table(repetitions)
    print(show_faults(faults), flush=True)
    found["equilibration"] = settled = settling_table(repetitions)
    print(show_settling(settled), flush=True)
    found["repetitions_of_all_checks"] = few = max(2, repetitions // 4)
    table = memory_table(with_memory, "vacancy", few, ALL_CHECKS)
    print(show("vacancy, all checks", table), flush=True)
    found["vacancy, all checks"] = table
    finish(record, found, start)


if __name__ == "__main__":
    typer.run(main)
