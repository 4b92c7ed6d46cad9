"""Quantum ESPRESSO without Quantum ESPRESSO: inputs, and outputs that it once wrote."""

import re
import shutil
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms
from ase.io.espresso import read_fortran_namelist

from jaxdiff.dft import CutOff, Failed, code
from jaxdiff.dft.contract import checked
from jaxdiff.io.labelfile import DftSection

DATA = Path(__file__).parents[1] / "data/espresso"
ESPRESSO = code("espresso")

TEMPLATE = """&CONTROL
  calculation = 'scf', prefix = 'mine', tprnfor = .false., pseudo_dir = '/elsewhere'
/
&SYSTEM
  ibrav = 2, celldm(1) = 7.6, nat = 2, ntyp = 2
  ecutwfc = 30, ecutrho = 240, input_dft = 'pbe', degauss = 0.01
  Occupations = 'smearing'   ! as in the study
/
&ELECTRONS
  conv_thr = 1d-9
/
ATOMIC_SPECIES
Li 6.9 any.upf
"""


@pytest.fixture
def section(tmp_path):
    """A section of a run file with a template and two pseudopotentials."""
    (tmp_path / "pw.in").write_text(TEMPLATE)
    for name in ("Li.upf", "F.upf"):
        (tmp_path / name).write_text(f"pseudopotential {name}")

    def make(template=TEMPLATE, **changes):
        (tmp_path / "pw.in").write_text(template)
        given = {
            "template": tmp_path / "pw.in",
            "pseudopotential_folder": tmp_path,
            "pseudopotentials": {"Li": "Li.upf", "F": "F.upf"},
        }
        return DftSection(**(given | changes))

    return make


@pytest.fixture
def written(section, tmp_path):
    """The input of a frame as a text."""

    def write(atoms, **changes):
        folder = tmp_path / "frame"
        folder.mkdir(exist_ok=True)
        ESPRESSO.write(folder, atoms, ESPRESSO.settings(section(**changes)).identity)
        return (folder / "pw.in").read_text()

    return write


def crystal(repeat=1, charge=None):
    atoms = ase.build.bulk("LiF", "rocksalt", a=4.1, cubic=True).repeat(repeat)
    atoms.rattle(0.1, seed=3)
    if charge is not None:
        atoms.info["charge"] = charge
    return atoms


def test_an_input_has_the_frame_and_all_of_the_template(written, tmp_path):
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0]))
    text = written(atoms)
    found = ase.io.read(tmp_path / "frame/pw.in", format="espresso-in")
    np.testing.assert_allclose(found.positions, atoms.positions, atol=1e-9)
    np.testing.assert_allclose(found.cell.array, atoms.cell.array, atol=1e-9)
    assert found.get_chemical_symbols() == atoms.get_chemical_symbols()
    assert not found.constraints  # pw.x would say that there is no force
    namelists, _ = read_fortran_namelist(text.splitlines())
    assert namelists["system"] == {
        "ibrav": 0, "nat": 8, "ntyp": 2, "ecutwfc": 30, "ecutrho": 240,
        "input_dft": "pbe", "degauss": 0.01, "occupations": "smearing",
    }  # fmt: skip
    control = namelists["control"]
    assert control["tprnfor"] is True
    assert control["tstress"] is True
    assert control["pseudo_dir"] == "../../pseudo"
    assert "prefix" not in control
    assert namelists["electrons"]["conv_thr"] == 1e-9
    assert "K_POINTS gamma" in text
    assert re.search(r"^Li 6.94 Li.upf$", text, re.M)
    assert re.search(r"^F 18.998\d* F.upf$", text, re.M)


def test_a_key_that_ase_does_not_know_is_kept(written):
    template = TEMPLATE.replace("degauss = 0.01", "a_key_of_tomorrow = 3")
    assert re.search(r"a_key_of_tomorrow\s*=\s*3", written(crystal(), template=template))


def test_k_points_are_as_dense_in_any_cell(written):
    """2 pi / 4.1 Å times 2.5 Å is 3.8, and half of it 1.9; from 1 on Gamma alone."""
    assert "K_POINTS automatic\n4 4 4  0 0 0" in written(
        crystal(), kpoint_density_angstrom=2.5
    )
    double = crystal((1, 1, 2))
    assert "4 4 2  0 0 0" in written(double, kpoint_density_angstrom=2.5)
    assert "K_POINTS gamma" in written(crystal(), kpoint_density_angstrom=0.6)


