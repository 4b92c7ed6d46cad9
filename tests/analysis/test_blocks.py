import numpy as np
import pytest
from correlated import autoregressive
from scipy import stats

from jaxdiff.analysis.blocks import LEAST_BLOCKS, correlation_time, cut


def mean(m):
    return m[..., 0]


def variance(m):
    return m[..., 1] - m[..., 0] ** 2


def squares(x):
    return np.stack([x, x**2], axis=2)


@pytest.mark.parametrize(("tau", "n_frames"), [(0.5, 1000), (5, 1000), (20, 2000)])
def test_the_correlation_time_is_that_of_the_process(tau, n_frames):
    """Mean of 100 estimates from 4 replicas; relative s.d. of one: √(2(2W+1)/4F), W = 5τ,

    (doi:10.1007/978-1-4899-0319-8_6): 32 % at 20, a tenth of it for the mean. What lies
    beyond the window is exp(-5) of τ.
    """
    rng = np.random.default_rng(0)
    found = [correlation_time(autoregressive(rng, tau, (4, n_frames))) for _ in range(100)]
    error = (2 * (10 * tau + 1) / (4 * n_frames)) ** 0.5 / 10
    assert np.mean(found) == pytest.approx(tau, rel=4 * error + 0.01)


def test_replicas_with_means_of_their_own_do_not_lengthen_it():
    rng = np.random.default_rng(1)
    series = autoregressive(rng, 5, (8, 4000))
    apart = series + 10 * np.arange(8)[:, None]
    assert correlation_time(apart) == pytest.approx(correlation_time(series), rel=1e-9)


@pytest.mark.parametrize(
    ("n_replicas", "n_frames", "tau"),
    [(4, 2000, 20), (1, 4000, 20), (8, 300, 20), (16, 1000, 5), (2, 1000, 20)],
)
def test_intervals_of_means_and_variances_cover_the_truth(n_replicas, n_frames, tau):
    """95 %: of 300 studies, s.d. 1.3 %; 88 % to 99 % are five and three of them.

    The third case is too short for τ to be seen in half of the studies. 1000 frames are 50
    correlation times, 4 blocks in each of 2 replicas; if τ comes out longer it is refused.
    """
    rng = np.random.default_rng(2)
    covered, spread, errors = [], [], []
    for _ in range(300):
        try:
            blocks = cut(squares(autoregressive(rng, tau, (n_replicas, n_frames))))
        except ValueError:
            continue
        one = blocks.estimate(mean, "1")
        two = blocks.estimate(variance, "1", logarithmic=True)
        covered.append([e.interval[0] < t < e.interval[1] for e, t in ((one, 0), (two, 1))])
        spread.append(one.value)
        errors.append(one.standard_error)
    assert len(covered) > 270
    for share in np.mean(covered, axis=0):
        assert 0.88 < share < 0.99
    # s.d. of an s.d. of 300 values is 4 %; few blocks of the third case: some per cent low
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(spread), rel=0.16)


def test_values_are_those_of_all_frames():
    rng = np.random.default_rng(3)
    series = autoregressive(rng, 5, (3, 1234))
    blocks = cut(squares(series))
    assert blocks.length.sum() == 3 * 1234
    assert blocks.estimate(mean, "1").value == pytest.approx(series.mean(), abs=1e-12)
    assert blocks.estimate(variance, "1").value == pytest.approx(series.var())


def test_replicas_that_differ_are_blocks_themselves():
    """Their scatter is the error, whatever the fluctuations: s/√8, 7 degrees of freedom."""
    rng = np.random.default_rng(4)
    own = rng.normal(size=8)
    blocks = cut(squares(own[:, None] + 0.1 * autoregressive(rng, 5, (8, 2000))))
    assert blocks.agreement_p_value < 1e-6
    assert len(blocks.length) == 8
    estimate = blocks.estimate(mean, "1")
    # fluctuations add 0.1² 2τ/2000 = 5e-5 to a variance of some 1; widened by τ/2F
    assert estimate.standard_error == pytest.approx(own.std(ddof=1) / 8**0.5, rel=0.02)
    half = estimate.interval[1] - estimate.value
    assert half == pytest.approx(stats.t.ppf(0.975, 7) * estimate.standard_error)


@pytest.mark.statistics
@pytest.mark.parametrize(("n_replicas", "n_frames"), [(4, 2000), (8, 100)])
def test_p_values_of_halves_are_uniform_without_drift_and_small_with(n_replicas, n_frames):
    """Blocks of time, and whole replicas (100 frames are five correlation times).

    Kolmogorov's distance of 400 is below 0.098 in 99.9 % of cases; blocks that are not
    quite independent add some per cent, the two halves of five correlation times more.
    """
    rng = np.random.default_rng(5)
    p_value, drifted = [], []
    ramp = np.linspace(-1, 1, n_frames) * 8 * (2 * 20 / (n_replicas * n_frames)) ** 0.5
    for _ in range(400):
        series = autoregressive(rng, 20, (n_replicas, n_frames))
        p_value.append(cut(squares(series)).halves_p_value)
        drifted.append(cut(squares(series + ramp)).halves_p_value)
    assert stats.kstest(p_value, "uniform").statistic < 0.12
    # halves are apart by 8 s.d. of the mean, 4 of their difference
    assert np.mean(np.array(drifted) < 0.05) > 0.7


def test_too_short_a_series_is_refused():
    rng = np.random.default_rng(6)
    with pytest.raises(ValueError, match="Run longer, or more replicas"):
        cut(squares(autoregressive(rng, 20, (1, 500))))
    with pytest.raises(ValueError, match="that is not seen to end"):
        cut(squares(autoregressive(rng, 100, (LEAST_BLOCKS - 1, 100))))
    cut(squares(autoregressive(rng, 100, (LEAST_BLOCKS, 100))))
