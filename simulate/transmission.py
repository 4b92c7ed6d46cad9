"""Rates of transition-state theory beside those counted, and how many crossings stay.

    python simulate/transmission.py runs/lif_barriers/barriers.json RUN_OR_LOG ...

Barriers are those of `jaxdiff barrier` with [rates]. A run (its folder) must have kept the
positions of every frame of the detector (output.positions_every_ps); a log of
simulate/evidence.py (.h5.gz) holds what was seen in them. Rates are those of an
interstitial, 1/ps, with intervals of 95 %: the harmonic one (paths with a prefactor), the
one that was counted, the flux through the dividing surface, and the transmission
coefficient, rate over flux (jaxdiff.analysis.transmission).
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from evidence import excursions, unpacked

from jaxdiff.analysis import Estimate, Series, load_series
from jaxdiff.analysis.transmission import Excursions, find_excursions, transmission
from jaxdiff.lattice.jumps import INTERSTITIAL
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.objectives.harmonic import Rate


def read(path: Path, stride: int) -> tuple[Series, Excursions] | None:
    """A run or a log of one; None of a log without crossings."""
    if path.suffix == ".gz":
        found = excursions(path)
        return None if found is None else (unpacked(path), found)
    series = load_series(path)
    return series, find_excursions(series, stride=stride)


def harmonic(barriers: Path) -> dict[str, Rate]:
    """The jumps of an interstitial that have a rate, by name."""
    found = json.loads(barriers.read_text(encoding="utf-8"))["paths"]
    return {
        jump.name: Rate(entry["forward_ev"], entry["prefactor_thz"])
        for jump in ROCK_SALT.jumps_of(INTERSTITIAL)
        if "prefactor_thz" in (entry := found.get(jump.name, {}))
    }


def shown(found: Estimate) -> str:
    """Value and interval."""
    low, high = found.interval
    return f"{found.value:.3f} [{low:.3f}, {high:.3f}]"


def main(
    barriers: Annotated[Path, typer.Argument(help="barriers.json with prefactors.")],
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or logs of them.")],
    stride: Annotated[int, typer.Option(help="Take every so many frames of a run.")] = 1,
) -> None:
    """Print a row for each temperature."""
    rates = harmonic(barriers)
    given = [found for run in runs if (found := read(run, stride)) is not None]
    every = ", ".join(sorted({f"{1e3 * found.every_ps:g}" for _, found in given}))
    print(f"{len(given)} of {len(runs)} runs show crossings, in frames every {every} fs")
    print(f"harmonic: {', '.join(rates)}\n")
    print("| T, K | harmonic | counted | flux | transmission coefficient |")
    print("|---|---|---|---|---|")
    for one in transmission(given) if given else []:
        own = sum(
            ROCK_SALT.jump(name).multiplicity * np.exp(rate.log_rate(one.temperature))
            for name, rate in rates.items()
        )
        columns = (one.rate, one.flux, one.coefficient)
        counted = " | ".join(map(shown, columns))
        print(f"| {one.temperature:g} | {own:.3f} | {counted} |")


if __name__ == "__main__":
    typer.run(main)
