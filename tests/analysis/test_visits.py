"""Hops between sites on walks whose jumps are known: cages, antifluorite, bcc, maxima."""

import importlib
import itertools
import json
import re

import numpy as np
import pytest
import typer
from ase import Atoms
from ase.spacegroup import crystal
from typer.testing import CliRunner

from jaxdiff.analysis.density import density_maxima, stability
from jaxdiff.analysis.visits import find_hops
from jaxdiff.io.export import write_trajectory
from jaxdiff.io.trajectory import Frames
from jaxdiff.lattice.sites import Sites

EDGE, HALF = 6.0, 0.2  # of a cage, Å and fractions
WAYS = np.concatenate([np.eye(3), -np.eye(3)])
N_CELLS, N_ATOMS, N_FRAMES, FRAME_PS = 3, 40, 300, 0.1


def caged(seed=0, within=0.1, between=0.01, thermal=0.15):
    """Atoms on the six sites of cages; places [frames, atoms, 3], Å, and the jumps.

    Within a cage to one of the four sites beside, 1.70 Å; out of it to the site opposite in
    the next cage, 3.6 Å. Probabilities are of a frame.
    """
    rng = np.random.default_rng(seed)
    cage = rng.integers(N_CELLS, size=(N_ATOMS, 3)).astype(float)
    site = rng.integers(6, size=N_ATOMS)
    place, jumps = np.empty((N_FRAMES, N_ATOMS, 3)), [0, 0]
    for frame in range(N_FRAMES):
        for atom in range(N_ATOMS if frame else 0):
            draw = rng.random()
            if draw < within:
                beside = [s for s in range(6) if s % 3 != site[atom] % 3]
                site[atom] = rng.choice(beside)
                jumps[0] += 1
            elif draw < within + between:
                cage[atom] += WAYS[site[atom]]
                site[atom] = (site[atom] + 3) % 6
                jumps[1] += 1
        place[frame] = EDGE * (cage + 0.5 + HALF * WAYS[site])
    return place + thermal * rng.normal(size=place.shape), jumps


def cage_sites():
    corner = np.array(list(itertools.product(range(N_CELLS), repeat=3)))
    fraction = (corner[:, None] + 0.5 + HALF * WAYS).reshape(-1, 3) / N_CELLS
    n = len(fraction)
    cell = np.eye(3) * EDGE * N_CELLS
    return Sites(fraction, cell, np.zeros(n, int), ("A",), (0.5,), "")


def test_every_jump_of_a_walk_is_found():
    place, jumps = caged()
    sites = cage_sites()
    fraction = place / (EDGE * N_CELLS)
    hops = find_hops(sites, fraction, core_radius=0.77, dwell_frames=1)
    length = np.linalg.norm(sites.difference(hops.start, hops.end), axis=1)
    # a jump is not seen where the atom was at no site for a frame, or went on at once
    assert (length < 2.5).sum() == pytest.approx(jumps[0], rel=0.02)
    assert (length > 3.0).sum() == pytest.approx(jumps[1], rel=0.02)
    assert hops.in_core > 0.98
    assert hops.occupancy.sum() == pytest.approx(N_ATOMS, rel=0.01)
    assert hops.stay.sum() <= N_ATOMS * N_FRAMES


def test_a_touch_is_no_hop():
    """Two frames at the next site and back, with a dwell of three; four frames are one."""
    sites = cage_sites()
    home, other = sites.fraction[0], sites.fraction[1]
    path = np.repeat(home[None], 40, axis=0)
    path[10:12], path[20:24] = other, other
    found = find_hops(sites, path[:, None], core_radius=0.5, dwell_frames=3)
    assert (found.start.tolist(), found.end.tolist()) == ([0, 1], [1, 0])
    assert found.frame.tolist() == [20, 24]
    assert found.returns.tolist() == [False, True]
    assert found.stay.tolist() == [20, 4, 16]
    assert found.ended.tolist() == [True, True, False]


def test_two_atoms_in_one_core_are_counted():
    sites = cage_sites()
    both = np.repeat(sites.fraction[:1], 2, axis=0)[None].repeat(4, axis=0)
    both[2:, 1] = sites.fraction[3]
    found = find_hops(sites, both, core_radius=0.5, dwell_frames=1)
    assert found.doubly == 0.5


def test_maxima_of_the_density_are_the_sites():
    """All 162 sites of the cages, each within 0.15 Å, and stable in halves."""
    place, _ = caged(seed=1, within=0.3, between=0.1)
    cell = np.eye(3) * EDGE * N_CELLS
    found = density_maxima(place / cell[0, 0], cell)
    apart, number = cage_sites().nearest(found.fraction)
    assert len(found.fraction) == 162
    assert len(set(number[:, 0].tolist())) == 162
    assert apart.max() < 0.25
    one, two, share = stability(place / cell[0, 0], cell)
    assert abs(one - 162) < 12
    assert abs(two - 162) < 12
    assert share > 0.9


