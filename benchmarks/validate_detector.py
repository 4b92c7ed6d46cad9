"""The hop detector on frames of real runs: settings, quenched frames, OVITO's sites.

python benchmarks/validate_detector.py FRAMES.h5 [RECORD.json] [--quench N]

FRAMES.h5 has `position` [F, R, N, 3], Å, unwrapped, all cations (Li) first, of cubic LiF
with one more Li, and `temperature` [R], K; a frame every 20 fs. What is compared:

- hops by class, and frames that are undefined or in transit, at each temperature;
- the same for other dwells, core radii and strides; `same_place` is the fraction of frames
  in which the interstitial is where the default settings see it;
- N settled and N/4 unsettled frames, relaxed with the model (L-BFGS): is each cation
  on the site that the detector says?
- Wigner-Seitz analysis with OVITO where it is installed: its doubly occupied cation site
  must be one of the four neighbours of the detector's 8c site; with 4a and 8c sites as the
  reference, the occupied sites of quenched frames must be the same ones.

Sites of the detector at frame f are read `dwell - 1` frames later: so late is its log.
"""

import functools
import importlib.util
import itertools
import json
import math
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import ase
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import typer
from ase.optimize import LBFGS
from harness import Record, write

from jaxdiff.lattice.rock_salt import ROCK_SALT, nearest_site
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.observables import SiteSettings, initialize, observe

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from quarters import QuarterHistory, quarters  # noqa: E402

CLASSES, N_HOP_CLASSES = ROCK_SALT.classes, ROCK_SALT.n_hop_classes

LATTICE, FRAME_FS, CHUNK = 4.083428, 20.0, 40
DWELLS, RADII = (1, 2, 3, 4, 5), (0.60, 0.65, 0.70, 0.77, 0.85)
STRIDES = {2: (1, 2, 3), 5: (1, 2)}  # frames: dwells
MAX_STEPS, FORCE = 80, 0.05  # of the relaxation; eV/Å
BESIDE = np.array(list(itertools.product((-1, 1), repeat=3)))


@dataclass
class Tracked:
    """What the detector says of all frames [F] of all replicas [R].

    `site` [F, R, M, 3], a/4, unwrapped; `origin` [F, R, 3], Å; `place` [F, R, 3] of the
    interstitial (folded; the last one known), `settled` [F, R]; `histories`, one a replica.
    """

    settings: SiteSettings
    site: np.ndarray
    origin: np.ndarray
    place: np.ndarray
    settled: np.ndarray
    histories: list


