"""Mean squared displacements, averaged over time origins by Fourier transforms.

Paths are unwrapped and in the frame of the anions. Site-projected paths (`site_paths`) have
no vibrations, so their mean squared displacement starts at zero and is a straight line for
a walk without memory. All averages over time origins: D_def from the path of the defect,
D* from `tracer`, the conductivity from `collective`.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from scipy.fft import next_fast_len

_BATCH_BYTES = 2**26  # of one padded batch


def mean_squared_displacement(
    position: Real[np.ndarray, "frames walkers 3"],
) -> Float[np.ndarray, "frames walkers"]:
    r"""Mean over all time origins of |r(t+τ) - r(t)|^2, for each walker and lag τ.

    $$ M(m) = \frac1{F-m}\sum_{k=0}^{F-1-m}
       \left[|r_k|^2 + |r_{k+m}|^2 - 2\,r_k\cdot r_{k+m}\right], $$

    the last term by the Wiener-Khinchin theorem in O(F log F) (doi:10.1016/0010-4655(95)\
    00048-K; doi:10.1051/sfn/201112010). Float64, a few walkers at a time.

    - `position`: unwrapped, Å (or a/4); the result in its square, row m for lag m.
    """
    n_frames, n_walkers, _ = position.shape
    _check_frames(n_frames)
    result = np.empty((n_frames, n_walkers))
    batch = max(1, _BATCH_BYTES // (8 * 3 * 4 * n_frames))
    for first in range(0, n_walkers, batch):
        part = slice(first, first + batch)
        result[:, part] = _transform(position[:, part].astype(float))
    return result


def _check_frames(n_frames: int) -> None:
    if n_frames < 2:
        raise ValueError(f"a displacement needs at least 2 frames, got {n_frames}.")


def _transform(
    position: Float[np.ndarray, "frames walkers 3"],
) -> Float[np.ndarray, "frames walkers"]:
    n_frames = len(position)
    position = position - position.mean(axis=0)  # the squares cancel less
    size = next_fast_len(2 * n_frames, real=True)
    spectrum = np.fft.rfft(position, size, axis=0)
    power = (np.abs(spectrum) ** 2).sum(axis=-1)
    product = np.fft.irfft(power, size, axis=0)[:n_frames]
    square = np.zeros((n_frames + 1, position.shape[1]))
    square[1:] = np.cumsum((position**2).sum(axis=-1), axis=0)
    lag = np.arange(n_frames)
    ends = square[n_frames - lag] + square[n_frames] - square[lag]
    mean = (ends - 2 * product) / (n_frames - lag)[:, None]
    mean[0] = 0.0
    return np.maximum(mean, 0.0)


def at_lags(
    position: Real[np.ndarray, "frames walkers 3"], lag: Int[np.ndarray, " lags"]
) -> Float[np.ndarray, "lags walkers"]:
    """`mean_squared_displacement` at a few lags, frames; by direct sums, exact zeros."""
    n_frames = len(position)
    if np.any(lag < 1) or np.any(lag >= n_frames):
        raise ValueError(
            f"lags={lag.tolist()} must be at least 1 and below the {n_frames} frames."
        )
    result = np.empty((len(lag), position.shape[1]))
    for row, m in enumerate(lag.tolist()):
        step = (position[m:] - position[:-m]).astype(float)
        result[row] = np.einsum("fwi,fwi->w", step, step) / (n_frames - m)
    return result


def tracer(
    position: Real[np.ndarray, "frames cations 3"], n_cations: int | None = None
) -> Float[np.ndarray, " frames"]:
    """Mean over the cations of their mean squared displacement, also those at rest.

    Only cations that move are transformed.

    - `n_cations`: of the cell, where `position` has only those that moved.
    """
    n_frames, n_given, _ = position.shape
    n_cations = n_given if n_cations is None else n_cations
    if n_cations < n_given:
        raise ValueError(
            f"n_cations={n_cations} is less than the {n_given} cations with a position."
        )
    moved: Bool[np.ndarray, " cations"] = np.any(position != position[0], axis=(0, 2))
    if not moved.any():
        _check_frames(n_frames)
        return np.zeros(n_frames)
    return mean_squared_displacement(position[:, moved]).sum(axis=1) / n_cations


def collective(
    position: Real[np.ndarray, "frames cations 3"],
) -> Float[np.ndarray, " frames"]:
    """Mean squared displacement of the sum over all cations, |Σ_i Δr_i|^2.

    Of a cell with one interstitial it is that of the defect on site-projected paths.
    """
    return mean_squared_displacement(position.sum(axis=1, dtype=float, keepdims=True))[:, 0]


def site_paths(
    time: Float[np.ndarray, " events"],
    walker: Int[np.ndarray, " events"],
    step: Real[np.ndarray, "events 3"],
    *,
    n_walkers: int,
    n_frames: int,
    frame_ps: float,
) -> Float[np.ndarray, "frames walkers 3"]:
    """Piecewise constant paths from events, in the unit of `step`, from the origin.

    Frame k is at k `frame_ps` and has the events up to then. Defects: one walker for each
    replica. Cations: one for each that moves (`cation_walkers`).
    """
    if not frame_ps > 0:
        raise ValueError(f"frame_ps={frame_ps} must be positive.")
    frame = np.ceil(time / frame_ps - 1e-9).astype(int)
    inside = (frame >= 0) & (frame < n_frames)
    path = np.zeros((n_frames, n_walkers, 3))
    np.add.at(path, (frame[inside], walker[inside]), step[inside])
    return np.cumsum(path, axis=0, out=path)


def cation_walkers(
    replica: Int[np.ndarray, " events"],
    cation: Int[np.ndarray, "events moved"],
    n_cations: int,
) -> tuple[Int[np.ndarray, "events moved"], Int[np.ndarray, " walkers"]]:
    """Numbers the pairs of replica and cation that occur; and the replica of each.

    Entries of `cation` below 0 (nobody moved) get the number -1.
    """
    pair = replica[:, None] * n_cations + cation
    real = cation >= 0
    known, number = np.unique(pair[real], return_inverse=True)
    walker = np.full(cation.shape, -1)
    walker[real] = number
    return walker, known // n_cations


def local_exponent(
    time: Float[np.ndarray, " lags"], msd: Float[np.ndarray, " lags"]
) -> Float[np.ndarray, " lags"]:
    """α(t) = d ln MSD / d ln t by differences: 0 confined, 1 diffusive, 2 ballistic.

    NaN at times that are not positive or where nothing has moved.
    """
    alpha = np.full(len(time), np.nan)
    good = (time > 0) & (msd > 0)
    if good.sum() >= 2:
        alpha[good] = np.gradient(np.log(msd[good]), np.log(time[good]))
    return alpha
