"""`jaxdiff export` of a run whose frames and hops are known, in every format."""

import importlib
import re

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jaxdiff.analysis import load_series
from jaxdiff.cli import app
from jaxdiff.io.series import SeriesWriter
from jaxdiff.io.site_log import SiteLog
from jaxdiff.io.trajectory import open_trajectory
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.observables import SiteSettings, initialize, observe

LATTICES, CELLS, N_FRAMES, FRAME_PS = (4.0, 4.1, 4.05), 2, 40, 0.02
SYSTEMS = [rock_salt_interstitial(CELLS, a) for a in LATTICES]
NUMBER = np.asarray(SYSTEMS[0].atomic_number)
SETTINGS = SiteSettings(core_radius=0.6, dwell_frames=2, log_capacity=16)
INTERSTITIAL = 32  # index of its row; it hops along x from one 8c site to the next
HOPS = ((3, 8, 13, 18, 23, 28), (15,), (5, 25))  # the first leaves the cell
STOP_FRAME = 20  # of the last replica


def paths():
    """Frames [F, R, N, 3], Å: vibrations of 0.05 Å and hops of a/2, in two frames."""
    rng = np.random.default_rng(0)
    start = np.stack([np.asarray(system.position) for system in SYSTEMS])
    position = start + 0.05 * rng.normal(size=(N_FRAMES, *start.shape))
    for replica, frames in enumerate(HOPS):
        for frame in frames:
            for first in (frame - 1, frame):
                position[first:, replica, INTERSTITIAL, 0] += LATTICES[replica] / 4
    position[STOP_FRAME - 1 :, 2] = position[STOP_FRAME - 2, 2]  # stands still from there
    return position.astype(np.float32).astype(float)


POSITION = paths()
TIME = np.arange(1, N_FRAMES + 1) * FRAME_PS
CELL = np.stack([np.asarray(system.cell) for system in SYSTEMS])
LENGTH = (N_FRAMES, N_FRAMES, STOP_FRAME - 1)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a run of three replicas, the last of which stopped."""
    folder = tmp_path_factory.mktemp("run")
    supercell = Supercell.of(ROCK_SALT, CELLS)
    states = [
        initialize(SETTINGS, supercell, s.cell, jnp.asarray(s.position), NUMBER == 3)
        for s in SYSTEMS
    ]
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    see = jax.jit(jax.vmap(lambda s, x, f: observe(SETTINGS, s, x, f), (0, 0, None)))
    series = SeriesWriter(
        folder,
        temperature=np.array([400.0, 500.0, 500.0]),
        seed_index=np.arange(3),
        lattice_constant=np.array(LATTICES),
        cell=CELL,
        is_mobile=NUMBER == 3,
        attributes={
            "run_file": "",
            "timestep_fs": 1.0,
            "frame_ps": FRAME_PS,
            "dwell_frames": SETTINGS.dwell_frames,
            "core_radius_angstrom": SETTINGS.core_radius,
            "network": supercell.network.to_json(),
            "mobile": "Li",
            "formula": "LiF",
            "supercell": supercell.matrix,
            "n_mobile": 33,
            "n_anion": 32,
        },
        provenance={},
    )
    log = SiteLog.start(series, state)
    for frame in range(1, N_FRAMES + 1):
        new = see(state, jnp.asarray(POSITION[frame - 1]), frame)
        gone = frame >= STOP_FRAME
        state = jax.tree.map(lambda a, b, g=gone: b.at[2].set(a[2]) if g else b, state, new)
        log.write(state)
    series.append_positions(TIME, POSITION.swapaxes(0, 1))
    series.set_diverged(np.array([np.nan, np.nan, STOP_FRAME * FRAME_PS]))
    series.finish("diverged")
    return folder


@pytest.fixture
def run(written, tmp_path):
    """A copy of it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "series.h5").write_bytes((written / "series.h5").read_bytes())
    return folder


