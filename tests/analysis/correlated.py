"""Correlated series with a known correlation time."""

from scipy.signal import lfilter


def autoregressive(rng, tau, shape):
    """Normal deviates [..., frames] with ρ(t) = φ^t, started in equilibrium.

    1/2 + φ + φ² + ... = (1 + φ) / 2(1 - φ) is τ.
    """
    phi = (2 * tau - 1) / (2 * tau + 1)
    noise = rng.normal(size=shape) * (1 - phi**2) ** 0.5
    noise[..., 0] /= (1 - phi**2) ** 0.5
    return lfilter([1], [1, -phi], noise, axis=-1)
