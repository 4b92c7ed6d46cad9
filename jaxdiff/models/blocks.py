"""Atoms in blocks of one species, so that what is computed of one stays in the cache."""

import math

import numpy as np
from flax import struct
from jaxtyping import Float, Int


@struct.dataclass
class Blocks:
    """Atoms in blocks of one species; all static, of the host.

    - `atom` [blocks, size]: atoms, those of one species after those of another; places
      left over hold atom 0.
    - `used` [blocks, size]: 1, or 0 in places left over.
    - `species` [blocks]; `place` [atoms]: where each atom stands, block * size + row.
    """

    atom: Int[np.ndarray, "blocks size"]
    used: Float[np.ndarray, "blocks size"]
    species: Int[np.ndarray, " blocks"]
    place: Int[np.ndarray, " atoms"]


def blocks_of(species: Int[np.ndarray, " atoms"], size: int, multiple: int = 1) -> Blocks:
    """Blocks of up to `size` atoms each, as even as the species allow.

    - `multiple`: larger ones have a multiple of so many places.
    """
    _, count = np.unique(species, return_counts=True)
    size = max(math.ceil(n / math.ceil(n / size)) for n in count.tolist())
    if size > multiple:
        size = math.ceil(size / multiple) * multiple
    atom, of_block = [], []
    for s in np.unique(species):
        own = np.flatnonzero(species == s)
        rows = -(-len(own) // size)
        padded = np.full(rows * size, -1)
        padded[: len(own)] = own
        atom.append(padded.reshape(rows, size))
        of_block += [s] * rows
    atom = np.concatenate(atom)
    place = np.zeros(len(species), np.int32)
    place[atom[atom >= 0]] = np.flatnonzero(atom.reshape(-1) >= 0)
    used = (atom >= 0).astype(np.float64)
    return Blocks(np.maximum(atom, 0), used, np.asarray(of_block, np.int32), place)
