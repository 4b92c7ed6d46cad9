"""The score of two estimators of one walk, against its distribution when both are right."""

import math

import numpy as np
import pytest
from kinetic_walk import simulate

from jaxdiff.analysis import gls, msd
from jaxdiff.analysis.consistency import agreement_z
from jaxdiff.analysis.estimate import normal
from jaxdiff.analysis.rates import compound_poisson

FRAMES = 20  # per mean residence, 1 ps


def score(replicas, duration, seed):
    """z of one simulated run of collinear hops; lags from two residences on."""
    walk = simulate(
        np.ones(replicas),
        np.full(replicas, float(duration)),
        probability=(1.0, 0.0, 0.0, 0.0),
        cells=3,
        seed=seed,
    )
    square = (walk.jump**2).sum(axis=1)
    exposure = 6 * replicas * duration
    hops = compound_poisson(
        int(square.sum()), int((square**2).sum()), exposure, "Å^2/ps"
    ).scaled(1e-4, "cm^2/s")
    n_frames = duration * FRAMES + 1
    path = msd.site_paths(
        *(walk.time, walk.replica, walk.jump),
        n_walkers=replicas,
        n_frames=n_frames,
        frame_ps=1 / FRAMES,
    )
    lag = gls.log_spaced_lags(n_frames, first=min(2 * FRAMES, n_frames // 4))
    fit = gls.fit_msd(
        msd.at_lags(path, lag).T,
        lag,
        n_frames=n_frames,
        frame_ps=1 / FRAMES,
        moment_ratio=12.0,
    )
    return agreement_z(hops, fit.diffusivity)


@pytest.mark.statistics
@pytest.mark.parametrize(("replicas", "duration"), [(2, 14), (8, 4), (16, 10)])
def test_runs_without_memory_agree(replicas, duration):
    """300 runs. Binomial s.d. at 5 %: 1.3 %, at 0.1 %: 0.2 %; the score is approximate."""
    z = np.array([score(replicas, duration, seed) for seed in range(300)])
    z = z[np.isfinite(z)]
    assert len(z) > 290
    assert np.mean(np.abs(z) > 1.96) < 0.09
    assert np.mean(np.abs(z) > 3.3) < 0.02
    assert abs(z.mean()) < 0.25


def test_the_score_by_hand():
    """At equal D the error is that of GLS; variances 0.05² - 0.03² = 0.04²."""
    hops, equal = normal(1.0, 0.03, 100, "cm^2/s"), normal(1.0, 0.05, 100, "cm^2/s")
    assert agreement_z(hops, equal) == 0
    high = normal(1.1, 0.05 * 1.1**0.75, 100, "cm^2/s")
    assert agreement_z(hops, high) == pytest.approx(0.1 / 0.04)
    assert math.isnan(agreement_z(normal(0.0, 0.1, 0, "cm^2/s"), equal))