def export(*arguments):
    return CliRunner().invoke(app, ["export", *(str(a) for a in arguments)])


NAMES = ("r{replica}.lammpstrj", "r{replica}.extxyz", "r{replica}.h5md", "r{replica}.traj")
TIMES = {"XDATCAR": {"frame_ps": FRAME_PS}, ".lammpstrj": {"timestep_fs": 1.0}}


def given(path):
    return TIMES.get(path.suffix or path.name, {})


@pytest.mark.parametrize("name", [*NAMES, "{replica}/XDATCAR"])
def test_every_format_is_read_back(run, tmp_path, name):
    """Positions to 10 decimals (fractional ones: times 8 Å), cells of each replica."""
    done = export(run, tmp_path / name)
    assert done.exit_code == 0, done.output
    for replica in range(3):
        path = tmp_path / name.replace("{replica}", str(replica))
        assert f"{path}: {LENGTH[replica]} frames of replica {replica}, " in done.output
        trajectory = open_trajectory(path, **given(path))
        (frames,) = trajectory.chunks()
        np.testing.assert_array_equal(trajectory.atomic_number, NUMBER)
        kept = POSITION[: LENGTH[replica], replica]
        np.testing.assert_allclose(frames.position, kept, rtol=0, atol=2e-9)
        np.testing.assert_allclose(frames.cell, CELL[[replica] * len(kept)], atol=1e-9)
        time = TIME[: len(kept)] - TIME[0]  # of a file, from its first frame
        np.testing.assert_allclose(frames.time_ps, time, atol=1e-9)
    assert kept.min() > -1
    assert POSITION[:, 0].max() > CELL[0, 0, 0] + 4  # unwrapped: it left the cell


@pytest.mark.parametrize("name", ["a.lammpstrj", "a.extxyz", "XDATCAR", "a.traj"])
def test_ovito_reads_the_same(run, tmp_path, name):
    ovito = pytest.importorskip("ovito.io")
    assert export(run, tmp_path / name, "--replica", 1).exit_code == 0
    pipeline = ovito.import_file(str(tmp_path / name))
    assert pipeline.source.num_frames == N_FRAMES
    for k in (0, 14, N_FRAMES - 1):
        data = pipeline.compute(k)
        position = np.asarray(data.particles.positions)
        np.testing.assert_allclose(position, POSITION[k, 1], rtol=0, atol=1e-8)
        cell = np.asarray(data.cell)[:, :3].T
        np.testing.assert_allclose(cell, CELL[1], rtol=0, atol=1e-8)
        kinds = data.particles.particle_types
        symbols = [kinds.type_by_id(t).name for t in kinds]
        assert symbols == ["Li" if z == 3 else "F" for z in NUMBER]


