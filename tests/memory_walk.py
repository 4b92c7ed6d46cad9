"""Walks of one defect that remembers its last jump, with a known diffusivity.

A vacancy jumps to one of 12 neighbours along <110>, an interstitial through one of its
four corners along <111> (collinear; the corners are opposite after each hop). With the
probability `back`, beyond that of chance, the next jump is the reverse of the last. The
mean cosine of successive jumps is then -back, of jumps k hops apart (-back)^k, and
f = (1 - back)/(1 + back). Jumps are in a/4; hops come at random times.
"""

import itertools

import numpy as np
from kinetic_walk import Walk

from jaxdiff.analysis.history import Defects, Events
from jaxdiff.analysis.series import Series
from jaxdiff.lattice.jumps import INTERSTITIAL, VACANCY
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell

_SIGNS = np.array(list(itertools.product([-1, 1], repeat=3)))
_CORNERS = _SIGNS[_SIGNS.prod(axis=1) > 0]
_TRIPLES = np.array(list(itertools.product([-1, 0, 1], repeat=3)))
VECTORS = {
    "vacancy": 2 * _TRIPLES[np.abs(_TRIPLES).sum(axis=1) == 2],
    "interstitial": 2 * _CORNERS,
}
SQUARED_JUMP = {"vacancy": 8.0, "interstitial": 12.0}


def factor(back):
    """The correlation factor."""
    return (1 - back) / (1 + back)


def remember(rate, duration, *, kind, back, seed):
    """Independent walks; `rate` (1/ps), `duration` (ps) and `back` of each replica."""
    rate, duration, back = np.broadcast_arrays(rate, duration, back)
    rng = np.random.default_rng(seed)
    count = rng.poisson(rate * duration)
    happens = np.arange(count.max(initial=0)) < count[:, None]
    time = np.sort(np.where(happens, rng.random(happens.shape), 2.0), axis=1)
    vectors = VECTORS[kind]
    jump = vectors[rng.integers(len(vectors), size=happens.shape)]
    if kind == "interstitial":
        jump[:, 1::2] *= -1
    returns = rng.random(happens.shape) < back[:, None]
    for hop in range(1, happens.shape[1]):
        jump[:, hop] = np.where(returns[:, hop, None], -jump[:, hop - 1], jump[:, hop])
    replica = np.nonzero(happens)[0]
    n = len(replica)
    return Walk(
        n_cations=1,
        duration=np.array(duration, float),
        replica=replica,
        time=time[happens] * duration[replica],
        jump=jump[happens],
        mechanism=np.zeros(n, int),
        cation=np.full((n, 2), -1),
        step=np.zeros((n, 2, 3), int),
    )


LATTICE, CELLS = 4.0, 2  # a/4 is 1 Å


def as_series(walk, temperature, *, kind, frame_ps=0.05, lattice_constant=LATTICE):
    """The run that a detector makes of it: what is left of the jumps within a frame."""
    sign = VACANCY if kind == "vacancy" else INTERSTITIAL
    n, n_frames = walk.n_replicas, np.floor(walk.duration / frame_ps).astype(int)
    frame = np.ceil(walk.time / frame_ps).astype(int)
    seen = frame < n_frames[walk.replica]
    key, row = np.unique(
        np.stack([walk.replica[seen], frame[seen]]), axis=1, return_inverse=True
    )
    jump = np.zeros((key.shape[1], 3))
    np.add.at(jump, row.ravel(), walk.jump[seen].astype(float))
    replica, frame = key[:, jump.any(axis=1)]
    jump = jump[jump.any(axis=1)]
    simple = (jump**2).sum(axis=1) == SQUARED_JUMP[kind]
    name = "vacancy" if kind == "vacancy" else "collinear"
    classes = ROCK_SALT.classes
    number = np.arange(len(jump))
    supercell = Supercell(ROCK_SALT, tuple(map(tuple, 4 * CELLS * np.eye(3, dtype=int))))
    nothing = np.zeros((n, 0))
    return Series(
        temperature=np.broadcast_to(temperature, n).astype(float),
        frame_ps=frame_ps,
        lattice_constant=np.full(n, lattice_constant),
        cell=np.tile(CELLS * lattice_constant * np.eye(3), (n, 1, 1)),
        supercell=supercell,
        n_mobile=supercell.n_lattice + sign,
        n_anion=supercell.n_lattice,
        dwell_frames=1,
        core_radius=0.77,
        events=Events(
            replica=replica,
            frame=frame,
            kind=np.where(simple, classes.index(name), classes.index("concerted")),
            defect=np.zeros(len(jump), int),
            sign=np.full(len(jump), sign),
            is_hop=np.ones(len(jump), bool),
            start=np.zeros_like(jump),
            end=jump,
            n_moved=np.ones(len(jump), int),
            squared_steps=(jump**2).sum(axis=1),
            move_event=number,
            move_cation=np.zeros(len(jump), int),
            move_step=sign * jump,
        ),
        defects=Defects(
            replica=np.arange(n),
            number=np.zeros(n, int),
            sign=np.full(n, sign),
            first=np.zeros(n, int),
            end=n_frames,
            born=np.zeros(n, bool),
            died=np.zeros(n, bool),
        ),
        frames={
            name: n_frames if name in ("frames", "exposure", kind) else 0 * n_frames
            for name in (
                *("frames", "exposure", "undefined", "transit", "frenkel"),
                *("vacancy", "interstitial", "anion_displaced"),
            )
        },
        lost_frame=np.full(n, -1),
        diverged_ps=np.full(n, np.nan),
        time_ps=np.zeros(0),
        kinetic_temperature=nothing,
        potential_energy=nothing,
        conserved_energy=nothing,
        position_time_ps=np.zeros(0),
        position=np.zeros((n, 0, 1, 3)),
        is_mobile=np.ones(1, bool),
        run_file="",
        provenance="{}",
        status="complete",
        mobile="Li",
        formula="LiF",
    )
