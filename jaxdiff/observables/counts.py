"""Counters of hops: what is added when the defect moves, and the log of events."""

from dataclasses import replace
from typing import Any

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

CLASSES: tuple[str, ...] = (
    "collinear",
    "noncollinear_1",
    "noncollinear_2",
    "direct",
    "other",
)
"""Classes of hops: |jump| = √3a/2, a/√2 and a/2 with two atoms moved by √3a/4 each; a/2
with one atom moved; anything else (concerted, or two hops merged by the dwell)."""

MOST_ATOMS = 7
"""Last bin of the histogram of atoms moved in a hop: this many or more."""

SQUARED_JUMP = (12, 8, 4, 4)
"""Squared displacement of the defect in the first four classes, (a/4)^2."""

SQUARED_STEPS = (6, 6, 6, 4)
"""Squared displacement summed over the atoms moved, (a/4)^2."""

_ATOMS_MOVED = (2, 2, 2, 1)


@flax.struct.dataclass
class HopCounts:
    """What is reported; zeroed by `reset`. Integers are int32; units in `UNITS`.

    - `frames`: observed. `exposure_frames`: those with a known defect, that is from the
      first valid frame on, with the transits and with all time without hops: the
      denominator of rates. `undefined_frames`: not valid, before or after that.
      `transit_frames`: those of them in which a hop, or an attempt, is on its way.
    - `frenkel_frames`: more than one cation on 8c. `anion_displaced_frames`: an anion left.
    - `hops_by_class` [5]: `CLASSES`. `atoms_moved_histogram` [8]: hops by atoms moved,
      0 to `MOST_ATOMS` or more. `exchanges`: cations changed places, the defect did not
      move (rings); no hop.
    - `squared_defect_displacement`: Σ over hops of |jump|^2. `squared_atom_steps`: Σ over
      cations and hops or exchanges of |site to site|^2. `defect_displacement` [3]: net.
    - `cosine_sum`, `cosine_squared_sum`, `cosine_count`: of successive jumps.
    - `first_hop_frame`: -1 if none. `event_*` [capacity, ...]: the first hops, -1 where
      unused; `event_from` and `event_to` are on the path of the defect, modulo the
      supercell they are sites. `event_count` goes on when the log is full.
    """

    frames: Any
    exposure_frames: Any
    undefined_frames: Any
    transit_frames: Any
    frenkel_frames: Any
    anion_displaced_frames: Any
    hops_by_class: Any
    atoms_moved_histogram: Any
    exchanges: Any
    squared_defect_displacement: Any
    squared_atom_steps: Any
    defect_displacement: Any
    cosine_sum: Any
    cosine_squared_sum: Any
    cosine_count: Any
    first_hop_frame: Any
    event_count: Any
    event_frame: Any
    event_from: Any
    event_to: Any
    event_atoms: Any
    event_class: Any


UNITS = {
    "frames": "frame",
    "exposure_frames": "frame",
    "undefined_frames": "frame",
    "transit_frames": "frame",
    "frenkel_frames": "frame",
    "anion_displaced_frames": "frame",
    "hops_by_class": "hop",
    "atoms_moved_histogram": "hop",
    "exchanges": "event",
    "squared_defect_displacement": "(a/4)^2",
    "squared_atom_steps": "(a/4)^2",
    "defect_displacement": "a/4",
    "cosine_sum": "1",
    "cosine_squared_sum": "1",
    "cosine_count": "1",
    "first_hop_frame": "frame",
    "event_count": "hop",
    "event_frame": "frame",
    "event_from": "a/4",
    "event_to": "a/4",
    "event_atoms": "atom",
    "event_class": "1",
}
"""Unit of every counter, in the order of the file; a: the lattice constant."""


