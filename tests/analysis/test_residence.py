import numpy as np
import pytest

from jaxdiff.analysis.rates import hop_rate
from jaxdiff.analysis.residence import (
    _score,
    exponentiality,
    mean_complete_residence,
    mean_residence,
    residences,
    survival,
)


def renewals(rng, n_replicas, duration, draw):
    """Hops whose distances are drawn by `draw`; observed from long after the first."""
    distance = draw(rng, (n_replicas, int(60 + 3 * duration)))
    time = np.cumsum(distance, axis=1) - 20.0
    replica, hop = np.nonzero((time > 0) & (time < duration))
    return residences(
        time[replica, hop], replica, np.zeros(n_replicas), np.full(n_replicas, duration)
    )


def exponential(rng, shape):
    return rng.exponential(1.0, shape)


def test_residences_by_hand():
    data = residences(
        np.array([4.0, 1.0, 6.0]), np.array([0, 2, 0]), np.zeros(3), np.array([10.0, 5, 3])
    )
    np.testing.assert_allclose(data.length, [4, 2, 4, 5, 1, 2])
    np.testing.assert_array_equal(data.replica, [0, 0, 0, 1, 2, 2])
    np.testing.assert_array_equal(data.ended, [1, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(data.entered, [0, 1, 1, 0, 0, 1])
    assert mean_residence(data).value == pytest.approx(18 / 3)
    assert mean_complete_residence(data) == 2


def test_mean_is_the_inverse_of_the_rate_with_its_exact_interval():
    data = renewals(np.random.default_rng(0), 10, 5.0, exponential)
    rate = hop_rate(int(data.ended.sum()), 50.0)
    estimate = mean_residence(data)
    assert estimate.value == pytest.approx(1 / rate.value)
    np.testing.assert_allclose(estimate.interval, 1 / np.array(rate.interval[::-1]))


@pytest.mark.parametrize(
    ("duration", "trap"), [(1, 0.28), (2, 0.48), (5, 0.76), (10, 0.89)]
)
def test_complete_residences_are_short_ones(duration, trap):
    """The trap of leaving out the incomplete ones, against all time by hops."""
    data = renewals(np.random.default_rng(1), 20000, float(duration), exponential)
    n_complete = (data.ended & data.entered).sum()
    # relative error of a mean of n exponentials at most 1/√n; trap known to ± 0.005
    assert mean_complete_residence(data) == pytest.approx(
        trap, abs=4 / n_complete**0.5 + 0.005
    )
    n = data.ended.sum()
    assert mean_residence(data).value == pytest.approx(1, abs=4 / n**0.5)


def test_without_hops_the_residence_is_bounded_below():
    data = residences(np.zeros(0), np.zeros(0, int), np.zeros(4), np.full(4, 10.0))
    estimate = mean_residence(data)
    assert estimate.value == np.inf
    assert estimate.interval == pytest.approx((40 / -np.log(0.025), np.inf))
    assert np.isnan(exponentiality(data, seed=0).p_value)


def test_survival_by_hand():
    """Lengths 1, 2, 2+, 3, 4+ (+ censored): 4/5, 3/5, 3/10."""
    data = residences(
        np.array([1.0, 2, 4, 1, 4]),
        np.array([0, 0, 0, 1, 1]),
        np.zeros(2),
        np.array([6.0, 8.0]),
    )
    result = survival(data)
    np.testing.assert_allclose(result.time, [0, 1, 2, 3])
    np.testing.assert_allclose(result.probability, [1, 4 / 5, 3 / 5, 3 / 10])
    np.testing.assert_array_equal(result.at_risk, [5, 5, 4, 2])
    assert result.at(2.5)[0] == pytest.approx(3 / 5)
    assert result.at(0.5) == (1, 1, 1)
    # Greenwood on ln(-ln S) at the first step: Σ d/n(n-d) = 1/20
    spread = 1.959963984540054 * np.sqrt(1 / 20) / np.log(5 / 4)
    assert result.low[1] == pytest.approx(0.8 ** np.exp(spread))
    assert result.high[1] == pytest.approx(0.8 ** np.exp(-spread))
    first = survival(data, include_first=True)
    assert first.at_risk[0] == 7


def test_survival_agrees_with_lifelines():
    lifelines = pytest.importorskip("lifelines")
    data = renewals(np.random.default_rng(2), 12, 6.0, exponential)
    ours = survival(data, include_first=True)
    fitter = lifelines.KaplanMeierFitter()
    fitter.fit(data.length, data.ended, timeline=ours.time)
    np.testing.assert_allclose(
        fitter.survival_function_.to_numpy()[:, 0], ours.probability, atol=1e-12
    )
    band = fitter.confidence_interval_.to_numpy()
    inner = slice(1, -1)
    np.testing.assert_allclose(band[inner, 0], ours.low[inner], atol=1e-9)
    np.testing.assert_allclose(band[inner, 1], ours.high[inner], atol=1e-9)


@pytest.mark.parametrize("include_first", [False, True])
def test_survival_covers_the_exponential(include_first):
    rng = np.random.default_rng(3)
    at, values, inside = 0.7, [], []
    for _ in range(300):
        data = renewals(rng, 16, 6.0, exponential)
        value, low, high = survival(data, include_first=include_first).at(at)
        values.append(value)
        inside.append(low < np.exp(-at) < high)
    assert np.mean(values) == pytest.approx(np.exp(-at), abs=0.01)  # s.e. 0.003, bias 1/n
    assert np.mean(inside) == pytest.approx(0.95, abs=0.038)  # binomial 0.0126


@pytest.mark.statistics
@pytest.mark.parametrize("frame_ps", [0.0, 0.1])
def test_p_values_of_exponential_residences_are_uniform(frame_ps):
    rng = np.random.default_rng(4)
    p = []
    for seed in range(250):
        count = rng.poisson(4.0, 8)
        time = 4.0 * rng.random(count.sum())
        if frame_ps:
            time = np.ceil(time / frame_ps) * frame_ps
        replica = np.repeat(np.arange(8), count)
        data = residences(time, replica, np.zeros(8), np.full(8, 4.0))
        p.append(
            exponentiality(data, seed=seed, frame_ps=frame_ps, n_simulations=99).p_value
        )
    # binomial s.d. of the fractions at most 0.032; steps of the p-values 0.02
    for level in (0.1, 0.3, 0.5, 0.7):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=0.09)


@pytest.mark.long
def test_p_values_are_uniform_in_1000_runs():
    rng = np.random.default_rng(5)
    p = []
    for seed in range(1000):
        data = renewals(rng, 8, 4.0, exponential)
        p.append(exponentiality(data, seed=seed, n_simulations=199).p_value)
    for level in (0.05, 0.1, 0.5):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=0.045)


