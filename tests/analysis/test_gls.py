import numpy as np
import pytest
from kinetic_walk import simulate

from jaxdiff.analysis.gls import fit_msd, log_spaced_lags, window_overlap
from jaxdiff.analysis.msd import at_lags, site_paths

FRAMES = 20  # in a residence time of 1 ps
D = 12 / 6 * 1e-4  # cm^2/s: 1/ps, 12 Å^2


def runs(repetitions, n_replicas, hops, seed, noise=0.0, first=1):
    """MSD at lags [repetitions, replicas, lags] of collinear walks, a/4 = 1 Å."""
    n = repetitions * n_replicas
    walk = simulate(
        np.ones(n), np.full(n, float(hops)), probability=(1, 0, 0, 0), cells=2, seed=seed
    )
    n_frames = hops * FRAMES + 1
    path = site_paths(
        walk.time,
        walk.replica,
        walk.jump,
        n_walkers=n,
        n_frames=n_frames,
        frame_ps=1 / FRAMES,
    )
    path += np.random.default_rng(seed).normal(0, noise, path.shape)
    lag = log_spaced_lags(n_frames, first=first)
    msd = at_lags(path, lag).T.reshape(repetitions, n_replicas, -1)
    settings = {"n_frames": n_frames, "frame_ps": 1 / FRAMES, "moment_ratio": 12.0}
    return walk, msd, lag, settings


def covers(fits, truth=D):
    bounds = np.array([f.diffusivity.interval for f in fits])
    return np.mean((bounds[:, 0] < truth) & (truth < bounds[:, 1]))


def test_overlap_against_a_loop_over_windows():
    n_frames, lag = 12, np.array([1, 4, 7])
    result = window_overlap(n_frames, lag)
    for i, a in enumerate(lag.tolist()):
        for j, b in enumerate(lag.tolist()):
            o, e = [], []
            for s in range(n_frames - a):
                for t in range(n_frames - b):
                    o.append(len(set(range(s, s + a)) & set(range(t, t + b))))
                    e.append((s == t) + (s + a == t + b) - (s == t + b) - (s + a == t))
            o, e = np.array(o), np.array(e)
            assert result.linear[i, j] == pytest.approx(o.mean())
            assert result.square[i, j] == pytest.approx((o**2).mean())
            assert result.mixed[i, j] == pytest.approx((o * e).mean())
            assert result.noise[i, j] == pytest.approx((e**2).mean())


@pytest.mark.parametrize("noise", [0.0, 0.8])
def test_covariance_is_that_of_simulated_walks(noise):
    """6000 replicas, one each: the scatter of each lag and its correlations."""
    _, msd, lag, settings = runs(1, 6000, 6, seed=0, noise=noise)
    intercept = "noise" if noise else "none"
    fit = fit_msd(msd[0], lag, intercept=intercept, **settings)
    seen = np.cov(msd[0].T)
    predicted = fit.covariance * 6000
    scale = np.sqrt(np.diag(predicted))
    # Var of a variance with kurtosis κ: √((κ-1)/6000); κ up to 9 here: 4 %, 3 s.d.
    np.testing.assert_allclose(np.diag(seen), scale**2, rtol=0.12)
    np.testing.assert_allclose(
        seen / np.outer(scale, scale), predicted / np.outer(scale, scale), atol=0.12
    )


def test_without_the_fourth_cumulant_short_lags_scatter_far_more_than_predicted():
    _, msd, lag, settings = runs(1, 2000, 6, seed=1)
    gaussian = fit_msd(msd[0], lag, **(settings | {"moment_ratio": 0.0}))
    assert np.var(msd[0, :, 0]) > 10 * 2000 * gaussian.covariance[0, 0]


def test_exact_lines_are_returned():
    lag = np.array([1, 3, 10, 30])
    line = 6 * 0.25 * lag * 0.1
    given = {"n_frames": 101, "frame_ps": 0.1, "moment_ratio": 12.0}
    plain = fit_msd(np.stack([line, line]), lag, **given)
    assert plain.diffusivity.value == pytest.approx(0.25e-4, rel=1e-9)
    np.testing.assert_allclose(plain.replica_diffusivity, 0.25e-4, rtol=1e-9)
    assert plain.p_value == pytest.approx(1, abs=1e-6)
    for kind in ("noise", "memory"):
        raised = fit_msd(np.stack([line, line]) + 0.6, lag, intercept=kind, **given)
        assert raised.diffusivity.value == pytest.approx(0.25e-4, rel=1e-6)
        assert raised.intercept == pytest.approx(0.6, rel=1e-6)


def test_one_lag_of_one_frame_is_the_count_of_hops():
    """At most one hop in a frame: D = Σl²/(6t), relative error 1/√n, edges apart."""
    walk, msd, lag, settings = runs(1, 16, 10, seed=2)
    fit = fit_msd(msd[0, :, :1], lag[:1], **settings)
    n = len(walk.time)
    # pairs of hops in a frame: n/20 of them, each ± 24 Å² in 12 n, so √(n/20)·2/n
    assert fit.diffusivity.value == pytest.approx(
        12 * n / 160 / 6 * 1e-4, rel=4 * 2 * (1 / 20 / n) ** 0.5
    )
    expected = (1 + 2 / 3 / FRAMES) / n  # counts, and (2/d)(λo)² of the Gaussian term
    error = fit.diffusivity.standard_error / fit.diffusivity.value
    assert error == pytest.approx(expected**0.5, rel=0.02)