@pytest.fixture
def invoke(tmp_path):
    app = typer.Typer()
    app.command()(importlib.import_module("jaxdiff.cli.analyze").analyze)

    def invoke(*arguments):
        arguments = [str(a) for a in (*arguments, "--out", tmp_path / "out")]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return json.loads((tmp_path / "out" / "report.json").read_text())["study"]["sites"]

    return invoke


def test_a_report_tells_hops_in_cages_from_those_between(invoke, tmp_path):
    """Half-filled sites from a CIF of one cell, a framework that drifts."""
    place, jumps = caged(seed=2)
    host = EDGE * np.array(list(itertools.product(range(N_CELLS), repeat=3)), float)
    rng = np.random.default_rng(3)
    still = host + 0.1 * rng.normal(size=(N_FRAMES, *host.shape))
    drift = 0.01 * np.arange(N_FRAMES)[:, None, None] + 1.7
    given = Frames(
        np.concatenate([place, still], axis=1) + drift,
        np.repeat(N_CELLS * EDGE * np.eye(3)[None], N_FRAMES, axis=0),
        np.arange(N_FRAMES) * FRAME_PS,
    )
    number = np.array([11] * N_ATOMS + [16] * len(host))
    write_trajectory(tmp_path / "cages.extxyz", [given], atomic_number=number)
    atoms = crystal(
        ["S", "Na"],
        [(0, 0, 0), (0.3, 0.5, 0.5)],
        spacegroup=221,
        cellpar=[6, 6, 6, 90, 90, 90],
        occupancies=[1, 0.5],
    )
    atoms.write(tmp_path / "cage.cif")
    path, network = tmp_path / "cages.extxyz", tmp_path / "cage.cif"
    options = ("--temperature-kelvin", 700, "--mobile", "Na", "--network", network)
    (row,) = invoke(path, *options)["rows"]
    classes = {round(c["length"], 1): c for c in row["classes"]}
    assert classes[1.7]["n"] == pytest.approx(jumps[0], rel=0.03)
    assert classes[3.6]["n"] == pytest.approx(jumps[1], rel=0.05)
    assert not classes[1.7]["far"]
    assert classes[3.6]["far"]
    (kind,) = row["kinds"]
    assert (kind["n_sites"], kind["given"]) == (162, 0.5)
    assert kind["seen"] == pytest.approx(N_ATOMS / 162, rel=0.01)
    rate = sum(jumps) / (N_ATOMS * N_FRAMES * FRAME_PS)
    low, high = kind["residence"]["interval"]
    assert low * 0.97 < 1 / rate < high * 1.03
    square = jumps[0] * (HALF * EDGE) ** 2 * 2 + jumps[1] * ((1 - 2 * HALF) * EDGE) ** 2
    truth = square / (6 * N_ATOMS * N_FRAMES * FRAME_PS) * 1e-4
    assert row["hop_diffusivity"]["value"] == pytest.approx(truth, rel=0.05)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "within a cage" in text
    assert "an empty site is no defect" in text
    assert not re.search(r"\bLi\b|LiF|lithium", text)


def test_the_vacancy_of_an_antifluorite_jumps_eleven_times(invoke, shared, tmp_path):
    """The case whose jumps are known: 11, each of a/2; D* of hops 3.79e-7 cm²/s."""
    path = shared / "cases" / "antifluorite_taken_for_rock_salt" / "li2o.extxyz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    atoms = crystal(
        ["O", "Li"],
        [(0, 0, 0), (0.25, 0.25, 0.25)],
        spacegroup=225,
        cellpar=[4.62, 4.62, 4.62, 90, 90, 90],
    )
    atoms.write(tmp_path / "li2o.cif")
    options = ("--temperature-kelvin", 1000, "--network", tmp_path / "li2o.cif")
    (row,) = invoke(path, *options)["rows"]
    assert row["n_hops"] == 11
    assert [(c["n"], round(c["length"], 2)) for c in row["classes"]] == [(11, 2.31)]
    assert row["hop_diffusivity"]["value"] == pytest.approx(3.79e-7, rel=0.01)
    assert "1 of 216 sites is vacant" in (tmp_path / "out" / "report.md").read_text()


def test_many_empty_sites_are_no_vacancies(shared, invoke, tmp_path):
    """Iodide in bcc: 54 Li on 162 sites of a POSCAR; D by hops is 3.60e-5 cm²/s."""
    path = shared / "cases" / "other_crystal" / "bcc_iodide.extxyz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    faces = [(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    edges = [(0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    place = [(0, 0, 0), (0.5, 0.5, 0.5), *faces, *edges]
    atoms = Atoms("I2Li6", scaled_positions=place, cell=[4.0] * 3, pbc=True)
    atoms.write(tmp_path / "POSCAR")
    options = ("--temperature-kelvin", 500, "--network", tmp_path / "POSCAR")
    (row,) = invoke(path, *options)["rows"]
    assert row["hop_diffusivity"]["value"] == pytest.approx(3.60e-5, rel=0.02)
    low, high = row["correlation"]["interval"]
    assert low < 1 < high
    text = (tmp_path / "out" / "report.md").read_text()
    assert "D of a vacancy is" not in text
    assert "an empty site is no defect" in text
