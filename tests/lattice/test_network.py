"""A second crystal: hexagonal, with two kinds of interstitial sites and other jumps.

Nothing in it is an integer or cubic: a = 3.1 Å, c = 4.9 Å; mobile atoms on 1a,
interstitials on 2c in the plane and 1b between planes, the host on 2d.
"""

import dataclasses
import itertools

import ase
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.analysis import load_series, summarize
from jaxdiff.analysis.defects import DefectHistory
from jaxdiff.io.trajectory import open_trajectory
from jaxdiff.lattice import INTERSTITIAL, VACANCY, Jump, SiteNetwork, Supercell, networks
from jaxdiff.lattice.network import edges_within, from_json
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.observables import SiteSettings, initialize, observe
from jaxdiff.report.report import as_document
from jaxdiff.runs.trajectories import Analysis

A, C = 3.1, 4.9  # Å, network units
CELL = ((A, 0.0, 0.0), (-A / 2, A * 3**0.5 / 2, 0.0), (0.0, 0.0, C))
THIRD = 1 / 3
FRACTION = (
    *((0.0, 0.0, 0.0), (THIRD, 2 * THIRD, 0.0), (2 * THIRD, THIRD, 0.0)),
    *((0.0, 0.0, 0.5), (THIRD, 2 * THIRD, 0.5), (2 * THIRD, THIRD, 0.5)),
)
EDGE = tuple(float(x) for x in np.array([THIRD, -THIRD, 0.0]) @ np.array(CELL))
HEXAGONAL = SiteNetwork(
    title="hexagonal",
    edge=A,
    conventional=CELL,
    cell=CELL,
    fraction=FRACTION,
    kind=("1a", "2c", "2c", "1b", "2d", "2d"),
    lattice=("1a",),
    host=("2d",),
    edges=edges_within(CELL, FRACTION, (0, 1, 2, 3), 2.5),
    jumps=(
        Jump("in_plane", INTERSTITIAL, ("2c", "2c"), (EDGE,), 3, 1.0),
        Jump("to_plane", INTERSTITIAL, ("1b", "2c"), ((0.0, A / 3**0.5, C / 2),), 6, 1.0),
        Jump("vacancy", VACANCY, ("1a", "1a"), ((A, 0.0, 0.0),), 6, 0.56),
    ),
)
SUPERCELL = Supercell(HEXAGONAL, tuple(map(tuple, np.diag([3, 3, 2]) @ np.array(CELL))))
SETTINGS = SiteSettings(core_radius=0.6, dwell_frames=2)


def place(*sites):
    return np.array([HEXAGONAL.position(tuple(s)) for s in sites])


@pytest.mark.parametrize("host", [False, True])
def test_the_nearest_site_is_that_of_all_images(host):
    position = np.random.default_rng(0).uniform(-9, 9, (200, 3))
    label = HEXAGONAL.nearest(jnp.asarray(position), host=host)
    chosen = [n for n, k in enumerate(HEXAGONAL.kind) if (k == "2d") is host]
    every = np.array(
        [(n, *image) for n in chosen for image in itertools.product(range(-6, 7), repeat=3)]
    )
    apart = np.linalg.norm(position[:, None] - place(*every.tolist()), axis=-1)
    np.testing.assert_array_equal(
        HEXAGONAL.sites(np.asarray(label)), every[apart.argmin(axis=1)]
    )
    found = HEXAGONAL.coordinates(label, jnp.float64)
    np.testing.assert_allclose(found, place(*np.asarray(label).tolist()), atol=1e-12)


def test_edges_are_each_pair_within_reach_once():
    """From 1a: six 2c at a/√3 in the plane and two 1b at c/2 above and below it."""
    around = HEXAGONAL.beside((0, 0, 0, 0))
    length = np.linalg.norm(place(*around), axis=1)
    np.testing.assert_allclose(np.sort(length), [A / 3**0.5] * 6 + [C / 2] * 2)
    assert len(HEXAGONAL.edges) == 11  # and three between the two 2c
    assert HEXAGONAL.shortest_edge == pytest.approx(A / 3**0.5)
    back = [HEXAGONAL.beside(site) for site in around]
    assert all((0, 0, 0, 0) in sites for sites in back)


def test_a_file_holds_the_whole_network():
    for network in (HEXAGONAL, ROCK_SALT):
        read = from_json(network.to_json())
        fields = [f.name for f in dataclasses.fields(network)]
        assert [getattr(read, n) for n in fields] == [getattr(network, n) for n in fields]


def test_a_cell_of_other_unit_vectors_is_refused():
    with pytest.raises(ValueError, match="not made of whole unit cells of hexagonal"):
        Supercell(HEXAGONAL, ((3 * A, 0.0, 0.0), (0.0, 3 * A, 0.0), (0.0, 0.0, C)))
    with pytest.raises(ValueError, match="is not hexagonal with this supercell"):
        SUPERCELL.to_sites(np.array(SUPERCELL.matrix) * [1, 1, 1.2])


def test_no_jump_of_a_name_says_which_there_are():
    with pytest.raises(ValueError, match=r"no path 'up'; there are in_plane, to_plane"):
        HEXAGONAL.jump("up")


