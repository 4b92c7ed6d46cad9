import itertools

import numpy as np
import pytest

from jaxdiff.analysis.diffusion import (
    defect_diffusivity,
    tracer_diffusivity,
)
from jaxdiff.analysis.rates import garwood
from jaxdiff.analysis.series import HopTotals
from jaxdiff.lattice.jumps import VACANCY
from jaxdiff.lattice.rock_salt import ROCK_SALT

CLASSES, TRACER_CORRELATION = ROCK_SALT.classes, ROCK_SALT.tracer_correlation
SQUARED_JUMP = tuple(jump.squared_length for jump in ROCK_SALT.jumps)
SQUARED_STEPS = tuple(jump.squared_steps for jump in ROCK_SALT.jumps)

LATTICE, CELLS = 4.0, 3  # Å; a/4 is 1 Å
CORNERS = np.array(list(itertools.product([-1, 1], repeat=3)))


def totals(by_class=(0, 0, 0, 0, 0), exposure=100.0, others=(), **changes):
    """Hops of the first classes, and others as (class, jump^2, steps^2), Å^2."""
    kind = np.repeat(np.arange(len(by_class)), by_class)
    jump, steps = np.array(SQUARED_JUMP)[kind], np.array(SQUARED_STEPS)[kind]
    extra = np.array(others, float).reshape(-1, 3)
    data = {
        "exposure_ps": exposure,
        "network": ROCK_SALT,
        "kind": np.concatenate([kind, extra[:, 0].astype(int)]),
        "squared_jump": np.concatenate([jump, extra[:, 1]]),
        "squared_steps": np.concatenate([steps, extra[:, 2]]),
        "n_mobile": 109,
        "lattice_constant": LATTICE,
    }
    return HopTotals(**(data | changes))