@pytest.mark.parametrize(
    ("shape", "low", "high"), [(0.5, 0.4, 0.62), (2.0, 1.6, 2.4), (1.0, 0.85, 1.15)]
)
def test_the_shape_is_found_and_others_than_1_are_seen(shape, low, high):
    """400 residences: shape to 0.78/√400 = 4 %, and the start of observation adds."""

    def draw(rng, size):
        return rng.weibull(shape, size)

    data = renewals(np.random.default_rng(6), 40, 10.0, draw)
    result = exponentiality(data, seed=0, n_simulations=499)
    assert low < result.shape < high
    assert (result.p_value < 0.01) == (shape != 1.0)


@pytest.mark.parametrize("hops", [500, 2937])
def test_a_memory_is_seen_at_any_number_of_hops(hops):
    """Weibull of shape 0.79, five temperatures: p must fall below 0.01/5 with more hops."""

    def draw(rng, size):
        return rng.weibull(0.79, size)

    data = renewals(np.random.default_rng(8), 10, hops / 10, draw)
    p = exponentiality(data, seed=0, n_simulations=199).p_value
    assert p < 0.002 if hops < 1000 else p < 1e-6


def as_frames(rng, rate, replicas, n_frames, dwell=1):
    """Hops as a detector sees them: one in a frame, `dwell` frames apart; 1 ps a frame."""
    replica, frame = np.nonzero(rng.random((replicas, n_frames)) < rate)
    keep, last = [], {}
    for r, f in zip(replica.tolist(), frame.tolist(), strict=True):
        keep.append(f - last.get(r, -dwell) >= dwell)
        if keep[-1]:
            last[r] = f
    time, who = frame[keep] + 1.0, replica[keep]
    return residences(time, who, np.zeros(replicas), np.full(replicas, n_frames * 1.0))


@pytest.mark.parametrize(("dwell", "rate"), [(1, 0.1), (1, 0.4), (3, 0.1)])
def test_frames_that_are_a_part_of_a_residence_raise_no_alarm(dwell, rate):
    """60 runs of some 700 hops: geometric residences, and none below the dwell."""
    rng = np.random.default_rng(9)
    p = np.array(
        [
            exponentiality(
                as_frames(rng, rate, 4, round(180 / rate), dwell),
                seed=seed,
                frame_ps=1.0,
                dwell_frames=dwell,
                n_simulations=99,
            ).p_value
            for seed in range(60)
        ]
    )
    assert (p < 0.01).sum() <= 3  # 0.6 expected
    assert 0.25 < np.mean(p < 0.5) < 0.75  # binomial s.d. 0.065


def test_as_if_exact_such_frames_would_raise_it():
    data = as_frames(np.random.default_rng(9), 0.2, 4, 2000)
    assert exponentiality(data, seed=0, n_simulations=99).p_value < 1e-6
    assert exponentiality(data, seed=0, frame_ps=1.0, n_simulations=99).p_value > 0.01


def test_the_score_is_the_derivative_of_the_likelihood():
    """Weibull with censoring: Σ_ended [ln k + k ln λ + (k-1) ln t] - Σ (λt)^k, at k = 1."""
    data = renewals(np.random.default_rng(7), 10, 6.0, exponential)
    t, ended = data.length, data.ended
    rate, n = ended.sum() / t.sum(), ended.sum()

    def likelihood(k):
        log = n * (np.log(k) + k * np.log(rate)) + (k - 1) * np.log(t[ended]).sum()
        return log - ((rate * t) ** k).sum()

    h = 1e-5  # central differences: error h²/6 times the third derivative
    slope = (likelihood(1 + h) - likelihood(1 - h)) / (2 * h)
    assert _score(t, ended) == pytest.approx(slope, abs=1e-5)


def test_hops_outside_of_the_observation_are_refused():
    with pytest.raises(ValueError, match="outside of the observation"):
        residences(np.array([3.0]), np.array([0]), np.zeros(1), np.ones(1))
    with pytest.raises(ValueError, match="no time was observed"):
        mean_residence(residences(np.zeros(0), np.zeros(0, int), np.zeros(1), np.zeros(1)))