def test_agrees_with_hop_counts_run_by_run():
    walk, msd, lag, settings = runs(100, 16, 10, seed=3)
    count = np.bincount(walk.replica // 16, minlength=100)
    value = [fit_msd(m, lag, **settings).diffusivity.value for m in msd]
    assert np.corrcoef(count, value)[0, 1] > 0.95
    # what is not common: 4 % run by run, 0.4 % in the mean
    assert np.mean(value) == pytest.approx(count.mean() / 160 * D, rel=0.016)


@pytest.mark.statistics
def test_the_interval_covers_and_the_error_is_the_scatter():
    _, msd, lag, settings = runs(400, 8, 4, seed=4)
    fits = [fit_msd(m, lag, **settings) for m in msd]
    value = np.array([f.diffusivity.value for f in fits])
    assert value.mean() == pytest.approx(D, abs=4 * value.std() / 20)
    error = np.mean([f.diffusivity.standard_error for f in fits])
    assert error == pytest.approx(value.std(), rel=0.15)  # of 400: 3.5 %, 4 s.d.
    assert covers(fits) == pytest.approx(0.95, abs=0.035)  # binomial 0.011
    p = np.array([f.p_value for f in fits])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.045)


@pytest.mark.statistics
def test_noise_goes_to_the_intercept():
    _, msd, lag, settings = runs(300, 16, 10, seed=5, noise=0.7)
    fits = [fit_msd(m, lag, intercept="noise", **settings) for m in msd]
    value = np.array([f.diffusivity.value for f in fits])
    offset = np.array([f.intercept for f in fits])
    assert value.mean() == pytest.approx(D, abs=4 * value.std() / 300**0.5)
    assert offset.mean() == pytest.approx(6 * 0.49, abs=4 * offset.std() / 300**0.5)
    assert covers(fits) == pytest.approx(0.95, abs=0.04)  # binomial 0.0126


@pytest.mark.long
@pytest.mark.parametrize(
    ("replicas", "hops", "intercept", "noise", "first"),
    [
        (16, 10, "none", 0.0, 1),
        (8, 4, "none", 0.0, 1),
        (8, 4, "none", 0.0, 10),
        (16, 10, "noise", 0.8, 1),
    ],
)
def test_coverage_in_1000_runs(replicas, hops, intercept, noise, first):
    _, msd, lag, settings = runs(1000, replicas, hops, seed=6, noise=noise, first=first)
    fits = [fit_msd(m, lag, intercept=intercept, **settings) for m in msd]
    assert covers(fits) == pytest.approx(0.95, abs=0.02)


def test_replica_error_is_about_the_same_value():
    _, msd, lag, settings = runs(1, 16, 10, seed=7)
    fit = fit_msd(msd[0], lag, **settings)
    estimate = fit.replica_error(seed=0)
    assert estimate.value == pytest.approx(fit.diffusivity.value, rel=1e-12)
    d = fit.replica_diffusivity
    assert estimate.standard_error == pytest.approx(d.std(ddof=1) / 4, rel=1e-9)
    assert estimate.interval[0] < estimate.value < estimate.interval[1]


def test_no_hop_gives_an_upper_bound():
    fit = fit_msd(
        np.zeros((4, 2)), np.array([1, 5]), n_frames=101, frame_ps=0.1, moment_ratio=12.0
    )
    assert fit.diffusivity.value == 0
    # 4 replicas of 10 ps; P(no hop) = 2.5 % at 3.69 hops
    high = -np.log(0.025) * 12 / (6 * 40) * 1e-4
    assert fit.diffusivity.interval == pytest.approx((0, high))


def test_lags_are_log_spaced_and_distinct():
    lag = log_spaced_lags(1001, n_lags=10)
    assert lag[0] == 1
    assert lag[-1] == 500
    assert np.all(np.diff(lag) > 0)
    with pytest.raises(ValueError, match="in order, at least 1"):
        log_spaced_lags(10, first=8)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("msd", "lag", "intercept", "match"),
    [
        (np.ones((2, 2)), [3, 3], "none", "must be at least 1, increasing"),
        (np.ones((2, 1)), [3], "noise", "must be at least 2, increasing"),
        (np.ones((2, 2)), [3, 11], "none", "below the 11 frames"),
        (np.ones((2, 3)), [3, 4], "none", "msd has shape"),
        (np.full((2, 2), np.nan), [3, 4], "none", "not finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(msd, lag, intercept, match):
    given = {"n_frames": 11, "frame_ps": 0.1, "moment_ratio": 12.0}
    with pytest.raises(ValueError, match=match):
        fit_msd(msd, np.array(lag), intercept=intercept, **given)
