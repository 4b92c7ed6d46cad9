"""Ensembles of crystals whose sites are not known while they run."""

import importlib
import json
from pathlib import Path

import ase
import ase.io
import h5py
import ions_family
import jax.numpy as jnp
import numpy as np
import pytest
import typer
from ase.spacegroup import crystal
from typer.testing import CliRunner

from jaxdiff import checkpoints, units
from jaxdiff.analysis import load_series
from jaxdiff.checkpoints import families
from jaxdiff.io import runfile
from jaxdiff.runs import build, campaign, campaign_merge, reports, simulation, start

EDGE, REPEAT, BARRIER_EV = 3.5, 3, 0.06
RUN = """
[model]
name_or_path = "waves"
[system]
structure_files = ["{file}"]
repeat = {repeat}
mobile = "Na"
vacancies = {vacancies}
[ensemble]
temperatures_kelvin = [600, 900]
replicas_per_temperature = 2
timestep_fs = 2
seed = 5
[equilibration]
duration_ps = 0.2
[production]
duration_ps = 6
[hops]
network = "{network}"
core_radius_angstrom = 0.8
[output]
directory = "{directory}"
"""


def cell_of_two():
    """Na in the middle of a cube of Br."""
    place = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return ase.Atoms("BrNa", scaled_positions=place, cell=EDGE * np.eye(3), pbc=True)


def waves(section, system):
    """Br on springs; Na, each for itself, in waves between them."""
    place, is_na = jnp.asarray(system.position), jnp.asarray(system.atomic_number == 11)
    turn = 2 * jnp.pi / EDGE

    def energy_and_force(params, position, cell, neighbors):
        away = jnp.where(is_na[:, None], 0.0, position - place)
        phase = turn * jnp.where(is_na[:, None], position - EDGE / 2, 0.0)
        energy = jnp.sum(params * away**2) + BARRIER_EV / 2 * jnp.sum(1 - jnp.cos(phase))
        force = -2 * params * away - BARRIER_EV / 2 * turn * jnp.sin(phase)
        return energy, force, jnp.zeros((3, 3))

    return build.Potential(jnp.asarray(2.0), energy_and_force, 2.0, "0" * 64)


@pytest.fixture
def run(tmp_path):
    """The run file of a crystal of 27 cells."""
    file = tmp_path / "nabr.extxyz"
    cell_of_two().write(file)

    def run(directory="run", network="none", vacancies=1, overrides=()):
        given = {"file": file, "repeat": REPEAT, "vacancies": vacancies}
        given |= {"network": network, "directory": tmp_path / directory}
        text = tmp_path / f"{directory}.toml"
        text.write_text(RUN.format(**given))
        return runfile.load(text, overrides)

    return run


