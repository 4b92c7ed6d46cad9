"""The argyrodite by kinisi and MDAnalysis: the same displacements and diffusivity."""

import gzip

import numpy as np
import pytest
from ase.io import read

from jaxdiff.analysis.msd import tracer
from jaxdiff.analysis.transport import measure
from jaxdiff.io.trajectory import open_trajectory
from jaxdiff.runs.read import read as read_displacements

FRAME_PS = 0.1


@pytest.fixture(scope="module")
def path(shared):
    path = shared / "data" / "trajectories" / "li6ps5cl_XDATCAR.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


@pytest.fixture(scope="module")
def paths(path):
    return read_displacements(open_trajectory(path, frame_ps=FRAME_PS), "Li", 600.0).paths


def test_the_diffusivity_is_that_of_kinisi(path, paths, tmp_path):
    """Within the intervals of both; the widths alike. Its lags begin at 1.5 ps."""
    pytest.importorskip("kinisi")
    import scipp as sc
    from kinisi.analyze import DiffusionAnalyzer

    (tmp_path / "XDATCAR").write_bytes(gzip.decompress(path.read_bytes()))
    frames = read(tmp_path / "XDATCAR", index=":")
    for frame in frames:
        frame.pbc = True
    np.random.seed(1)  # noqa: NPY002 (it draws from the global generator)
    analyzer = DiffusionAnalyzer.from_ase(
        frames,
        specie="Li",
        time_step=sc.scalar(FRAME_PS, unit="ps"),
        step_skip=sc.scalar(1, unit="dimensionless"),
        progress=False,
    )
    analyzer.diffusion(sc.scalar(1.5, unit="ps"), progress=False)
    low, high = np.percentile(analyzer.D.values, [2.5, 97.5])
    ours = measure([paths]).tracer.mean
    assert low < ours.value < high
    assert ours.interval[0] < analyzer.D.values.mean() < ours.interval[1]
    width = (ours.interval[1] - ours.interval[0]) / (high - low)
    assert 0.7 < width < 1.6
    # its reader of ASE trajectories has the first frame twice (kinisi 2.1)
    twice = np.concatenate([paths.mobile[:1], paths.mobile])
    expected = tracer(twice)[1 : 1 + len(analyzer.msd.values)]
    same = np.isclose(analyzer.msd.values, expected, rtol=1e-4)
    assert (~same).sum() <= 4  # lags that it truncates to the one below (0.1 · 43 / 0.1)
    assert len(same) == 140


def test_the_displacements_are_those_of_mdanalysis(paths):
    """Its mean squared displacement of the same continuous positions, every lag."""
    analysis = pytest.importorskip("MDAnalysis.analysis.msd")
    import MDAnalysis
    from MDAnalysis.coordinates.memory import MemoryReader

    universe = MDAnalysis.Universe.empty(paths.n_mobile, trajectory=False)
    universe.trajectory = MemoryReader(paths.mobile)
    theirs = analysis.EinsteinMSD(universe, select="all", fft=False).run()
    np.testing.assert_allclose(theirs.results.timeseries, tracer(paths.mobile), atol=1e-4)
