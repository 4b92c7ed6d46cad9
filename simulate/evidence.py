"""Hops of the embedded model in a small cell, block after block, for as long as it runs.

    python simulate/evidence.py [--logs FOLDER] [--table]

A block is simulate/lif_evidence.toml with the changes of one of SETTINGS and a seed of its
own, run in runs/evidence. Its series goes to FOLDER, packed to some kilobytes. Blocks that
are there are not repeated: a clone goes on where the logs end, and a block that was stopped
goes on from its checkpoint. Next is always the setting that has the smallest part of the
hops it wants.
"""

import gzip
import tempfile
from pathlib import Path
from typing import Annotated

import jax
import typer

from jaxdiff.analysis import Series, garwood, load_series
from jaxdiff.io import durable, runfile
from jaxdiff.runs import simulation

RUN_FILE = Path(__file__).with_name("lif_evidence.toml")
LOGS = Path(__file__).with_name("evidence")
SETTINGS: dict[str, tuple[int, tuple[str, ...]]] = {  # hops wanted, and what is changed
    "800K": (2000, ()),
    "600K": (500, ("ensemble.temperatures_kelvin=[600]",)),
    "700K": (500, ("ensemble.temperatures_kelvin=[700]",)),
    "900K": (500, ("ensemble.temperatures_kelvin=[900]",)),
    "800K-1fs": (500, ("ensemble.timestep_fs=1",)),
    "800K-217": (500, ("system.supercell=3",)),
}
TINY = ("production.duration_ps=0.1", "equilibration.duration_ps=0.05")


def unpacked(log: Path) -> Series:
    """The series of a block."""
    with tempfile.TemporaryDirectory() as folder:
        series = Path(folder) / "series.h5"
        series.write_bytes(gzip.decompress(log.read_bytes()))
        return load_series(series)


def blocks(logs: Path, name: str) -> list[Path]:
    """The logs of a setting, by seed; the number of a block stands for its seed."""
    return sorted(logs.glob(f"{name}_*.h5.gz"))


def run_block(logs: Path, name: str, seed: int, changes: tuple[str, ...]) -> Series:
    """Run or go on with a block, and pack its series."""
    folder = Path("runs/evidence") / f"{name}_{seed:03d}"
    own = (f"ensemble.seed={seed}", f"output.directory={folder}", *SETTINGS[name][1])
    run = runfile.load(RUN_FILE, [*own, *changes])
    for why in simulation.simulate(run, folder, lambda *_: None):
        print(f"{name}, seed {seed}: a replica diverged, {why}", flush=True)
    log = logs / f"{folder.name}.h5.gz"
    durable.write_bytes(log, gzip.compress((folder / "series.h5").read_bytes(), mtime=0))
    return unpacked(log)


def table(logs: Path) -> str:
    """Hops, time and rate of each setting that has a block."""
    rows = ["| setting | hops | time of the defect, ns | rate, 1/ns | 95 % |"]
    rows.append("|---|---|---|---|---|")
    for name in SETTINGS:
        series = [unpacked(log) for log in blocks(logs, name)]
        if series:
            totals = sum(int(s.hop_count.sum()) for s in series)
            ns = sum(float(s.exposure_ps.sum()) for s in series) / 1e3
            low, high = (bound / ns for bound in garwood(totals))
            rate = f"{totals / ns:.0f} | {low:.0f} to {high:.0f}"
            rows.append(f"| {name} | {totals} | {ns:.3f} | {rate} |")
    return "\n".join(rows)


def main(
    logs: Annotated[Path, typer.Option(help="Folder of the logs.")] = LOGS,
    only_table: Annotated[
        bool, typer.Option("--table", help="Print what the logs say, and run nothing.")
    ] = False,
    tiny: Annotated[bool, typer.Option(help="One block of 0.1 ps, as a test.")] = False,
) -> None:
    """Run blocks until each setting has the hops it wants."""
    jax.config.update("jax_enable_x64", True)
    logs.mkdir(parents=True, exist_ok=True)
    hops = {
        name: sum(int(unpacked(log).hop_count.sum()) for log in blocks(logs, name))
        for name in SETTINGS
    }
    while not only_table:
        name = min(hops, key=lambda name: hops[name] / SETTINGS[name][0])
        if hops[name] >= SETTINGS[name][0]:
            break
        seed = 1 + len(blocks(logs, name))
        series = run_block(logs, name, seed, TINY if tiny else ())
        hops[name] += int(series.hop_count.sum())
        print(f"{name}, seed {seed}: {hops[name]} of {SETTINGS[name][0]} hops", flush=True)
        if tiny:
            break
    print(table(logs))


if __name__ == "__main__":
    typer.run(main)