def simulated(run, load=waves):
    directory = Path(run.output.directory)
    simulation.simulate(run, directory, lambda *_: None, lambda _: None, load)
    return directory


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run with the sites of a file, and its report."""
    folder = tmp_path_factory.mktemp("any")
    cell_of_two().write(folder / "nabr.extxyz")
    given = {"file": folder / "nabr.extxyz", "repeat": REPEAT, "vacancies": 1}
    given |= {"network": folder / "nabr.extxyz", "directory": folder / "run"}
    (folder / "run.toml").write_text(RUN.format(**given))
    directory = simulated(runfile.load(folder / "run.toml"))
    reports.write(directory)
    return directory


def record(directory):
    return json.loads((directory / "report.json").read_text())


def test_the_report_has_what_analyze_would_say(done, tmp_path):
    """Export every replica; the same trajectories by the other command."""
    app = typer.Typer()
    for name in ("export", "analyze"):
        app.command(name)(getattr(importlib.import_module(f"jaxdiff.cli.{name}"), name))
    out = tmp_path / "r{replica}.extxyz"
    result = CliRunner().invoke(app, ["export", str(done), str(out)])
    assert result.exit_code == 0, result.output
    files = [str(tmp_path / f"r{r}.extxyz") for r in range(4)]
    kelvin = [t for k in (600, 600, 900, 900) for t in ("--temperature-kelvin", str(k))]
    more = ["--mobile", "Na", "--core-radius-angstrom", "0.8", "--out", str(tmp_path / "a")]
    more += ["--network", str(done.parent / "nabr.extxyz"), "--dwell-frames", "1"]
    result = CliRunner().invoke(app, ["analyze", *files, *kelvin, *more])
    assert result.exit_code == 0, result.output
    ours, theirs = record(done)["study"], record(tmp_path / "a")["study"]
    assert ours["formula"] == theirs["formula"]
    for one, other in zip(ours["rows"], theirs["rows"], strict=True):
        for name in ("tracer", "charge"):
            seen = one["motion"][name]["mean"]["value"]
            assert seen == pytest.approx(other["motion"][name]["mean"]["value"], rel=1e-3)
            assert seen > 1e-5
    hops = [[row["n_hops"] for row in s["sites"]["rows"]] for s in (ours, theirs)]
    assert hops[0] == hops[1]
    assert min(hops[0]) > 30


def test_the_barrier_is_that_of_the_waves(done):
    """D goes as exp(-E/kT), but for the anharmonic wells: 0.06 eV by what was put in."""
    study = record(done)["study"]
    low, high = study["tracer_line"]["activation_energy"]["interval"]
    assert low < BARRIER_EV < high
    assert high - low < 0.3
    names = [c["name"] for c in study["checks"]]
    assert {"temperature 600 K", "conserved energy", "replicas", "D* is known"} <= {*names}
    failed = [c["name"] for c in study["checks"] if c["passed"] is False]
    assert "run complete" not in failed
    text = (done / "report.md").read_text()
    assert "Na in " in text
    assert not any(word in text for word in ("LiF", "lithium", "rock"))


def test_what_it_is_is_in_the_series(done):
    with h5py.File(done / "series.h5") as file:
        number = file["positions/atomic_number"][...]
        time = file["positions/time_ps"][...]
        assert "network" not in file.attrs
    assert np.bincount(number)[[11, 35]].tolist() == [26, 27]
    np.testing.assert_allclose(np.diff(time), 0.06, atol=1e-9)  # one dwell
    with pytest.raises(ValueError, match="displacements alone: jaxdiff report"):
        load_series(done)


def test_vacancies_are_of_the_replica_alone(run):
    whole = start.systems(run(vacancies=2))
    part = start.systems(run("p", vacancies=2, overrides=["ensemble.replica_range=[2,3]"]))
    places = [{tuple(p) for p in s.position.round(6).tolist()} for s in whole]
    assert len({frozenset(p) for p in places}) == len(whole) == 4
    np.testing.assert_array_equal(whole[2].position, part[2].position)
    full = start.systems(run("f", vacancies=0))[0]
    every = {tuple(p) for p in full.position.round(6).tolist()}
    for system, place in zip(whole, places, strict=True):
        assert place < every
        number = dict(zip(map(tuple, full.position.round(6).tolist()),
                          full.atomic_number.tolist(), strict=True))  # fmt: skip
        found = [number[tuple(p)] for p in system.position.round(6).tolist()]
        assert found == system.atomic_number.tolist()
        np.testing.assert_allclose(system.mass[system.atomic_number == 11], 22.98976928)


@pytest.mark.slow
def test_units_are_the_run(run, tmp_path):
    """Split and merged: the same positions to the last bit."""
    short = ["production.duration_ps=0.4", "equilibration.duration_ps=0.1"]
    whole = simulated(run("whole", overrides=short))
    planned = campaign.plan(run("parts", overrides=short), tmp_path / "c", n_units=2)
    for unit in planned.units:
        path = runfile.load(unit.run_file, [f"output.directory={unit.directory}"])
        simulated(path)
    merged = campaign_merge.merge(planned)
    with h5py.File(merged) as one, h5py.File(whole / "series.h5") as other:
        for name in ("positions/position", "positions/atomic_number", "cell_angstrom"):
            np.testing.assert_array_equal(one[name], other[name])


def test_it_goes_on_longer(run, monkeypatch):
    """From a complete run, whose lattice constants are not numbers."""
    short = ["production.duration_ps=0.4", "equilibration.duration_ps=0.1"]
    simulated(run(overrides=short))
    longer = ["production.duration_ps=1.6", "equilibration.duration_ps=0.1"]
    directory = simulated(run(overrides=longer))
    with h5py.File(directory / "series.h5") as file:
        assert len(file["positions/time_ps"]) == 26
    assert record(reports.write(directory).parent)["study"]["mobile"] == "Na"


def test_a_run_too_short_says_so(run):
    directory = simulated(run(overrides=["production.duration_ps=0.4"]))
    with pytest.raises(ValueError, match=r"20 at least; run longer \(production.duration"):
        reports.write(directory)


@pytest.mark.slow
def test_a_crystal_in_its_skew_cell_conserves_energy(tmp_path, monkeypatch):
    """Li2O's primitive cell, repeated: pairs with several images, without a thermostat."""
    weights = {
        "pair": {
            "repulsion": np.array([[30.0, 290.0], [290.0, 900.0]]),
            "length": np.full((2, 2), 0.33),
        },
        "charge": np.array([1.0, -2.0]),
    }
    model = ions_family.Ions(weights, np.zeros((1, 2)), (3, 8), 4.5)
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, ions_family.FAMILY))
    checkpoints.save_native(tmp_path / "ions.safetensors", model)
    places = [(0.25, 0.25, 0.25), (0, 0, 0)]
    li2o = crystal(["Li", "O"], places, spacegroup=225, cellpar=[4.6] * 3 + [90] * 3,
                   primitive_cell=True)  # fmt: skip
    li2o.write(tmp_path / "li2o.extxyz")
    table = {
        "model": {"name_or_path": str(tmp_path / "ions.safetensors")},
        "system": {"structure_files": [str(tmp_path / "li2o.extxyz")], "repeat": 2},
        "ensemble": {"temperatures_kelvin": [300.0], "replicas_per_temperature": 1},
        "equilibration": {"duration_ps": 0.0},
        "production": {"duration_ps": 0.2, "thermostat": "nve"},
        "output": {"directory": str(tmp_path / "run")},
    }
    table["model"]["precision"] = "float64"
    table["ensemble"] |= {"timestep_fs": 0.5, "seed": 1}
    directory = simulated(runfile.parse(table), load=None)
    with h5py.File(directory / "series.h5") as file:
        energy = file["thermo/conserved_energy_ev"][0]
        kelvin = file["thermo/temperature_kelvin"][0]
        cell = file["cell_angstrom"][0]
    assert abs(np.linalg.det(cell)) == pytest.approx(8 * 4.6**3 / 4)
    assert np.ptp(energy) < 2e-3 * np.ptp(kelvin) * 1.5 * 24 * units.KB


