import numpy as np
import pytest
from scipy import stats

from jaxdiff import units
from jaxdiff.analysis.arrhenius import fit_arrhenius
from jaxdiff.analysis.comparison import detection_power
from jaxdiff.analysis.planning import (
    allocate,
    energy_error,
    extend,
    hops_to_resolve,
    plan_shares,
)

TEMPERATURE = np.array([300.0, 350.0, 400.0, 450.0, 500.0])
HOT = np.array([400.0, 475.0, 550.0, 625.0, 700.0])


def rate(temperature):
    """4 paths of 1e13/s over 0.22 eV, 1/ps."""
    return 40 * np.exp(-0.22 / (units.KB * temperature))


@pytest.mark.parametrize(
    ("temperature", "error", "half_width_hops"),
    [
        ([300, 350, 400, 450, 500], 0.082, 255),
        ([300, 400, 500, 600], 0.069, 181),
        ([400, 500, 600, 700, 800], 0.087, 291),
        ([500, 600, 700, 800, 900, 1000], 0.103, 410),
        ([700, 800, 900, 1000], 0.269, 2780),
    ],
)
def test_hops_per_temperature_of_the_published_sets(temperature, error, half_width_hops):
    """Numbers of an independent calculation, to its digits."""
    temperature = np.array(temperature, float)
    one = np.ones_like(temperature)
    assert energy_error(temperature, one) == pytest.approx(error, abs=6e-4)
    plan = plan_shares(temperature, one, one, 0.01)
    assert plan.hops == pytest.approx(half_width_hops, rel=5e-3)


def test_energy_error_is_that_of_the_fit():
    exposure = np.full(5, 300.0)
    n = rate(TEMPERATURE) * exposure
    fit = fit_arrhenius(TEMPERATURE, n, exposure, dispersion=2.0)
    error = fit.activation_energy.standard_error
    assert energy_error(TEMPERATURE, n, 2.0) == pytest.approx(error)
    assert energy_error(TEMPERATURE, np.array([0.0, 0, 5, 0, 0])) == np.inf


@pytest.mark.parametrize(("power", "hops"), [(0.5, 127.9), (0.8, 261.3)])
def test_hops_to_resolve_a_difference_of_two_models(power, hops):
    """127 and 261 hops were calculated elsewhere; the power formula gives them back."""
    found = hops_to_resolve(TEMPERATURE, 0.02, power=power)
    assert found == pytest.approx(hops, abs=0.1)
    error = 2**0.5 * energy_error(TEMPERATURE, np.full(5, found))
    # of both tails, the other one has less than 1e-4
    assert detection_power(error, 0.02) == pytest.approx(power, abs=1e-4)
    twice = hops_to_resolve(TEMPERATURE, 0.02, power=power, dispersion=2.0)
    assert twice == pytest.approx(2 * found)


def test_cost_of_three_designs_from_400_to_700_kelvin():
    """10.0, 9.5 and 5.8 ns for ± 0.01 eV, calculated elsewhere."""
    k = rate(HOT)
    equal_hops = plan_shares(HOT, k, 1 / k, 0.01)
    equal_time = plan_shares(HOT, k, np.ones(5), 0.01)
    ends = allocate(HOT, k, 0.01, least_share=0)
    totals = [plan.exposure_ps.sum() / 1000 for plan in (equal_hops, equal_time, ends)]
    assert totals == pytest.approx([10.0, 9.5, 5.8], abs=0.05)
    assert np.ptp(equal_hops.hops) == pytest.approx(0, abs=1e-9)
    # times at two temperatures go as rate^-1/2
    assert ends.share[1:4].tolist() == [0, 0, 0]
    assert ends.share[0] / ends.share[4] == pytest.approx((k[4] / k[0]) ** 0.5, rel=1e-4)


def test_plans_reach_their_target():
    plans = (
        allocate(HOT, rate(HOT), 0.013, dispersion=1.5),
        plan_shares(HOT, rate(HOT), HOT, 0.013, dispersion=1.5),
    )
    for plan in plans:
        assert plan.hops == pytest.approx(rate(HOT) * plan.exposure_ps)
        half = 1.959964 * energy_error(HOT, plan.hops, 1.5)
        assert half == pytest.approx(0.013)
        assert plan.half_width_ev == 0.013
        assert plan.share.sum() == pytest.approx(1)


