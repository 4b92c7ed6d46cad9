"""Labels beside the starting model's predictions: signs, units, references, mixtures."""

import dataclasses

import ase.build
import numpy as np
import pytest
from ase import units

from jaxdiff.finetune import agreement, checks, inspection
from jaxdiff.finetune.inspection import Labels
from jaxdiff.io.frame import Frame

E0 = {3: -202.8, 9: -803.8}


def frames_of(n, sizes=(1,), seed=0, file="train.extxyz"):
    """LiF cells of one volume, whose labels vary as those of hot crystals do."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n):
        atoms = ase.build.bulk("LiF", "rocksalt", a=4.08, cubic=True)
        atoms *= (1, 1, sizes[k % len(sizes)])
        forces, stress = rng.normal(0, 1, (len(atoms), 3)), rng.normal(0, 0.01, (3, 3))
        bound = sum(E0[z] for z in atoms.numbers) - 4.7 * len(atoms)
        frames.append(
            Frame(
                atomic_number=atoms.numbers,
                position=atoms.positions + rng.normal(0, 0.1, (len(atoms), 3)),
                cell=atoms.cell.array,
                pbc=atoms.pbc,
                energy=bound + len(atoms) * rng.normal(0, 0.02),
                forces=forces - forces.mean(axis=0),
                stress=stress + stress.T + 0.02 * np.eye(3),
                source=f"{file}, frame {k}",
            )
        )
    return frames


def said(frames, error=0.2, pressure=0.01):
    """What a start says that is off by a fifth, with other isolated atoms and pressure."""
    rng = np.random.default_rng(9)
    return [
        dataclasses.replace(
            f,
            energy=f.energy + 700.0 * f.n_atoms + f.n_atoms * error * rng.normal(0, 0.02),
            forces=f.forces + error * rng.normal(0, 1, f.forces.shape),
            stress=f.stress - pressure * np.eye(3) + error * rng.normal(0, 0.014, (3, 3)),
        )
        for f in frames
    ]


def times(frames, **factors):
    """The frames with labels multiplied; a factor may be a function of the frame."""
    return [
        dataclasses.replace(
            frame,
            **{
                kind: getattr(frame, kind) * (f(frame) if callable(f) else f)
                for kind, f in factors.items()
            },
        )
        for frame in frames
    ]


CHECKS = {
    "forces": agreement.check_forces_agree,
    "stress": agreement.check_stress_agrees,
    "energy": agreement.check_energies_agree,
}


def test_right_labels_pass():
    """Also of a start that is too soft, at another pressure, or of any quality."""
    frames = frames_of(12)
    softened = times(said(frames), forces=0.6, stress=0.6)
    for predicted in (said(frames), softened, said(frames, error=2.0)):
        for check in CHECKS.values():
            check(frames, predicted)
    agreement.check_stress_agrees(frames, said(frames, pressure=0.06))


@pytest.mark.parametrize(
    ("kind", "factor", "message"),
    [
        (
            "forces",
            -1.0,
            r"times -0.9[0-9]* \(correlation -0.98.: most likely the other sign;",
        ),
        (
            "forces",
            units.Bohr / units.Hartree,
            "most likely Ha/Bohr; labels must be -dE/dx",
        ),
        ("forces", -units.Bohr / units.Hartree, "most likely Ha/Bohr with the other sign"),
        ("forces", units.Bohr / units.Rydberg, "most likely Ry/Bohr;"),
        ("forces", units.mol / units.kcal, r"most likely kcal/\(mol Å\)"),
        ("forces", units.mol / units.kJ, r"most likely kJ/\(mol Å\)"),
        ("forces", 1000.0, "most likely meV/Å"),
        ("forces", 4.3, "times 4.* no unit that is known here"),
        ("stress", -1.0, "most likely the other sign; .* positive under tension"),
        ("stress", 1 / units.GPa, "most likely GPa;"),
        ("stress", -10 / units.GPa, "most likely kbar with the other sign"),
        ("stress", units.Bohr**3 / units.Hartree, "most likely Ha/Bohr"),
        ("stress", lambda f: -f.volume, "most likely virials in eV, under stress_key"),
        (
            "stress",
            lambda f: -1 / f.volume,
            "most likely stress in eV/Å.3, under virials_k",
        ),
        ("energy", 1 / units.Hartree, "most likely Ha; labels must be of all atoms"),
        ("energy", units.mol / units.kcal, "most likely kcal/mol"),
        ("energy", units.mol / units.kJ, "most likely kJ/mol"),
        ("energy", lambda f: 1 / f.n_atoms, "most likely eV per atom, not of all atoms"),
    ],
)
@pytest.mark.parametrize("sizes", [(1,), (1, 2)])
def test_a_sign_or_unit_is_named(kind, factor, message, sizes):
    frames = frames_of(16, sizes)
    wrong = times(frames, **{kind: factor})
    with pytest.raises(
        checks.ImplausibleData, match=f"train.*frame 0, .*{message}"
    ) as fault:
        CHECKS[kind](wrong, said(frames))
    assert fault.value.kind == ("energy_offset" if kind == "energy" else kind)
    for other in CHECKS.keys() - {kind}:
        CHECKS[other](wrong, said(frames))


@pytest.mark.parametrize(("kind", "factor"), [("forces", -1.0), ("stress", -1.0)])
def test_a_few_frames_of_another_sign(kind, factor):
    """As of two files joined: named by the first, whatever the mean says."""
    frames = frames_of(16)
    wrong = frames[:11] + times(frames[11:], **{kind: factor})
    with pytest.raises(
        ValueError, match="of 5 frames, first train.extxyz, frame 11, are mo"
    ):
        CHECKS[kind](wrong, said(frames, error=0.1))


def test_energies_of_several_methods():
    frames = frames_of(16)
    wrong = frames[:8] + [dataclasses.replace(f, energy=f.energy + 40) for f in frames[8:]]
    with pytest.raises(ValueError, match="scatter by 2.49 eV/atom .* of several methods"):
        agreement.check_energies_agree(wrong, said(frames))


def test_a_start_that_is_fifty_times_off():
    """Of other elements, say: large forces, in other directions."""
    frames = frames_of(8)
    other = times(frames_of(8, seed=4), forces=50.0)
    with pytest.raises(
        ValueError, match="are 1.01 eV/Å in size, and .* 49.2 eV/Å; look at the elem"
    ):
        agreement.check_forces_agree(frames, other)
    # relaxed cells: small forces, and a start at another lattice constant
    small = times(frames, forces=1e-3)
    agreement.check_forces_agree(small, times(other, forces=1e-3))


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (
            units.mol / units.kcal,
            "no solid is bound by 20. They fit if they are in kcal/mol",
        ),
        (1 / units.Hartree, "They fit if they are in Ha: convert"),
        (lambda f: 1 / f.n_atoms, "They fit if they are in eV per atom"),
        (3.3, "no solid is bound by 20. Give data.isolated_atom_ev of the"),
    ],
)
def test_units_of_energies_without_a_start(factor, message):
    wrong = times(frames_of(4), energy=factor)
    with pytest.raises(checks.ImplausibleData, match=message):
        inspection.inspect([Labels(wrong, E0, "the run file")], None, [])
    inspection.inspect([Labels(wrong, E0, "the run file")], None, ["energy_offset"])
    inspection.inspect([Labels(frames_of(4), E0, "the run file")], None, [])


def test_energies_per_atom_of_two_sizes():
    """Where isolated atoms are fitted, too, and no start is there."""
    frames = frames_of(12, sizes=(1, 2))
    checks.check_extensive(frames)
    with pytest.raises(
        ValueError, match="8 and of 16 atoms .* they are per atom. Multiply"
    ):
        checks.check_extensive(times(frames, energy=lambda f: 1 / f.n_atoms))


@pytest.fixture
def start(monkeypatch, model):
    """Predictions off by a fifth, of whatever frames, whose labels may be wrong."""
    right = {f.source: f for name in ("a", "b", "c") for f in frames_of(14, file=name)}

    def predictions(_, frames):
        return said([right[frame.source] for frame in frames])

    monkeypatch.setattr(inspection, "predictions", predictions)
    isolated = {"atomic_energies": np.array([[E0[3] + 700.0, E0[9] + 700.0]])}
    return dataclasses.replace(model, constants=model.constants | isolated)


@pytest.mark.parametrize("wrong", ["a", "b", "c"])
def test_every_file_of_every_set(start, wrong):
    """Target, validation and replay alike; one wrong file among right ones is named."""
    frames = {name: frames_of(14, file=name) for name in ("a", "b", "c")}

    def inspect(kind=None, factor=1.0, allow=()):
        files = dict(frames)
        if kind:
            files[wrong] = times(frames[wrong], **{kind: factor})
        sets = [files["a"] + files["b"], files["c"]]
        inspection.inspect([Labels(s, E0, "the run file") for s in sets], start, allow)

    inspect()
    for kind in ("forces", "stress"):
        with pytest.raises(
            ValueError, match=rf"{wrong}: the {kind} labels of 14.*\[.{kind}"
        ):
            inspect(kind, -1.0)
        inspect(kind, -1.0, [kind])
    with pytest.raises(
        ValueError, match=f"{wrong}: the run file. the ener.* if they are in Ha"
    ):
        inspect("energy", 1 / units.Hartree)


def test_isolated_atoms_in_the_same_wrong_unit(start):
    """Ha throughout: bound as no solid is, but for a start that says so."""
    frames = times(frames_of(14, file="a"), energy=1 / units.Hartree)
    isolated = {z: energy / units.Hartree for z, energy in E0.items()}
    with pytest.raises(ValueError, match="4.53 eV/atom off .* They fit if they are in Ha"):
        inspection.inspect([Labels(frames, isolated, "isolated atoms")], start, [])
    fitted = {z: energy + 4.53 for z, energy in isolated.items()}
    with pytest.raises(ValueError, match="energy labels of 14 .* most likely Ha"):
        inspection.inspect([Labels(frames, fitted, "estimated")], start, [])