class Frames:
    """The frames of a file, and the cell they are in."""

    def __init__(self, path, stride=1):
        with h5py.File(path) as file:
            self.position = file["position"][::stride]
            self.temperature = file["temperature"][()]
        n_atoms = self.position.shape[2]
        self.cells = round((n_atoms // 8) ** (1 / 3))
        self.n_anions = 4 * self.cells**3
        self.mobile = np.arange(n_atoms) < n_atoms - self.n_anions
        self.supercell = Supercell.of(ROCK_SALT, self.cells)
        self.cell = LATTICE * self.cells * np.eye(3)

    def fold(self, site):
        """A site, a/4, in the cell."""
        return tuple(np.mod(site, 4 * self.cells).tolist())


@functools.partial(jax.jit, static_argnums=0)
def _scan(settings, state, position, first):
    def step(state, frame):
        state = jax.vmap(observe, (None, 0, 0, None))(settings, state, *frame)
        return state, state.site

    index = first + jnp.arange(len(position), dtype=jnp.int32)
    return jax.lax.scan(step, state, (position, index))


def track(frames, settings):
    """Sites of all cations in all frames, and the defects that follow from the log."""
    begin = functools.partial(
        initialize, settings, frames.supercell, frames.cell, is_mobile=frames.mobile
    )
    first = jnp.asarray(frames.position[0], jnp.float64)
    state = initial = jax.vmap(lambda x: begin(position=x))(first)
    sites = []
    for n in range(0, len(frames.position), CHUNK):
        part = jnp.asarray(frames.position[n : n + CHUNK], jnp.float64)
        state, site = _scan(settings, state, part, n)
        sites.append(np.asarray(site))
    anion = np.asarray(initial.anion_site)[None] * (LATTICE / 4)
    origin = (frames.position[:, :, ~frames.mobile] - anion).mean(axis=2)
    log, n_changes = (
        jax.tree.map(np.asarray, state.changes),
        np.asarray(state.changes.count),
    )
    assert n_changes.max() <= settings.log_capacity, "log_capacity is too small"
    found = [
        _replay(
            frames, np.asarray(initial.site[r]), log.frame[r], log.cation[r], log.site[r]
        )
        for r in range(len(frames.temperature))
    ]
    histories, place, settled = zip(*found, strict=True)
    return Tracked(
        settings,
        np.concatenate(sites),
        origin,
        np.stack(place, axis=1),
        np.stack(settled, axis=1),
        list(histories),
    )


def _replay(frames, site, log_frame, log_cation, log_site):
    """Defects frame by frame: history, place of the interstitial, whether settled."""
    history = QuarterHistory(frames.supercell, site)
    n = len(frames.position)
    place, settled, known = np.zeros((n, 3), int), np.zeros(n, bool), (0, 0, 0)
    for f in range(n):
        rows = np.flatnonzero(log_frame == f)
        changes = zip(log_cation[rows].tolist(), log_site[rows].tolist(), strict=True)
        undefined = history.counts.undefined
        history.change(f, [(c, tuple(s)) for c, s in changes])
        history.finish(f + 1)
        alive = [d for d in history.defects if d.end is None and d.sign > 0]
        known = quarters(alive[0].place) if len(alive) == 1 else known
        place[f], settled[f] = known, history.counts.undefined == undefined
    return history, place, settled


def counts(frames, tracked):
    """Numbers at each temperature."""
    rows = []
    for kelvin in np.unique(frames.temperature):
        mine = [
            h
            for h, t in zip(tracked.histories, frames.temperature, strict=True)
            if t == kelvin
        ]
        kinds = np.bincount(
            [e.kind for h in mine for e in h.events], minlength=len(CLASSES)
        )
        n = sum(h.counts.frames for h in mine)
        rows.append(
            {
                "kelvin": float(kelvin),
                "replica_ps": round(n * FRAME_FS / 1000, 2),
                **{k: int(c) for k, c in zip(CLASSES, kinds, strict=True) if c},
                "hops": int(kinds[:N_HOP_CLASSES].sum()),
                "undefined": round(sum(h.counts.undefined for h in mine) / n, 4),
                "transit": round(sum(h.counts.transit for h in mine) / n, 4),
                "frenkel": round(sum(h.counts.frenkel for h in mine) / n, 4),
            }
        )
    return rows


def compare(frames, tracked, reference, stride=1):
    """Hops and agreement with other settings on the same frames, all temperatures."""
    lag, other = tracked.settings.dwell_frames - 1, reference.settings.dwell_frames - 1
    n = min(len(tracked.place) - lag, (len(reference.place) - other - 1) // stride + 1)
    mine = tracked.place[lag : lag + n]
    theirs = reference.place[other::stride][:n]
    kinds = [e.kind for h in tracked.histories for e in h.events]
    total = sum(h.counts.frames for h in tracked.histories)
    return {
        "interval_fs": FRAME_FS * stride,
        "dwell": tracked.settings.dwell_frames,
        "core_radius": tracked.settings.core_radius,
        "hops": sum(k < N_HOP_CLASSES for k in kinds),
        "concerted": kinds.count(CLASSES.index("concerted")),
        "exchange": kinds.count(CLASSES.index("exchange")),
        "reversed": _reversed(tracked),
        "frenkel_events": sum(k >= N_HOP_CLASSES + 1 for k in kinds),
        "undefined": round(sum(h.counts.undefined for h in tracked.histories) / total, 4),
        "transit": round(sum(h.counts.transit for h in tracked.histories) / total, 4),
        "same_place": round(float((mine == theirs).all(axis=-1).mean()), 4),
    }


def _reversed(tracked):
    """Hops that undo the one before, by the same cations."""
    n = 0
    for history in tracked.histories:
        hops = [e for e in history.events if e.kind < N_HOP_CLASSES]
        for a, b in itertools.pairwise(hops):
            undone = {(c, (-x, -y, -z)) for c, (x, y, z) in b.moves}
            n += set(a.moves) == undone
    return n


def sensitivity(path, frames, reference):
    """Other dwells, core radii and strides."""
    rows = []
    wanted = [(1, d, 0.77) for d in DWELLS] + [(1, 3, r) for r in RADII if r != 0.77]
    wanted += [(s, d, 0.77) for s, dwells in STRIDES.items() for d in dwells]
    for stride, dwell, radius in wanted:
        some = frames if stride == 1 else Frames(path, stride)
        settings = SiteSettings(radius, dwell, log_capacity=8192)
        rows.append(compare(some, track(some, settings), reference, stride))
    return rows


def sample(reference, n_settled, n_unsettled, seed=0):
    """(frame, replica, settled), spread over replicas; the log is `lag` frames late."""
    rng, lag = np.random.default_rng(seed), reference.settings.dwell_frames - 1
    chosen = []
    for wanted, n in ((True, n_settled), (False, n_unsettled)):
        pool = np.argwhere(reference.settled[lag:] == wanted)
        pool = pool[rng.permutation(len(pool))]
        turn = [np.count_nonzero(pool[:k, 1] == r) for k, (_, r) in enumerate(pool)]
        order = np.argsort(turn, kind="stable")[:n]  # one of each replica, then the next
        chosen += [(int(f), int(r), wanted) for f, r in pool[order]]
    return chosen


def quenched(frames, reference, chosen):
    """Relax frames; the sites of all cations against those of the detector."""
    from jaxdiff.calculator import MaceCalculator

    calculator, rows, relaxed = MaceCalculator("lif-compact"), [], []
    lag = reference.settings.dwell_frames - 1
    symbols = np.where(frames.mobile, "Li", "F").tolist()
    fold = frames.fold
    for f, r, settled in chosen:
        atoms = ase.Atoms(symbols, frames.position[f, r], cell=frames.cell, pbc=True)
        atoms.calc = calculator
        start = atoms.positions.copy()
        optimizer = LBFGS(atoms, logfile=None, maxstep=0.1)
        optimizer.run(fmax=FORCE, steps=MAX_STEPS)
        shift = (atoms.positions - start)[~frames.mobile].mean(axis=0)
        cation = atoms.positions[frames.mobile] - reference.origin[f, r] - shift
        site = np.asarray(nearest_site(jnp.asarray(cation * 4 / LATTICE)))
        found = {fold(tuple(s)) for s in site.tolist() if s[0] % 2}
        said = reference.site[f + lag, r]
        row = {
            "frame": f,
            "replica": r,
            "kelvin": float(frames.temperature[r]),
            "settled": settled,
            "steps": int(optimizer.nsteps),
            "force": round(float(np.linalg.norm(atoms.get_forces(), axis=1).max()), 3),
            "cations_elsewhere": int((site != said).any(axis=1).sum()),
            "on_8c": len(found),
            "defect_agrees": found == {tuple(reference.place[f + lag, r].tolist())},
            "pushed": _pushed(cation, site, found, fold),
        }
        rows.append(row)
        relaxed.append(cation)
        print(row, flush=True)
    return rows, relaxed


def _pushed(cation, site, found, fold):
    """Å: displacements of the four cations around a single interstitial, largest first."""
    if len(found) != 1:
        return []
    (place,) = found
    near = {fold(tuple((np.array(place) + b).tolist())) for b in BESIDE}
    off = np.linalg.norm(cation - site * LATTICE / 4, axis=1)
    around = [
        float(d) for d, s in zip(off, site.tolist(), strict=True) if fold(tuple(s)) in near
    ]
    return [round(d, 2) for d in sorted(around, reverse=True)]


class WignerSeitz:
    """OVITO's occupation of given reference sites (folded, a/4)."""

    def __init__(self, frames, tetrahedral):
        from ovito.data import DataCollection

        self._frames = frames
        edge = range(0, 4 * frames.cells)
        every = np.array(list(itertools.product(edge, repeat=3)))
        even = (every % 2 == 0).all(axis=1) & (every.sum(axis=1) % 4 == 0)
        odd = (every % 2 == 1).all(axis=1) & tetrahedral
        self.site = every[even | odd]
        self._reference = self._collection(self.site * LATTICE / 4, DataCollection())

    def _collection(self, position, data):
        edge = LATTICE * self._frames.cells
        data.create_cell(np.hstack([self._frames.cell, np.zeros((3, 1))]), (True,) * 3)
        particles = data.create_particles(count=len(position))
        particles.create_property(
            "Position", data=position - edge * np.floor(position / edge)
        )
        return data

    def occupation(self, cation):
        """Cations in the cell of each site; `cation`, Å, from the origin of the sites."""
        from ovito.data import DataCollection
        from ovito.modifiers import WignerSeitzAnalysisModifier
        from ovito.pipeline import Pipeline, StaticSource

        pipeline = Pipeline(
            source=StaticSource(data=self._collection(cation, DataCollection()))
        )
        modifier = WignerSeitzAnalysisModifier()
        modifier.reference = StaticSource(data=self._reference)
        pipeline.modifiers.append(modifier)
        return np.asarray(pipeline.compute().particles["Occupancy"])


def wigner_seitz(frames, reference, chosen, relaxed, every=1):
    """Agreement with OVITO on frames, and on the quenched ones."""
    lag, only = reference.settings.dwell_frames - 1, WignerSeitz(frames, False)
    n, fold = len(frames.position) - lag, frames.fold
    seen = {True: [0, 0, 0], False: [0, 0, 0]}  # frames, one doubled and none empty, beside
    for f, r in itertools.product(range(0, n, every), range(len(frames.temperature))):
        cation = frames.position[f, r][frames.mobile] - reference.origin[f, r]
        occupied = only.occupation(cation)
        near = {fold(tuple((reference.place[f + lag, r] + b).tolist())) for b in BESIDE}
        doubled = only.site[occupied > 1].tolist()
        mine = seen[bool(reference.settled[f + lag, r])]
        mine[0] += 1
        mine[1] += int(len(doubled) == 1 and occupied.min() == 1)
        mine[2] += int(len(doubled) == 1 and tuple(doubled[0]) in near)
    both, same = WignerSeitz(frames, True), []
    for (f, r, settled), cation in zip(chosen, relaxed, strict=True):
        theirs = {tuple(s) for s in both.site[both.occupation(cation) == 1].tolist()}
        ours = {fold(tuple(s)) for s in reference.site[f + lag, r].tolist()}
        same += [theirs == ours] if settled else []
    names = ("frames", "one_doubled_none_empty", "beside")
    return {
        "settled": dict(zip(names, seen[True], strict=True)),
        "unsettled": dict(zip(names, seen[False], strict=True)),
        "quenched_settled_same_occupation": [sum(same), len(same)],
    }


def table(rows):
    """Markdown of rows of equal keys."""
    keys = list(dict.fromkeys(k for row in rows for k in row))
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(str(row.get(k, 0)) for k in keys) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main(
    path: Annotated[
        Path, typer.Argument(metavar="FRAMES", help="HDF5 file of position, temperature.")
    ],
    record: Record = None,
    quench: Annotated[int, typer.Option(min=0, help="Settled frames to relax.")] = 24,
) -> None:
    """Validate the hop detector on frames of real runs."""
    jax.config.update("jax_enable_x64", True)
    started, frames = time.perf_counter(), Frames(path)
    reference = track(frames, SiteSettings(log_capacity=8192))
    found = {
        "frames": list(frames.position.shape),
        "by_temperature": counts(frames, reference),
    }
    print(table(found["by_temperature"]), flush=True)
    found["settings"] = sensitivity(path, frames, reference)
    print(table(found["settings"]), flush=True)
    chosen = sample(reference, quench, math.ceil(quench / 4))
    found["quench"], relaxed = quenched(frames, reference, chosen)
    print(table(found["quench"]), flush=True)
    if importlib.util.find_spec("ovito") is None:
        print("ovito is not installed: no Wigner-Seitz analysis.")
    else:
        found["ovito"] = wigner_seitz(frames, reference, chosen, relaxed)
        found["ovito"]["version"] = version("ovito")
        print(json.dumps(found["ovito"], indent=1))
    found["wall_s"] = round(time.perf_counter() - started)
    if record is not None:
        write(record, found)


if __name__ == "__main__":
    typer.run(main)