def test_allocation_with_least_shares_is_the_best_of_many():
    """20 000 random designs with at least 10 % of the time everywhere."""
    best = allocate(HOT, rate(HOT), 0.01)
    assert best.share.min() == pytest.approx(0.1, abs=1e-6)
    rng = np.random.default_rng(0)
    share = 0.1 + 0.5 * rng.dirichlet(np.full(5, 0.3), 20000)
    x, n = 1 / (units.KB * HOT), share * rate(HOT)
    center = (n @ x) / n.sum(1)
    spread = (n * (x - center[:, None]) ** 2).sum(1)
    total = (1.959964 / 0.01) ** 2 / spread
    assert best.exposure_ps.sum() <= total.min()
    # so many random points come close to the optimum
    assert best.exposure_ps.sum() == pytest.approx(total.min(), rel=0.01)


def test_a_temperature_almost_without_hops_is_left_out_of_the_optimum():
    """Of 300, 400, 500, 600 K the time goes to 400 and 600 K; 11 ns."""
    temperature = np.array([300.0, 400.0, 500.0, 600.0])
    plan = allocate(temperature, rate(temperature), 0.01, least_share=0)
    assert (plan.share > 0).tolist() == [False, True, False, True]
    assert plan.exposure_ps.sum() / 1000 == pytest.approx(11, abs=0.1)


def test_extension_reaches_the_target():
    """The design kept: factor (present / target)^2; a fit of the exact counts has it."""
    temperature, exposure = np.repeat(TEMPERATURE, 4), np.full(20, 150.0)
    fit = fit_arrhenius(temperature, rate(temperature) * exposure, exposure)
    plan = extend(fit, temperature, exposure, 0.01)
    present = 1.959964 * fit.activation_energy.standard_error
    assert plan.factor == pytest.approx((present / 0.01) ** 2, rel=1e-6)
    assert plan.exposure_ps == pytest.approx(600 * plan.factor)
    assert plan.extra_ps == pytest.approx(600 * (plan.factor - 1))
    assert plan.hops == pytest.approx(rate(TEMPERATURE) * plan.exposure_ps)
    longer = exposure * plan.factor
    again = fit_arrhenius(temperature, rate(temperature) * longer, longer)
    assert 1.959964 * again.activation_energy.standard_error == pytest.approx(0.01)


def test_extension_of_a_diffusivity_fit_and_of_one_that_is_done():
    exposure, jump = np.full(5, 4e3), 2e-4
    n = rate(TEMPERATURE) * exposure
    fit = fit_arrhenius(TEMPERATURE, n, exposure, scale=jump, prefactor_unit="cm^2/s")
    plan = extend(fit, TEMPERATURE, exposure, 0.005, scale=jump)
    assert plan.hops == pytest.approx(plan.factor * n)
    done = extend(fit, TEMPERATURE, exposure, 0.5, scale=jump)
    assert done.factor == 1
    assert done.extra_ps.tolist() == [0] * 5
    assert done.half_width_ev < 0.1


@pytest.mark.statistics
def test_planned_half_widths_are_those_of_simulated_runs():
    """400 runs as planned: the estimates scatter by the planned half-width / 1.96."""
    rng = np.random.default_rng(1)
    plan = allocate(HOT, rate(HOT), 0.02)
    found = [
        fit_arrhenius(HOT, rng.poisson(plan.hops), plan.exposure_ps, dispersion=1.0)
        for _ in range(400)
    ]
    scatter = np.std([fit.activation_energy.value for fit in found])
    # s.d. of a standard deviation of 400 is 3.5 %
    assert 1.959964 * scatter == pytest.approx(0.02, rel=0.12)
    size = np.mean([fit.linearity_p_value < 0.05 for fit in found])
    assert size == pytest.approx(0.05, abs=4 * stats.binom(400, 0.05).std() / 400)


def test_plans_that_make_no_sense_are_refused():
    k = rate(HOT)
    with pytest.raises(ValueError, match="half_width=0 must be positive"):
        plan_shares(HOT, k, k, 0)
    with pytest.raises(ValueError, match="rates must be positive and finite"):
        plan_shares(HOT, 0 * k, k, 0.01)
    with pytest.raises(ValueError, match="two at least, all distinct"):
        allocate(np.array([400.0, 400.0]), k[:2], 0.01)
    with pytest.raises(ValueError, match=r"least_share=0.2 at 5 temperatures"):
        allocate(HOT, k, 0.01, least_share=0.2)
    with pytest.raises(ValueError, match="power=1 must be between"):
        hops_to_resolve(HOT, power=1)
    with pytest.raises(ValueError, match="difference=0 must not be zero"):
        hops_to_resolve(HOT, 0)