def test_mdanalysis_reads_the_same(run, tmp_path):
    """Its positions are float32: 1e-6 Å at 20 Å. The step is that of the run's clock."""
    mda = pytest.importorskip("MDAnalysis")
    dump, h5 = tmp_path / "a.lammpstrj", tmp_path / "a.h5"
    for path in (dump, h5):
        assert export(run, path, "--replica", 0).exit_code == 0
    universes = [
        mda.Universe(str(dump), format="LAMMPSDUMP", topology_format="LAMMPSDUMP", dt=1e-3),
        mda.Universe(str(dump), str(h5), topology_format="LAMMPSDUMP", format="H5MD"),
    ]
    for universe in universes:
        seen = [(ts.time, ts.positions.copy()) for ts in universe.trajectory]
        time, position = (np.array(part) for part in zip(*seen, strict=True))
        np.testing.assert_allclose(position, POSITION[:, 0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(time, TIME, atol=1e-6)
        np.testing.assert_allclose(universe.dimensions[:3], 8.0, rtol=1e-6)


@pytest.fixture
def analyze(undrawn):
    """The command, without its report."""
    own = typer.Typer()
    own.command()(importlib.import_module("jaxdiff.cli.analyze").analyze)
    return lambda *arguments: CliRunner().invoke(own, [str(a) for a in arguments])


def test_analyze_of_the_dumps_finds_the_hops_of_the_run(run, tmp_path, analyze):
    assert export(run, tmp_path / "r{replica}.lammpstrj").exit_code == 0
    before = load_series(run / "series.h5")
    np.testing.assert_array_equal(before.hop_count, [6, 1, 1])
    for replica in range(3):
        out = tmp_path / f"out{replica}"
        options = ("--timestep-fs", 1, "--dwell-frames", 2, "--core-radius-angstrom", 0.6)
        kelvin = ("--temperature-kelvin", before.temperature[replica])
        done = analyze(tmp_path / f"r{replica}.lammpstrj", *kelvin, *options, "--out", out)
        assert done.exit_code == 0, done.output
        seen = load_series(out / "series.h5")
        mine = before.events.replica == replica
        for name in ("frame", "kind", "defect", "start", "end"):
            np.testing.assert_array_equal(
                getattr(seen.events, name), getattr(before.events, name)[mine]
            )
        np.testing.assert_allclose(seen.exposure_ps, before.exposure_ps[replica])
        np.testing.assert_allclose(seen.lattice_constant, LATTICES[replica], rtol=1e-9)


def test_what_analyze_kept_is_exported_again(run, tmp_path, analyze):
    """Its series says which atoms are mobile, but not what the others are."""
    assert export(run, tmp_path / "a.h5md", "--replica", 1).exit_code == 0
    options = ("--temperature-kelvin", 500, "--out", tmp_path / "out", "--keep-frames", 40)
    assert analyze(tmp_path / "a.h5md", *options).exit_code == 0
    failed = export(tmp_path / "out", tmp_path / "b.lammpstrj")
    assert failed.exit_code == 2
    assert "give its symbol, as in --anion F" in failed.stderr
    done = export(tmp_path / "out", tmp_path / "b.lammpstrj", "--anion", "F")
    assert done.exit_code == 0, done.output
    (frames,) = open_trajectory(tmp_path / "b.lammpstrj", timestep_fs=20.0).chunks()
    np.testing.assert_allclose(frames.position, POSITION[:, 1], atol=1e-6)
    np.testing.assert_allclose(frames.time_ps, TIME - TIME[0], atol=1e-9)


def test_species_are_those_of_the_final_frames(run, tmp_path):
    """A crystal read from files may have other anions."""
    import ase
    from ase.io import write

    chlorine = np.where(NUMBER == 3, 3, 17)
    atoms = ase.Atoms(chlorine, np.zeros((65, 3)), cell=CELL[0], pbc=True)
    write(run / "final.extxyz", [atoms] * 3)
    assert export(run, tmp_path / "a.extxyz", "--replica", 0).exit_code == 0
    found = open_trajectory(tmp_path / "a.extxyz").atomic_number
    np.testing.assert_array_equal(found, chlorine)
    assert export(run, tmp_path / "b.extxyz", "--replica", 0, "--anion", "F").exit_code == 0
    found = open_trajectory(tmp_path / "b.extxyz").atomic_number
    np.testing.assert_array_equal(found, NUMBER)


def barostat(run, every=1):
    """Make it a run at constant pressure, with volumes at every so many-th frame."""
    rng = np.random.default_rng(1)
    stretch = 1 + 0.01 * rng.normal(size=(3, N_FRAMES))
    with h5py.File(run / "series.h5", "r+") as file:
        file.attrs["run_file"] = "[barostat]\npressure_gpa = 0.0\n"
        for name in ("time_ps", "volume_angstrom3"):
            del file[f"thermo/{name}"]
        file["thermo/time_ps"] = TIME[::every]
        volume = np.linalg.det(CELL)[:, None] * stretch**3
        file["thermo/volume_angstrom3"] = volume[:, ::every]
    return stretch


def test_a_cell_that_varied_is_that_of_the_time(run, tmp_path):
    stretch = barostat(run)
    assert export(run, tmp_path / "a.traj", "--replica", 1).exit_code == 0
    (frames,) = open_trajectory(tmp_path / "a.traj").chunks()
    expected = CELL[1] * stretch[1, :, None, None]
    np.testing.assert_allclose(frames.cell, expected, rtol=1e-12)


def test_a_cell_that_is_not_known_is_an_error(run, tmp_path):
    barostat(run, every=2)
    failed = export(run, tmp_path / "a.traj", "--replica", 1)
    assert failed.exit_code == 2
    assert "its volume at 0.04 ps was not written" in " ".join(failed.stderr.split())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.traj", [], r"has 3 replicas and FILE is .*a_{replica}.traj, or choose one"),
        ("a.traj", ["--replica", 3], "--replica 3: the run has 3, numbered from 0 to 2"),
        ("a.traj", ["--replica", -1], "--replica -1: the run has 3"),
        ("a.traj", ["--replica", 0, "--file-format", "dcd"], "--file-format dcd is not"),
        ("a.dcd", ["--replica", 0], "the format is not clear; say --file-format"),
        ("a.traj", ["--replica", 0, "--anion", "Qq"], "--anion Qq is no element"),
        ("old.traj", ["--replica", 0], "old.traj exists already"),
    ],
)
def test_bad_input_is_exit_2_and_one_line(run, tmp_path, name, options, message):
    (tmp_path / "old.traj").write_text("precious")
    failed = export(run, tmp_path / name, *options)
    assert failed.exit_code == 2, failed.output
    assert failed.stderr.count("\n") == 1
    assert re.search(message, failed.stderr), failed.stderr
    assert (tmp_path / "old.traj").read_text() == "precious"
    assert not (tmp_path / "a.traj").exists()