def refused(run, words, *overrides, **given):
    with pytest.raises(ValueError, match=words):
        start.systems(run(overrides=overrides, **given))


def test_refusals(run, tmp_path):
    refused(run, "is no element", "system.mobile=Qq")
    refused(run, "but the atoms of the structure are Na, Br", "system.mobile=K")
    refused(run, "interstitials needs sites", "system.interstitials=1")
    refused(run, "crossings_per_chunk needs sites", "hops.crossings_per_chunk=2")
    refused(run, "system.vacancies = 99, but the cell has 27", vacancies=99)
    refused(
        run,
        "hops.network .*nowhere.cif is no file: give none, maxima",
        network="nowhere.cif",
    )
    refused(run, "system.repeat .* need", "system.repeat=[90,90,90]",
            "ensemble.replicas_per_temperature=20000")  # fmt: skip
    refused(run, "give system.supercell, for LiF", "system.structure_files=[]")
    refused(run, "does not exist", "system.structure_files=['none.cif']")
    refused(run, "repeat is for crystals without", "system.supercell=3")
    refused(run, "is for crystals without system.supercell", "system.supercell=3",
            "system.repeat=1", network="maxima")  # fmt: skip
    other = cell_of_two()
    other.set_cell(1.5 * other.cell, scale_atoms=True)
    other.write(tmp_path / "other.extxyz")
    refused(run, "hops.network .*other.extxyz repeated to the cell of the trajectory has 8",
            network=tmp_path / "other.extxyz")  # fmt: skip