def test_spin_is_given_by_element(written):
    template = TEMPLATE.replace("degauss = 0.01", "nspin = 2")
    text = written(crystal(), template=template, starting_magnetization={"Li": 0.5})
    first = re.search(r"starting_magnetization\(1\)\s*=\s*0.5", text)
    second = re.search(r"starting_magnetization\(2\)\s*=\s*0.0", text)
    assert first
    assert second
    assert len(re.findall(r"^Li ", text, re.M)) == 1 + 4  # species, atoms


def test_a_charged_frame_takes_a_charged_template(written):
    template = TEMPLATE.replace("degauss = 0.01", "tot_charge = 1")
    text = written(crystal(charge=1), template=template)
    assert re.search(r"tot_charge\s*=\s*1", text)


@pytest.mark.parametrize(
    ("atoms", "problem"),
    [
        (
            crystal(charge=1),
            "the frame has charge = 1, and tot_charge of the template is 0",
        ),
        (ase.Atoms("LiF", pbc=(1, 1, 0), cell=[4, 4, 4]), "pbc is [True, True, False]"),
        (ase.Atoms("Na", pbc=True, cell=[4, 4, 4]), "dft.pseudopotentials has none of Na"),
    ],
)
def test_frames_that_are_not_meant(written, atoms, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        written(atoms)


def swapped(old, new):
    return {"template": TEMPLATE.replace(old, new)}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (swapped("ecutwfc = 30,", ""), "has no ecutwfc in &SYSTEM"),
        (swapped("'scf'", "'relax'"), "has calculation = 'relax'"),
        (swapped("degauss", "hubbard_u(1)"), "has hubbard_u(1), which counts elements"),
        (swapped("degauss = 0.01", "noncolin = .true."), "has noncolin, which"),
        (swapped("degauss = 0.01", "nspin = 2"), "would stay without spin"),
        (swapped("ATOMIC_SPECIES", "HUBBARD {atomic}"), "has the card HUBBARD"),
        (
            swapped("ATOMIC_SPECIES", "K_POINTS automatic\n2 2 2 0 0 0"),
            "a grid belongs to a cell; give dft.kpoint_density_angstrom",
        ),
        (swapped("&SYSTEM", "nothing '"), "is no input of pw.x|has no ecutwfc"),
        ({"starting_magnetization": {"Li": 1}}, "says nothing without nspin = 2"),
        ({"pseudopotentials": {"Li": "no.upf"}}, "no.upf does not exist; give the name"),
        ({"template": ""}, "has no ecutwfc"),
    ],
)
def test_settings_that_are_not_meant(section, changes, problem):
    with pytest.raises(ValueError, match=problem.replace("(", r"\(").replace(")", r"\)")):
        ESPRESSO.settings(section(**changes))


def test_a_template_that_is_missing(section, tmp_path):
    given = section().model_copy(update={"template": tmp_path / "no.in"})
    with pytest.raises(ValueError, match="no.in does not exist; give an input of pw.x"):
        ESPRESSO.settings(given)


def test_settings_are_told_apart(section, tmp_path):
    """What changes a label changes the identity, and what does not does not."""
    before = ESPRESSO.settings(section()).identity
    assert ESPRESSO.settings(section(command="mpirun -np 2 pw.x")).identity == before
    comment = TEMPLATE.replace("'mine'", "'yours'")
    assert ESPRESSO.settings(section(template=comment)).identity == before
    others = (
        section(kpoint_density_angstrom=3),
        section(template=TEMPLATE.replace("30", "40")),
    )
    for other in others:
        assert ESPRESSO.settings(other).identity != before
    (tmp_path / "Li.upf").write_text("another")
    assert ESPRESSO.settings(section()).identity != before


def folder_of(name, tmp_path, text=None):
    """A folder as pw.x leaves it."""
    shutil.copy(DATA / f"{name}.in", tmp_path / "pw.in")
    text = (DATA / f"{name}.out").read_text() if text is None else text
    (tmp_path / "pw.out").write_text(text)
    return tmp_path


