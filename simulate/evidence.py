"""Hops of the embedded model in a small cell, block after block, for as long as it runs.

    python simulate/evidence.py [--logs FOLDER] [--table]

A block is simulate/lif_evidence.toml with the changes of one of SETTINGS and a seed of its
own, run in runs/evidence. Its series goes to FOLDER, packed to some kilobytes: in place of
frames it has the crossings of the dividing surface that they show (`excursions/*`, read by
simulate/transmission.py). Beside it stands how many hops other settings of the detector
count on the same frames. Blocks that are there are not repeated: a clone goes on where the
logs end, and a block that was stopped goes on from its checkpoint. Next is always the
setting that has the smallest part of the hops it wants.
"""

import dataclasses
import gzip
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import h5py
import jax
import numpy as np
import typer

from jaxdiff.analysis import Series, garwood, load_series
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.memory import Memory, defect_memory
from jaxdiff.analysis.residence import Residences
from jaxdiff.analysis.transmission import Excursions, find_excursions
from jaxdiff.analysis.walkers import follow
from jaxdiff.devices import use_every_core
from jaxdiff.io import durable, runfile
from jaxdiff.io.trajectory import open_trajectory

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
DETECTORS = [  # dwell, frames; core, Å; every which frame of 20 fs
    *((dwell, 0.77, 1) for dwell in (1, 2, 3, 4, 5)),
    *((3, core, 1) for core in (0.60, 0.65, 0.70, 0.85)),
    *((dwell, 0.77, 2) for dwell in (1, 2)),
    (1, 0.77, 5),
]
TINY = ("production.duration_ps=0.4", "equilibration.duration_ps=0.05")


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
    from jaxdiff.runs import simulation  # not before every core is a device

    folder = Path("runs/evidence") / f"{name}_{seed:03d}"
    own = (f"ensemble.seed={seed}", f"output.directory={folder}", *SETTINGS[name][1])
    run = runfile.load(RUN_FILE, [*own, *changes])
    for why in simulation.simulate(run, folder, lambda *_: None):
        print(f"{name}, seed {seed}: a replica diverged, {why}", flush=True)
    log = logs / f"{folder.name}.h5.gz"
    recount(
        folder,
        log.with_suffix("").with_suffix(".json"),
        run.ensemble.temperatures_kelvin,
    )
    durable.write_bytes(
        log, gzip.compress(without_positions(folder / "series.h5"), mtime=0)
    )
    return unpacked(log)


def without_positions(path: Path) -> bytes:
    """The file of a series that has, in place of its frames, what crossings they show."""
    found, content = find_excursions(load_series(path)), io.BytesIO()
    with h5py.File(path) as whole, h5py.File(content, "w") as short:
        short.attrs.update(whole.attrs)
        whole.visititems(lambda name, item: _copied(short, name, item))
        for name, value in dataclasses.asdict(found).items():
            short[f"excursions/{name}"] = value
    return content.getvalue()


def excursions(log: Path) -> Excursions | None:
    """Those that a log holds, if it does."""
    with h5py.File(io.BytesIO(gzip.decompress(log.read_bytes()))) as file:
        if "excursions" not in file:
            return None
        own: Any = file["excursions"]
        names = [field.name for field in dataclasses.fields(Excursions)]
        return Excursions(**{name: own[name][()] for name in names})


def _copied(file: h5py.File, name: str, item: h5py.Group | h5py.Dataset) -> None:
    if isinstance(item, h5py.Dataset):
        axis = {"positions/time_ps": 0, "positions/position": 1}.get(name)
        values = item[()] if axis is None else item[(slice(None),) * axis + (slice(0),)]
        file[name] = values
        file[name].attrs.update(item.attrs)


def recount(folder: Path, record: Path, temperatures: list[float]) -> None:
    """Write the hops of a block by each of DETECTORS, from its frames."""
    from jaxdiff.runs.trajectories import Analysis

    hops = {}
    with tempfile.TemporaryDirectory() as place:
        export = ["jaxdiff", "export", folder, f"{place}/{{replica}}.h5"]
        command = [sys.executable, "-m", *export]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        files = sorted(Path(place).glob("*.h5"))
        for dwell, core, stride in DETECTORS:
            asked = {
                "temperature_kelvin": temperatures,
                "mobile": "Li",
                "network": "rock-salt",
                "supercell": None,
                "core_radius_angstrom": core,
                "dwell_frames": dwell,
                "keep_frames": 0,
            }
            found = Path(place) / "found"
            frames = [open_trajectory(file, stride=stride) for file in files]
            Analysis.of(frames, asked).write_series(found)
            counted = int(load_series(found).hop_count.sum())
            hops[f"dwell {dwell}, core {core:.2f} Å, {20 * stride} fs"] = counted
            shutil.rmtree(found)
    durable.write_text(record, json.dumps(hops, indent=1))


def memory(series: list[Series]) -> Memory | None:
    """Of the hops of all blocks of a setting."""
    jumps, parts, n_walkers = [], [], 0
    for one in series:
        walkers = follow(one)
        jumps.append(walkers.jump[np.lexsort((walkers.time, walkers.walker))])
        data = walkers.residences()
        parts.append(dataclasses.replace(data, replica=data.replica + n_walkers))
        n_walkers += len(walkers.start)
    names = [field.name for field in dataclasses.fields(Residences)]
    whole = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
    return defect_memory(np.concatenate(jumps), Residences(**whole))


def by_half(series: list[Series]) -> list[int]:
    """Hops in the first and in the second half of the blocks."""
    late = [2 * w.time > w.start[w.walker] + w.stop[w.walker] for w in map(follow, series)]
    second = int(np.concatenate(late).sum())
    return [sum(map(len, late)) - second, second]


def table(logs: Path) -> str:
    """Hops, rate and memory of each setting that has a block, and what detectors count."""
    rows = ["| setting | hops | of the defect, ns | rate, 1/ns | f | hops by half |"]
    rows.append("|---|---|---|---|---|---|")
    detected: Counter[str] = Counter()
    for name in SETTINGS:
        series = [unpacked(log) for log in blocks(logs, name)]
        if series:
            hops = sum(int(s.hop_count.sum()) for s in series)
            ns = sum(float(s.exposure_ps.sum()) for s in series) / 1e3
            rate, low, high = (n / ns for n in (hops, *garwood(hops)))
            found = memory(series)
            factor = _with_interval(found.factor) if found else "too few hops"
            rows.append(
                f"| {name} | {hops} | {ns:.3f} | {rate:.0f} [{low:.0f}, {high:.0f}] | "
                f"{factor} | {', '.join(map(str, by_half(series)))} |"
            )
        for record in sorted(logs.glob(f"{name}_*.json")):
            detected.update(json.loads(record.read_text(encoding="utf-8")))
    rows += ["", "| detector, on the same frames of all settings | hops |", "|---|---|"]
    return "\n".join([*rows, *(f"| {name} | {n} |" for name, n in detected.items())])


def _with_interval(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.value:.2f} [{low:.2f}, {high:.2f}]"


def main(
    logs: Annotated[Path, typer.Option(help="Folder of the logs.")] = LOGS,
    only_table: Annotated[
        bool, typer.Option("--table", help="Print what the logs say, and run nothing.")
    ] = False,
    tiny: Annotated[bool, typer.Option(help="One block of 0.4 ps, as a test.")] = False,
) -> None:
    """Run blocks until each setting has the hops it wants."""
    jax.config.update("jax_enable_x64", True)
    use_every_core()
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
