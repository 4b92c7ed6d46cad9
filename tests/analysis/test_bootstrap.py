import numpy as np
import pytest
from scipy import stats

from jaxdiff.analysis.bootstrap import ratio_bootstrap, replica_bootstrap


def mean(total):
    return total[..., 0, 0] / total[..., 0, 1]


def columns(x):
    return np.stack([x, np.ones(len(x))], axis=1)


def test_jackknife_error_of_a_mean_is_the_textbook_one():
    x = np.random.default_rng(0).normal(5, 2, 12)
    estimate = replica_bootstrap(mean, columns(x), seed=0, unit="ps", logarithmic=False)
    assert estimate.value == pytest.approx(x.mean(), rel=1e-12)
    assert estimate.standard_error == pytest.approx(stats.sem(x), rel=1e-10)
    assert estimate.n_effective == 12
    assert estimate.unit == "ps"


def test_error_of_a_ratio_by_the_delta_method():
    rng = np.random.default_rng(1)
    t = rng.uniform(50, 150, 400)
    n = rng.poisson(0.2 * t).astype(float)
    estimate = ratio_bootstrap(n, t, seed=0)
    residual = n - estimate.value * t
    expected = np.sqrt((residual**2).sum()) / t.sum()
    assert estimate.standard_error == pytest.approx(expected, rel=0.01)  # order 1/400


def test_the_interval_of_normal_data_is_the_one_of_student():
    """8 replicas: ± 2.36 s.e., not 1.96; mean over 200 data sets."""
    rng = np.random.default_rng(2)
    ratio = []
    for seed in range(200):
        x = rng.normal(0, 1, 8)
        e = replica_bootstrap(
            mean, columns(x), seed=seed, logarithmic=False, n_resamples=500
        )
        ratio.append((e.interval[1] - e.interval[0]) / 2 / e.standard_error)
    # known to be wider still for 8 (kurtosis of the resamples), but not by a quarter
    assert 2.2 < np.median(ratio) < stats.t.ppf(0.975, 7) * 1.25


def coverage(repetitions, n_replicas, hops, seed):
    """Of Σl²/(6t) where half of the jumps are 12 and half 4."""
    rng = np.random.default_rng(seed)
    inside = 0
    for k in range(repetitions):
        long, short = rng.poisson(hops / 2, (2, n_replicas))
        e = ratio_bootstrap(
            12.0 * long + 4.0 * short, np.full(n_replicas, 6.0 * hops), seed=k
        )
        inside += e.interval[0] < 8 / 6 < e.interval[1]
    return inside / repetitions


def test_coverage():
    # binomial s.d. of 300: 0.0126
    assert coverage(300, 16, 10, seed=3) == pytest.approx(0.95, abs=0.038)


@pytest.mark.long
@pytest.mark.parametrize(("n_replicas", "hops"), [(16, 10), (8, 4)])
def test_coverage_in_1000_runs(n_replicas, hops):
    assert coverage(1000, n_replicas, hops, seed=4) == pytest.approx(0.95, abs=0.02)


def test_groups_are_resampled_apart():
    """Difference of two means, groups of 5 and 20: errors add in quadrature."""
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.normal(0, 3, 5), rng.normal(10, 1, 20)])
    group = np.repeat([300.0, 400.0], [5, 20])
    order = rng.permutation(25)

    def difference(total):
        means = total[..., 0] / total[..., 1]
        return means[..., 1] - means[..., 0]

    e = replica_bootstrap(
        difference, columns(x[order]), seed=0, group=group[order], logarithmic=False
    )
    assert e.value == pytest.approx(x[5:].mean() - x[:5].mean(), rel=1e-12)
    expected = np.hypot(stats.sem(x[:5]), stats.sem(x[5:]))
    assert e.standard_error == pytest.approx(expected, rel=1e-10)


def test_the_seed_decides():
    x = np.random.default_rng(6).exponential(1, 10)
    one, again, other = (ratio_bootstrap(x, np.ones(10), seed=s) for s in (1, 1, 2))
    assert one == again
    assert one.interval != other.interval


def test_units_scale_the_interval():
    x = np.random.default_rng(7).exponential(1, 10)
    one, large = (ratio_bootstrap(f * x, np.ones(10), seed=1) for f in (1.0, 1e4))
    np.testing.assert_allclose(large.interval, 1e4 * np.array(one.interval))


def test_nothing_is_claimed_without_scatter_or_events():
    assert np.isnan(ratio_bootstrap(np.zeros(5), np.ones(5), seed=0).value)
    assert np.isnan(ratio_bootstrap(np.ones(5), np.ones(5), seed=0).value)
    # a single event: many resamples have none, so there is no upper bound
    one = ratio_bootstrap(np.array([1.0, 0, 0, 0, 0]), np.ones(5), seed=0)
    assert one.interval[1] == np.inf


@pytest.mark.parametrize("group", [None, np.array([1, 1, 2])])
def test_single_replicas_are_refused(group):
    n = 1 if group is None else 3
    with pytest.raises(ValueError, match="at least 2 in every group"):
        replica_bootstrap(mean, np.ones((n, 2)), seed=0, group=group)