def add_change(
    counts: HopCounts,
    start: Int[Array, "3"],
    previous_jump: Int[Array, "3"],
    step: Int[Array, "mobile 3"],
    frame: Int[Array, ""],
) -> HopCounts:
    """The counters after one change of state; the same ones where `step` is zero.

    - `start`: defect site before; `previous_jump` of the defect, zero if none; a/4.
    - `step`: displacement of each cation, a/4; the jump is their sum.
    """
    jump = jnp.sum(step, axis=0, dtype=jnp.int32)
    squared_step = jnp.sum(step**2, axis=-1, dtype=jnp.int32)
    n_moved = jnp.sum(squared_step > 0, dtype=jnp.int32)
    squared_steps = jnp.sum(squared_step, dtype=jnp.int32)
    squared_jump = jnp.sum(jump**2, dtype=jnp.int32)
    hop = squared_jump > 0
    kind = _classify(squared_jump, n_moved, squared_steps)
    both = jnp.sum(previous_jump**2, dtype=jnp.int32) * squared_jump
    dtype = counts.cosine_sum.dtype
    dot = jnp.sum(previous_jump * jump, dtype=jnp.int32).astype(dtype)
    cosine = dot / jnp.sqrt(jnp.maximum(both, 1).astype(dtype))
    first = hop & (counts.first_hop_frame < 0)
    moved_bin = jnp.minimum(n_moved, MOST_ATOMS)
    counts = replace(
        counts,
        hops_by_class=counts.hops_by_class.at[kind].add(as_count(hop)),
        atoms_moved_histogram=counts.atoms_moved_histogram.at[moved_bin].add(as_count(hop)),
        exchanges=counts.exchanges + as_count(~hop & (n_moved > 0)),
        squared_defect_displacement=counts.squared_defect_displacement + squared_jump,
        squared_atom_steps=counts.squared_atom_steps + squared_steps,
        defect_displacement=counts.defect_displacement + jump,
        cosine_sum=counts.cosine_sum + cosine,
        cosine_squared_sum=counts.cosine_squared_sum + cosine**2,
        cosine_count=counts.cosine_count + as_count(both > 0),
        first_hop_frame=jnp.where(first, frame, counts.first_hop_frame),
    )
    return _log(counts, hop, frame, start, jump, n_moved, kind)


def _classify(
    squared_jump: Int[Array, ""], n_moved: Int[Array, ""], squared_steps: Int[Array, ""]
) -> Int[Array, ""]:
    """Index into `CLASSES`."""
    known = jnp.asarray([SQUARED_JUMP, _ATOMS_MOVED, SQUARED_STEPS], jnp.int32)
    match = jnp.all(known == jnp.stack([squared_jump, n_moved, squared_steps])[:, None], 0)
    other = len(CLASSES) - 1
    return jnp.where(jnp.any(match), jnp.argmax(match), other).astype(jnp.int32)


def _log(
    counts: HopCounts,
    hop: Bool[Array, ""],
    frame: Int[Array, ""],
    start: Int[Array, "3"],
    jump: Int[Array, "3"],
    n_moved: Int[Array, ""],
    kind: Int[Array, ""],
) -> HopCounts:
    """Write a hop to the log if there is one and there is room; count it in any case."""
    capacity = counts.event_frame.shape[0]
    place = jnp.where(hop, jnp.minimum(counts.event_count, capacity), capacity)

    def write(log: Array, entry: Array) -> Array:
        return log.at[place].set(entry, mode="drop")

    return replace(
        counts,
        event_count=counts.event_count + as_count(hop),
        event_frame=write(counts.event_frame, frame),
        event_from=write(counts.event_from, start),
        event_to=write(counts.event_to, start + jump),
        event_atoms=write(counts.event_atoms, n_moved),
        event_class=write(counts.event_class, kind),
    )


def no_counts(capacity: int, dtype: Any) -> HopCounts:
    """Counters at zero; sums of cosines in `dtype`."""
    shape = {
        "hops_by_class": (len(CLASSES),),
        "atoms_moved_histogram": (MOST_ATOMS + 1,),
        "defect_displacement": (3,),
        "event_frame": (capacity,),
        "event_from": (capacity, 3),
        "event_to": (capacity, 3),
        "event_atoms": (capacity,),
        "event_class": (capacity,),
    }
    kind = {"cosine_sum": dtype, "cosine_squared_sum": dtype}
    zero = {n: jnp.zeros(shape.get(n, ()), kind.get(n, jnp.int32)) for n in UNITS}
    return zeroed(HopCounts(**zero))


def zeroed(counts: HopCounts) -> HopCounts:
    """Every counter at zero, with -1 where a hop would be."""
    unset = {"first_hop_frame"} | {n for n in UNITS if n.startswith("event_")}
    unset.remove("event_count")
    return HopCounts(
        **{n: jnp.full_like(getattr(counts, n), -1 if n in unset else 0) for n in UNITS}
    )


def as_count(flag: Bool[Array, ""]) -> Int[Array, ""]:
    """0 or 1: bool and integers are not promoted implicitly."""
    return flag.astype(jnp.int32)
