"""The line through mean squared displacements, with and without a memory of the jumps."""

import numpy as np
import pytest
from memory_walk import SQUARED_JUMP, factor, remember

from jaxdiff.analysis.displacement import fit_defect
from jaxdiff.analysis.msd import site_paths

FRAMES = 4  # in a residence of 1 ps


def fits(repetitions, replicas, duration, back, seed=0):
    n = repetitions * replicas
    walk = remember(
        np.ones(n), np.full(n, float(duration)), kind="vacancy", back=back, seed=seed
    )
    n_frames = duration * FRAMES + 1
    path = site_paths(
        *(walk.time, walk.replica, walk.jump),
        n_walkers=n,
        n_frames=n_frames,
        frame_ps=1 / FRAMES,
    )
    parts = np.split(path, repetitions, axis=1)
    return [fit_defect(p, 1 / FRAMES, 1.0, SQUARED_JUMP["vacancy"]) for p in parts]


@pytest.mark.parametrize("back", [0.0, 0.4])
def test_the_slope_is_right_with_and_without_memory(back):
    """100 runs of 4 x 60 residences; a line through the origin is 50 % too steep at 0.4."""
    truth = SQUARED_JUMP["vacancy"] / 6 * factor(back) * 1e-4
    found = [fit.diffusivity for _, fit in fits(100, 4, 60, back)]
    value = np.array([d.value for d in found]) / truth
    assert value.mean() == pytest.approx(1, abs=4 * value.std() / 10)
    error = np.mean([d.standard_error for d in found]) / truth
    assert error == pytest.approx(value.std(), rel=0.3)  # 4 s.d. of 100
    covered = [d.interval[0] < truth < d.interval[1] for d in found]
    assert np.mean(covered) > 0.87  # binomial s.d. 2.2 %


def test_lags_begin_after_four_residences_or_a_quarter_of_the_path():
    (lag, _), (short, _) = fits(1, 4, 60, 0.0)[0], fits(1, 4, 12, 0.0)[0]
    assert lag[0] == 4 * FRAMES
    assert short[0] == 3 * FRAMES
    assert fits(1, 4, 7, 0.0)[0] is None  # below two residences


def test_at_rest_there_is_a_bound_however_short_the_path():
    _, fit = fit_defect(np.zeros((9, 2, 3)), 1.0, 16.0, 8.0)
    assert fit.diffusivity.value == 0
    assert fit.diffusivity.interval[1] > 0


@pytest.mark.long
@pytest.mark.parametrize(("replicas", "duration"), [(16, 30), (4, 250)])
@pytest.mark.parametrize("back", [0.0, 0.2, 0.4])
def test_coverage_of_displacements_in_1000_runs(replicas, duration, back):
    truth = SQUARED_JUMP["vacancy"] / 6 * factor(back) * 1e-4
    found = [fit.diffusivity for _, fit in fits(1000, replicas, duration, back)]
    covered = [d.interval[0] < truth < d.interval[1] for d in found]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
