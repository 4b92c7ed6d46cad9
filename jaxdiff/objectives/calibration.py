"""How far the model's own errors of differences of energies along a jump are right.

The errors of `last_layer` are scaled on energies of whole frames, and in a barrier most of
such an error cancels. So frames with labels, of one cell and one interstitial, are put in
the order of how far the interstitial is on its way (`lattice.arrangements`), and each is
paired with the one half of them further on. Over the pairs

    z = (difference of labels - difference of energies) / error of the difference

has a mean square of 1 where the errors are right; its root is the factor by which they are
to be multiplied. Every pair is also tried with the factor of the other half of the pairs.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxdiff.io.frame import Frame
from jaxdiff.lattice.arrangements import jump_coordinate
from jaxdiff.lattice.network import SiteNetwork
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.models.contract import Model
from jaxdiff.objectives.last_layer import LastLayer, fit_last_layer, residuals

LEAST_PAIRS = 10
"""With fewer nothing is said."""
TRUSTED = 0.85
"""Least fraction of pairs within two errors, with a factor not fitted on them; 0.95 is
right."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Of errors of differences of energies along a jump, on frames with labels.

    - `pairs`; `factor`: the errors are to be multiplied by it.
    - `within_one`, `within_two`: fraction of pairs within so many errors as they are;
      `scaled_within_one`, `scaled_within_two`: with the factor of the other pairs; 0.68 and
      0.95 if it is right.
    - `mean_ev`, `mean_error_ev`: of the further frame's error less the nearer one's, and
      its standard error from their scatter. `furthest`: the largest coordinate of a frame,
      1/2 at the dividing surface.
    """

    pairs: int
    factor: float
    within_one: float
    within_two: float
    scaled_within_one: float
    scaled_within_two: float
    mean_ev: float
    mean_error_ev: float
    furthest: float

    @property
    def trusted(self) -> bool:
        """Whether errors with the factor hold on pairs that it was not fitted on."""
        return self.scaled_within_two >= TRUSTED

    def record(self) -> dict[str, Any]:
        """For a file."""
        return dataclasses.asdict(self) | {"trusted": self.trusted}


def fit_calibrated(
    model: Model,
    train: Sequence[Frame],
    valid: Sequence[Frame],
    network: SiteNetwork,
    mobile: int,
) -> tuple[LastLayer, Calibration | None]:
    """The posterior with its errors multiplied by the factor, where one can be found.

    As `fit_last_layer`; the frames of `valid` that set no scale calibrate.
    """
    posterior = fit_last_layer(model, train, valid)
    held_out = [frame for frame in valid if frame.energy is not None][1::2]
    found = calibrate(model, posterior, held_out, network, mobile)
    return (posterior if found is None else posterior.scaled(found.factor)), found


def calibrate(
    model: Model,
    posterior: LastLayer,
    frames: Sequence[Frame],
    network: SiteNetwork,
    mobile: int,
) -> Calibration | None:
    """From frames that the model has not seen; None where fewer than 10 pairs can be made.

    Frames without an energy, or without exactly one interstitial on the network, are left
    out. `mobile`: atomic number of the atoms that move.
    """
    known = [frame for frame in frames if frame.energy is not None]
    way = [_coordinate(frame, network, mobile) for frame in known]
    used = [(f, w) for f, w in zip(known, way, strict=True) if w is not None]
    pairs = _pairs([_kind(f) for f, _ in used], np.array([w for _, w in used]))
    if len(pairs) < LEAST_PAIRS:
        return None
    feature, residual = residuals(model, [frame for frame, _ in used])
    first, second = pairs.T
    difference = residual[second] - residual[first]
    apart = feature[second] - feature[first]
    error = np.array([posterior.standard_error(x) for x in apart])
    return calibrated(difference, error, max(w for _, w in used))


def calibrated(
    difference: Float[np.ndarray, " pairs"],
    error: Float[np.ndarray, " pairs"],
    furthest: float,
) -> Calibration:
    """From label less model, and the error that was predicted, of each pair, eV."""
    score, even = np.abs(difference) / error, np.arange(len(error)) % 2 == 0
    other = np.where(even, _root(score[~even]), _root(score[even]))
    return Calibration(
        len(score),
        _root(score),
        float(np.mean(score <= 1)),
        float(np.mean(score <= 2)),
        float(np.mean(score <= other)),
        float(np.mean(score <= 2 * other)),
        float(np.mean(difference)),
        float(np.std(difference, ddof=1) / np.sqrt(len(difference))),
        furthest,
    )


def _root(score: Float[np.ndarray, " pairs"]) -> float:
    return float(np.sqrt(np.mean(score**2)))


def _coordinate(frame: Frame, network: SiteNetwork, mobile: int) -> float | None:
    """How far its one interstitial is; None of a frame that has no such thing."""
    is_mobile: Bool[np.ndarray, " atoms"] = np.asarray(frame.atomic_number) == mobile
    try:
        supercell = Supercell.guess(network, frame.cell, int((~is_mobile).sum()))
    except ValueError:  # of another shape
        return None
    if int(is_mobile.sum()) != supercell.n_lattice + 1:
        return None
    return jump_coordinate(supercell, frame.cell, np.asarray(frame.position), is_mobile)


def _kind(frame: Frame) -> tuple[int, ...]:
    """Frames of one cell have the same; in pm."""
    cell = np.round(100 * np.asarray(frame.cell)).astype(int)
    return (len(frame.atomic_number), *cell.ravel().tolist())


def _pairs(
    kind: Sequence[tuple[int, ...]], way: Float[np.ndarray, " frames"]
) -> np.ndarray:
    """Rows of frames of one kind, the second half of them further on; each frame once."""
    found = []
    for one in sorted(set(kind)):
        own = np.flatnonzero([k == one for k in kind])
        own = own[np.argsort(way[own])]
        half = len(own) // 2
        found += zip(own[:half].tolist(), own[len(own) - half :].tolist(), strict=True)
    return np.array(found, int).reshape(-1, 2)