def walk(kind, n_walkers, n_hops, seed):
    """Squared displacement of the defect and summed over the cations, per hop, (a/4)^2.

    A walk of the interstitialcy mechanism in a periodic cell; the two differ because a
    cation that was pushed out is next to the defect and likely to move back.
    """
    rng = np.random.default_rng(seed)
    size = 4 * CELLS
    cation = np.array([p for p in itertools.product(range(0, size, 2), repeat=3)])
    cation = cation[cation.sum(1) // 2 % 2 == 0]
    index = np.full((size, size, size), -1)
    index[tuple(cation.T)] = np.arange(len(cation))
    occupant = np.tile(np.arange(len(cation)), (n_walkers, 1))
    inside = np.full(n_walkers, len(cation))
    defect = np.tile([1, 1, 1], (n_walkers, 1))
    start, moved = defect.copy(), np.zeros((n_walkers, len(cation) + 1, 3), int)
    who = np.arange(n_walkers)
    for _ in range(n_hops):
        # the four corners that lead to a cation: an even number of half coordinates
        even = ((defect[:, None] + CORNERS).sum(-1) // 2 % 2) == 0
        first = CORNERS[np.argmax(rng.random(even.shape) * even, axis=1)]
        axis = np.eye(3, dtype=int)[rng.integers(3, size=n_walkers)]
        second = {
            "collinear": first,
            "noncollinear_1": first * (1 - 2 * axis),
            "noncollinear_2": first * (2 * axis - 1),
        }[kind]
        place = index[tuple(((defect + first) % size).T)]
        pushed = occupant[who, place]
        moved[who, inside] += first
        moved[who, pushed] += second
        occupant[who, place] = inside
        inside, defect = pushed, defect + first + second
    squared = ((defect - start) ** 2).sum(-1)
    return squared.mean() / n_hops, (moved**2).sum((1, 2)).mean() / n_hops


@pytest.mark.parametrize(
    ("kind", "haven"),
    [("collinear", 1 / 3), ("noncollinear_1", 0.727), ("noncollinear_2", 1.45)],
)
def test_tracer_and_defect_of_a_simulated_walk(kind, haven):
    """The estimators against displacements of a walk; the Haven ratio is known."""
    n_walkers, n_hops = 3000, 60
    squared_defect, squared_tracers = walk(kind, n_walkers, n_hops, seed=0)
    counts = np.array(CLASSES[:5]) == kind
    one = totals(counts.astype(int), exposure=1.0)
    defect = 6 * defect_diffusivity(one).value / 1e-4  # Å^2 per hop
    tracer = 6 * one.n_mobile * tracer_diffusivity(one, correlation=True).value / 1e-4
    # s.d. of the mean square of 3000 Gaussian vectors: √(2/9000) = 1.5 %
    assert squared_defect == pytest.approx(defect, rel=0.05)
    # the walk is finite, so early hops have not been undone yet: up to 2 %
    assert squared_tracers == pytest.approx(tracer, rel=0.04)
    assert tracer / defect == pytest.approx(haven, rel=3e-3)


def test_defect_diffusivity_by_hand():
    """10 collinear hops of 12 Å^2 in 100 ps: 120/600 Å^2/ps."""
    estimate = defect_diffusivity(totals([10, 0, 0, 0, 0]))
    assert estimate.value == pytest.approx(0.2e-4)
    assert estimate.unit == "cm^2/s"
    low, high = garwood(10)
    np.testing.assert_allclose(estimate.interval, [0.02e-4 * low, 0.02e-4 * high])


def test_tracer_diffusivity_by_hand():
    """Two cations move by 3 Å^2 each, 109 share it."""
    hops = totals([10, 0, 0, 0, 0])
    plain = tracer_diffusivity(hops, correlation=False)
    assert plain.value == pytest.approx(60 / (6 * 109 * 100) * 1e-4)
    assert tracer_diffusivity(hops, correlation=True).value == pytest.approx(
        plain.value * TRACER_CORRELATION[0]
    )


def test_concerted_hops_and_exchanges_enter_as_they_are():
    concerted, exchange = CLASSES.index("concerted"), CLASSES.index("exchange")
    hops = totals([5, 0, 0, 2, 0], others=[(concerted, 20, 9), (exchange, 0, 16)])
    assert hops.hops == 8
    np.testing.assert_array_equal(hops.hops_by_class, [5, 0, 0, 2, 0, 1])
    assert defect_diffusivity(hops).value == pytest.approx(88 / 600 * 1e-4)
    plain = tracer_diffusivity(hops, correlation=False)
    assert plain.value == pytest.approx(63 / (600 * 109) * 1e-4)
    corrected = tracer_diffusivity(hops, correlation=True)
    assert corrected.value == pytest.approx((20 + 8 + 25) / (600 * 109) * 1e-4)


def test_vacancies_hop_by_half_a_face_diagonal():
    """8 Å^2 each; a tracer that jumped into a vacancy is likely to go back: f = 0.7815."""
    hops = totals([0, 0, 0, 0, 10], sign=VACANCY)
    assert defect_diffusivity(hops).value == pytest.approx(80 / 600 * 1e-4)
    tracer = tracer_diffusivity(hops, correlation=True).value
    assert tracer == pytest.approx(0.7815 * 80 / (600 * 109) * 1e-4)
    bound = defect_diffusivity(totals(sign=VACANCY)).interval[1]
    assert bound == pytest.approx(-np.log(0.025) * 8 / 600 * 1e-4)


def test_without_hops_there_is_an_upper_bound():
    defect = defect_diffusivity(totals())
    assert defect.value == 0
    assert defect.interval == pytest.approx((0.0, -np.log(0.025) * 12 / 600 * 1e-4))
    assert np.isnan(defect.standard_error)
    assert tracer_diffusivity(totals(), correlation=True).interval[1] > 0


def test_dispersion_widens_diffusivities():
    plain = defect_diffusivity(totals([40, 0, 0, 0, 0]))
    wide = defect_diffusivity(totals([40, 0, 0, 0, 0], dispersion=4.0))
    assert wide.standard_error == pytest.approx(2 * plain.standard_error)