def test_images_of_an_atom_do_not_start_alike(run, tmp_path):
    """With the velocities of a file they would move alike for ever."""
    refused(
        run, "images of an atom that system.repeat makes", "system.keep_velocities=true"
    )


def test_files_of_rock_salt_have_their_own_defects(run):
    given = ["system.supercell=2", "system.repeat=1", "system.mobile=Na"]
    refused(run, "vacancies = 1, but the structures of system.structure_files have", *given)


def test_the_charge_of_the_ion_is_known_before_anything_runs(run, done, tmp_path):
    atoms = cell_of_two()
    atoms.symbols[1] = "Gd"
    atoms.write(tmp_path / "gdbr.extxyz")
    given = [f"system.structure_files=['{tmp_path / 'gdbr.extxyz'}']", "system.mobile=Gd"]
    refused(run, "charge of Gd .* not known; give it by system.mobile_charge,", *given)
    assert start.systems(run(overrides=[*given, "system.mobile_charge=3"]))
    refused(run, "system.mobile_charge 0 is no charge of an ion", "system.mobile_charge=0")
    study = record(done)["study"]
    assert (study["charge"], study["charge_from"]) == (1, "the common oxidation state")


def test_the_charge_that_is_given_is_that_of_the_report(run):
    """σ grows with its square."""
    short = ["production.duration_ps=1.6", "equilibration.duration_ps=0.1"]
    directory = simulated(run(overrides=short))
    reports.write(directory)
    before = record(directory)["study"]["rows"][0]["nernst_einstein"]["value"]
    twice = simulated(run("twice", overrides=[*short, "system.mobile_charge=2"]))
    reports.write(twice)
    study = record(twice)["study"]
    assert (study["charge"], study["charge_from"]) == (2, "as given")
    assert study["rows"][0]["nernst_einstein"]["value"] == pytest.approx(4 * before)


def test_positions_filled_in_part_are_no_structure(run, tmp_path):
    half = crystal(["Na", "Br"], [(0.5, 0.5, 0.5), (0, 0, 0)], spacegroup=221,
                   cellpar=[EDGE] * 3 + [90] * 3, occupancies=[0.5, 1.0])  # fmt: skip
    half.write(tmp_path / "half.cif")
    name = f"system.structure_files=['{tmp_path / 'half.cif'}']"
    refused(run, r"holds 0.5 Na, but atoms are whole; give an ordered", name)


@pytest.mark.slow
def test_other_rock_salt_has_hops(run, tmp_path):
    """NaBr by its supercell: followed on the device, as LiF."""
    edge = 5.97
    nabr = crystal(["Na", "Br"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225,
                   cellpar=[edge] * 3 + [90] * 3).repeat(2)  # fmt: skip
    nabr.write(tmp_path / "nabr2.extxyz")
    given = ["system.supercell=2", f"system.lattice_constant_angstrom={edge}"]
    given += [f"system.structure_files=['{tmp_path / 'nabr2.extxyz'}']", "system.repeat=1"]
    given += ["production.duration_ps=0.2", "system.vacancies=0"]

    def springs(section, system):
        site, mass = jnp.asarray(system.position), jnp.asarray(system.mass)[:, None]

        def energy_and_force(params, position, cell, neighbors):
            away = position - site
            force = -params * mass * away
            return params * jnp.sum(mass * away**2) / 2, force, jnp.zeros((3, 3))

        return build.Potential(jnp.asarray(0.3), energy_and_force, 2.0, "0" * 64)

    directory = simulated(run("rs", overrides=given), load=springs)
    series = load_series(directory)
    assert (series.mobile, series.formula) == ("Na", "NaBr")
    assert series.network.title == "rock salt"
    assert series.frames["undefined"].sum() == 0
