"""Rates of transition-state theory beside those that were counted, and what comes back.

    python simulate/transmission.py runs/lif_barriers/barriers.json RUN_OR_LOG ...

Each run (a folder) must have kept the positions of every frame of the detector
(output.positions_every_ps = hops.stride_fs/1000); logs of simulate/evidence.py (.h5.gz) hold
what was seen in them. For each temperature a row: the harmonic rate of an interstitial over
all paths that were found (jaxdiff barrier, with [rates]); the rate that was counted, its
flux through the dividing surface, and the transmission coefficient, rate over flux
(jaxdiff.analysis.transmission); 1/ps, with intervals of 95 %. Those of collinear hops alone
stand behind.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from evidence import excursions, unpacked

from jaxdiff.analysis import Estimate, Series, hop_rate, load_series
from jaxdiff.analysis.transmission import Excursions, find_excursions, transmission
from jaxdiff.lattice.jumps import INTERSTITIAL
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.objectives.harmonic import Rate

COLLINEAR = ROCK_SALT.classes.index("collinear")


def read(path: Path) -> tuple[Series, Excursions] | None:
    """A run or a log of one; None of a log without crossings."""
    if path.suffix == ".gz":
        found = excursions(path)
        return None if found is None else (unpacked(path), found)
    series = load_series(path)
    return series, find_excursions(series)


def harmonic(barriers: Path) -> dict[str, Rate]:
    """The jumps of an interstitial that have a rate, by name."""
    found = json.loads(barriers.read_text(encoding="utf-8"))["paths"]
    names = [jump.name for jump in ROCK_SALT.jumps_of(INTERSTITIAL)]
    rates = {
        n: Rate(found[n]["forward_ev"], found[n]["prefactor_thz"])
        for n in names
        if "prefactor_thz" in found.get(n, {})
    }
    if not rates:
        raise ValueError(
            f"{barriers} has no path of an interstitial with a prefactor; run jaxdiff "
            "barrier with rates.temperatures_kelvin."
        )
    return rates


def per_ps(rates: dict[str, Rate], kelvin: float) -> dict[str, float]:
    """Rate of each jump, all ways of its kind together."""
    return {
        name: ROCK_SALT.jump(name).multiplicity * np.exp(rate.log_rate(kelvin))
        for name, rate in rates.items()
    }


def counted(runs: list[tuple[Series, Excursions]], kelvin: float) -> Estimate:
    """Rate of collinear hops."""
    hops, time = 0, 0.0
    for series, _ in runs:
        mine, events = series.temperature == kelvin, series.events
        hops += int(np.sum(mine[events.replica] & (events.kind == COLLINEAR)))
        time += float(series.exposure_ps[mine].sum())
    return hop_rate(hops, time)


def shown(found: Estimate) -> str:
    """Value and interval."""
    low, high = found.interval
    return f"{found.value:.3f} [{low:.3f}, {high:.3f}]"


def main(
    barriers: Annotated[Path, typer.Argument(help="barriers.json with prefactors.")],
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or logs of them.")],
) -> None:
    """Print the table."""
    rates = harmonic(barriers)
    given = [found for found in map(read, runs) if found is not None]
    if not given:
        raise ValueError(f"none of {len(runs)} logs has crossings; run these blocks anew.")
    every = ", ".join(sorted({f"{1e3 * found.every_ps:g}" for _, found in given}))
    print(f"Harmonic: {', '.join(rates)}. Frames every {every} fs.\n")
    print(
        "| T, K | harmonic | counted | flux | transmission coefficient | collinear: "
        "harmonic | counted |\n|---|---|---|---|---|---|---|"
    )
    for one in transmission(given):
        own = per_ps(rates, one.temperature)
        print(
            f"| {one.temperature:g} | {sum(own.values()):.3f} | {shown(one.rate)} | "
            f"{shown(one.flux)} | {shown(one.coefficient)} | "
            f"{own.get('collinear', np.nan):.3f} | "
            f"{shown(counted(given, one.temperature))} |"
        )


if __name__ == "__main__":
    typer.run(main)