@pytest.mark.parametrize(
    ("paths", "vacant", "wanted"),
    [
        ([[(1, 0, 0, 0), (2, 0, 1, 0)]], None, ("in_plane", EDGE)),
        ([[(1, 0, 0, 0), (3, 1, 1, 0)]], None, ("to_plane", (0, A / 3**0.5, C / 2))),
        ([[(0, 1, 0, 0), (0, 0, 0, 0)]], (0, 0, 0, 0), ("vacancy", (A, 0, 0))),
        ([[(1, 0, 0, 0), (0, 1, 1, 0)], [(0, 1, 1, 0), (3, 1, 1, 0)]], None, "concerted"),
    ],
)
def test_jumps_are_found_in_trajectories_of_a_turned_cell(paths, vacant, wanted):
    """With noise, drift and a turn: class, defect and length."""
    lattice = [s for s in SUPERCELL.sites(["1a"]) if s != vacant]
    first = lattice if vacant else [*lattice, (1, 0, 0, 0)]
    last = list(first)
    for start, end in paths:
        last[first.index(start)] = end
    host = place(*SUPERCELL.sites(["2d"]))
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    is_mobile = np.arange(len(first) + len(host)) < len(first)
    cell = 1.02 * np.array(SUPERCELL.matrix) @ turn

    def frame(sites, n):
        position = 1.02 * np.concatenate([place(*sites), host]) + 0.03 * n
        return jnp.asarray((position + 0.05 * rng.normal(size=position.shape)) @ turn)

    state = initialize(SETTINGS, SUPERCELL, cell, frame(first, 0), is_mobile)
    history = DefectHistory(SUPERCELL, HEXAGONAL.sites(np.asarray(state.site)))
    see = jax.jit(observe, static_argnums=0)
    for n in range(1, 9):
        state = see(SETTINGS, state, frame(first if n < 4 else last, n), n)
    log = jax.device_get(state.changes)
    sites = [tuple(s) for s in HEXAGONAL.sites(log.site[: log.count]).tolist()]
    history.change(5, zip(log.cation[: log.count].tolist(), sites, strict=True))
    history.finish(8)
    assert int(state.anion_displaced_frames) == 0
    (event,) = history.events
    name, jump = (wanted, None) if isinstance(wanted, str) else wanted
    assert HEXAGONAL.classes[event.kind] == name
    if jump is not None:
        length = np.linalg.norm(np.subtract(event.end, event.start))
        assert length == pytest.approx(np.linalg.norm(jump))
    assert [d.sign for d in history.defects] == [VACANCY if vacant else INTERSTITIAL]


@pytest.fixture
def analysed(tmp_path, monkeypatch):
    """Series of silver going round 1b, 2c and 2c: three hops in 60 frames of AgI2."""
    monkeypatch.setitem(networks.NETWORKS, "hexagonal", HEXAGONAL)
    lattice, host = SUPERCELL.sites(["1a"]), SUPERCELL.sites(["2d"])
    rng, frames = np.random.default_rng(2), []
    for n in range(60):
        way = [(1, 0, 0, 0), (2, 0, 1, 0), (3, 0, 1, 0), (1, 0, 1, 0)]
        position = place(*lattice, way[n // 15], *host)
        symbols = ["Ag"] * (len(lattice) + 1) + ["I"] * len(host)
        position += 0.05 * rng.normal(size=position.shape)
        frames.append(ase.Atoms(symbols, position, cell=SUPERCELL.matrix, pbc=True))
    ase.io.write(tmp_path / "all.traj", frames)
    opened = [open_trajectory(tmp_path / "all.traj", frame_ps=0.02)]
    asked = {"temperature_kelvin": [500.0], "network": "hexagonal", "supercell": None}
    asked |= {"mobile": "Ag", "dwell_frames": 2, "core_radius_angstrom": 0.6}
    Analysis.of(opened, asked | {"keep_frames": 0}).write_series(tmp_path)
    return load_series(tmp_path / "series.h5")


def test_a_line_in_the_table_of_networks_is_enough_for_a_series(analysed):
    """One interstitial, though there are more host atoms than mobile ones."""
    np.testing.assert_allclose(analysed.supercell.matrix, SUPERCELL.matrix)
    assert analysed.sign == INTERSTITIAL
    assert analysed.excess == 1
    assert (analysed.mobile, analysed.formula) == ("Ag", "AgI2")
    names = [HEXAGONAL.classes[kind] for kind in analysed.events.kind]
    assert names == ["in_plane", "to_plane", "to_plane"]
    np.testing.assert_allclose(analysed.lattice_constant, A)
    length = analysed.events.squared_jump**0.5 * analysed.event_unit
    jumps = {jump.name: jump.length for jump in HEXAGONAL.jumps}
    np.testing.assert_allclose(length, [jumps[name] for name in names])


def test_its_report_names_no_other_crystal(analysed):
    document = as_document(analysed, summarize(analysed))
    text = repr(document)
    for word in ("hexagonal", "Ag hops in AgI2", "in plane"):
        assert word in text
    for word in (
        "LiF",
        "lithium",
        "Lithium",
        "Li ",
        "rock",
        "Published",
        "anion",
        "collinear",
    ):
        assert word not in text
