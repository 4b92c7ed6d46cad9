"""Our evaluator inside LAMMPS: energy, forces, pressure, and a run of it."""

import importlib.util

import jax
import numpy as np
import pytest
from ionic import load_lammps

from jaxdiff import lammps, units
from jaxdiff.calculator import MaceCalculator
from jaxdiff.checkpoints import load_default
from jaxdiff.lammps import drive
from jaxdiff.lattice.lithium_fluoride import rock_salt
from jaxdiff.system import to_ase

if importlib.util.find_spec("lammps") is None:
    pytest.skip("LAMMPS's Python module is not installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def as_users_have_it():
    """JAX's own rules of promotion: models are not written for the strict ones."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def crystal():
    """65 atoms, rattled."""
    atoms = to_ase(rock_salt(2, interstitials=1, seed=1))
    atoms.rattle(0.05, seed=2)
    atoms.positions += 0.3  # some beyond the cell
    return atoms


@pytest.fixture
def started(crystal):
    """LAMMPS with these atoms, without forces."""
    lmp = load_lammps().lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    edge = float(crystal.cell.array[0, 0])
    lmp.commands_string(f"""
        units metal
        atom_style atomic
        atom_modify map array
        region box block 0 {edge!r} 0 {edge!r} 0 {edge!r} units box
        create_box 2 box
        mass 1 {mass_of(crystal, 3)}
        mass 2 {mass_of(crystal, 9)}
        pair_style zero 5.0
        timestep 0.001
        thermo_style custom step pe ke etotal press
    """)
    kind = np.where(crystal.numbers == 3, 1, 2)
    lmp.create_atoms(
        len(kind),
        np.arange(1, len(kind) + 1).tolist(),
        kind.tolist(),
        crystal.get_positions(wrap=True).ravel().tolist(),
    )
    lmp.command("pair_coeff * *")
    yield lmp
    lmp.close()


def mass_of(crystal, number):
    return float(crystal.get_masses()[crystal.numbers == number][0])


D3 = {"dispersion": True, "dispersion_xc": "r2scan", "dispersion_cutoff": 15.0}


@pytest.mark.slow
@pytest.mark.parametrize("added", [{}, D3], ids=["alone", "dispersion"])
def test_energy_forces_and_pressure_are_the_calculators(crystal, started, added):
    exact = {"precision": "float64", "tolerance": None}
    drive(started, "lif-compact", ["Li", "F"], **exact, **added)
    started.command("run 0 post no")
    crystal.calc = MaceCalculator("lif-compact", precision="float64", **added)
    order = np.argsort(started.numpy.extract_atom("id")[:65])
    force = started.numpy.extract_atom("f")[order]
    expected = crystal.get_forces()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(force, expected, rtol=0, atol=1e-8)
    energy = started.get_thermo("pe")
    assert energy == pytest.approx(crystal.get_potential_energy(), abs=1e-6)
    bar = -crystal.get_stress()[:3].mean() / units.GIGAPASCAL * 1e4
    assert started.get_thermo("press") == pytest.approx(bar, rel=1e-5)
    names = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")  # Voigt's order, as ASE has it
    each = -crystal.get_stress() / units.GIGAPASCAL * 1e4
    found = [started.get_thermo(name) for name in names]
    np.testing.assert_allclose(found, each, rtol=1e-5, atol=0.1)


@pytest.mark.slow
def test_a_run_conserves_energy_and_crosses_the_cell(crystal, started):
    drive(started, "lif-compact", ["Li", "F"])
    started.command("velocity all create 1500 7 mom yes")
    started.command("fix motion all nve")
    started.command("run 0 post no")
    begin = started.get_thermo("etotal"), started.get_thermo("pe")
    started.command("run 100 post no")
    assert abs(started.get_thermo("pe") - begin[1]) > 1
    assert started.get_thermo("etotal") == pytest.approx(begin[0], abs=0.02)


@pytest.mark.slow
def test_dispersion_follows_a_cell_that_shrinks(crystal, started):
    """It then has more images in reach than it was made for."""
    drive(started, "lif-compact", ["Li", "F"], precision="float64", **D3)
    started.command("run 0 post no")
    edge = float(0.9 * crystal.cell.array[0, 0])
    crystal.set_cell(0.9 * crystal.cell.array, scale_atoms=True)
    box = " ".join(f"{axis} final 0 {edge!r}" for axis in "xyz")
    started.command(f"change_box all {box} remap")
    started.command("run 0 post no")
    crystal.calc = MaceCalculator("lif-compact", precision="float64", **D3)
    expected = crystal.get_potential_energy()
    assert started.get_thermo("pe") == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_fault_stops_the_run(started, monkeypatch):
    drive(started, "lif-compact", ["Li", "F"])
    started.command("fix motion all nve")
    started.command("run 1 post no")

    def fault(*given):
        raise MemoryError("a fault")

    monkeypatch.setattr(lammps._Driver, "allocated", fault)
    lost = started.extract_box()[1][0] * 0.6  # a compressed cell: new lists are needed
    started.command(
        f"change_box all x final 0 {lost} y final 0 {lost} z final 0 {lost} remap"
    )
    started.command("run 100 post no")
    assert np.isnan(started.numpy.extract_atom("f")[:65]).all()
    assert started.extract_global("ntimestep") < 60


def test_what_lammps_must_be(started):
    with pytest.raises(ValueError, match=r"2 atom types and 1 elements are given \(Li\)"):
        drive(started, load_default(), ["Li"])
    with pytest.raises(ValueError, match="'X1' is no chemical element"):
        drive(started, load_default(), ["Li", "X1"])
    with pytest.raises(ValueError, match="use damping='bj'"):
        drive(started, load_default(), ["Li", "F"], dispersion=True, damping="zero")
    with jax.enable_x64(False), pytest.raises(ValueError, match="64 bits"):
        drive(started, load_default(), ["Li", "F"])
    started.commands_string("group gone id 5\ndelete_atoms group gone compress no")
    with pytest.raises(ValueError, match="the ids of LAMMPS's 64 atoms are not 1 to 64"):
        drive(started, load_default(), ["Li", "F"])
    other = load_lammps().lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    with pytest.raises(ValueError, match="units 'lj'; use 'units metal'"):
        drive(other, load_default(), ["Li", "F"])
    other.close()