def test_nothing_is_written_where_one_file_exists(run, tmp_path):
    (tmp_path / "a1.traj").write_text("precious")
    failed = export(run, tmp_path / "a{replica}.traj")
    assert failed.exit_code == 2
    assert not (tmp_path / "a0.traj").exists()


def test_a_run_without_positions(run, tmp_path):
    with h5py.File(run / "series.h5", "r+") as file:
        for name, value in (("time_ps", TIME[:0]), ("position", np.zeros((3, 0, 65, 3)))):
            del file[f"positions/{name}"]
            file[f"positions/{name}"] = value
    failed = export(run, tmp_path / "a.traj", "--replica", 0)
    assert failed.exit_code == 2
    assert "set output.positions_every_ps" in failed.stderr
    missing = export(tmp_path / "nowhere", tmp_path / "a.traj")
    assert missing.exit_code == 2
    assert "does not exist" in missing.stderr


def test_a_replica_that_has_no_frame_is_left_out(run, tmp_path):
    with h5py.File(run / "series.h5", "r+") as file:
        file["diverged_ps"][1] = FRAME_PS  # the first frame is that of the stop
    done = export(run, tmp_path / "a{replica}.traj")
    assert done.exit_code == 0
    assert "replica 1: left out" in done.output
    assert not (tmp_path / "a1.traj").exists()
    failed = export(run, tmp_path / "b.traj", "--replica", 1)
    assert failed.exit_code == 2
    assert "No position was kept before replica 1 diverged, at 0.02 ps" in failed.stderr


def test_a_run_that_goes_on_is_exported_if_asked(run, tmp_path):
    with h5py.File(run / "series.h5", "r+") as file:
        file.attrs["status"] = "running"
    failed = export(run, tmp_path / "a.traj", "--replica", 0)
    assert failed.exit_code == 2
    assert "status='running'" in failed.stderr
    done = export(run, tmp_path / "a.traj", "--replica", 0, "--allow-incomplete")
    assert done.exit_code == 0, done.output