def test_a_converged_output(tmp_path):
    """The numbers as they stand in the file, in our units."""
    label = ESPRESSO.read(folder_of("converged", tmp_path))
    text = (DATA / "converged.out").read_text()
    energy = float(re.search(r"!\s+total energy\s+=\s+(\S+) Ry", text)[1])
    assert label.energy == pytest.approx(energy * units.Ry, rel=1e-7)
    forces = re.findall(r"\d +force = +(\S+) +(\S+) +(\S+)", text)
    expected = np.array(forces, float)[:2] * units.Ry / units.Bohr
    np.testing.assert_allclose(label.forces, expected, rtol=1e-7)
    assert np.abs(label.forces).max() > 0.1
    pressure = float(re.search(r"P=\s*(\S+)", text)[1])
    found = -np.trace(label.stress) / 3 / units.GPa * 10  # kbar
    assert found == pytest.approx(pressure, abs=0.01)
    np.testing.assert_allclose(label.stress, label.stress.T)
    assert label.facts["electrons"] == 10
    assert label.facts["kpoints"] == 8
    assert label.facts["version"].startswith("pw.x 6.7")
    assert 0 < label.facts["scf_accuracy_ev"] < 1e-7
    assert 0 < label.facts["scf_correction_ev_per_angstrom"] < 0.02
    assert "magnetization_bohr_magneton" not in label.facts
    atoms = ase.io.read(DATA / "converged.in", format="espresso-in")
    assert checked(label, atoms) is label


def test_an_output_without_stress(tmp_path):
    label = ESPRESSO.read(folder_of("no_stress", tmp_path))
    assert label.stress is None
    assert len(label.forces) == 2


def test_an_output_with_spin(tmp_path):
    label = ESPRESSO.read(folder_of("spin", tmp_path))
    assert label.facts["magnetization_bohr_magneton"] == 0.25
    assert label.facts["electrons"] == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("not_converged", "the SCF has not converged in 3 iterations"),
        ("few_bands", "pw.x: Error in routine setup (1): too few bands"),
    ],
)
def test_an_output_that_says_why_there_is_no_label(name, reason, tmp_path):
    with pytest.raises(Failed, match=re.escape(reason)):
        ESPRESSO.read(folder_of(name, tmp_path))


def test_no_part_of_an_output_is_a_label(tmp_path):
    """Cut off anywhere before its last words, it is begun again."""
    text = (DATA / "converged.out").read_text()
    end = text.index("JOB DONE.")
    for cut in [0, 1, *range(100, end, 700), text.index("Forces acting"), end]:
        with pytest.raises(CutOff):
            ESPRESSO.read(folder_of("converged", tmp_path, text[:cut]))


def test_forces_that_still_change(tmp_path):
    text = (DATA / "converged.out").read_text()
    loose = re.sub(r"(SCF correction =).*", r"\1     0.001", text)
    with pytest.raises(Failed, match="would still change by 0.0257 eV/Å"):
        ESPRESSO.read(folder_of("converged", tmp_path, loose))


def test_an_output_of_other_atoms(tmp_path):
    folder = folder_of("converged", tmp_path)
    shutil.copy(DATA / "spin.in", folder / "pw.in")
    with pytest.raises(Failed, match="other atoms than the input"):
        ESPRESSO.read(folder)


def test_labels_that_cannot_be_of_a_frame(tmp_path):
    label = ESPRESSO.read(folder_of("converged", tmp_path))
    atoms = ase.io.read(DATA / "converged.in", format="espresso-in")
    forces = label.forces + [0.02, 0, 0]
    moved = type(label)(label.energy, forces, label.stress, label.facts)
    with pytest.raises(Failed, match="forces add up to 0.02 eV/Å per atom"):
        checked(moved, atoms)
    unknown = type(label)(float("nan"), label.forces, label.stress, label.facts)
    with pytest.raises(Failed, match="not finite"):
        checked(unknown, atoms)
    with pytest.raises(Failed, match="2 forces for 4 atoms"):
        checked(label, atoms * (2, 1, 1))


def test_another_program_is_not_known():
    with pytest.raises(ValueError, match="dft.code = 'vasp' is not known; give espresso"):
        code("vasp")
