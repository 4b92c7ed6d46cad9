"""Label formats: what is read of each, what is taken as missing, what is refused."""

import dataclasses

import ase.build
import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from jaxdiff.cli import app
from jaxdiff.finetune import Keys, read_frames
from jaxdiff.finetune.scratch import scratch_model
from jaxdiff.finetune.sets import read_sets
from jaxdiff.io.frames import read_labelled, split_isolated
from jaxdiff.io.trainfile import read_train_file

RUN = """
seed = 3
directory = "run"
[data]
train = ["train.extxyz"]
valid_fraction = 0.25
[scratch]
cutoff_angstrom = 3.5
channels = 4
max_ell = 1
hidden = [[0], [0]]
correlation = [2, 2]
interactions = ["RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"]
radial_mlp = [8]
[optimizer]
epochs = 1
batch_size = 2
learning_rate = 0.05
"""
E0 = "data.isolated_atom_ev={ Li = -202.8, F = -803.8 }"


def frames_of(n, seed=0):
    """Cells of LiF with labels that mean nothing, but for forces that add up to zero."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = ase.build.bulk("LiF", "rocksalt", a=4.08, cubic=True)
        atoms.positions += rng.normal(0, 0.1, (8, 3))
        forces, stress = rng.normal(0, 1, (8, 3)), rng.normal(0, 0.01, (3, 3))
        atoms.arrays["REF_forces"] = forces - forces.mean(axis=0)
        atoms.info["REF_energy"] = -4064.0 + rng.normal(0, 0.1)
        atoms.info["REF_stress"] = (stress + stress.T).ravel()
        frames.append(atoms)
    return frames


def written(folder, atoms, name="train.extxyz"):
    ase.io.write(folder / name, atoms)
    return [folder / name]


def run_of(folder, *overrides):
    (folder / "run.toml").write_text(RUN)
    return read_train_file(folder / "run.toml", overrides=list(overrides))


def deepmd(folder, atoms, kind, left_out=()):
    """A system as dpdata writes it: npy, mixed (with one atom that is none), or raw."""
    n, symbols = len(atoms), ["F", "Li"]
    types = np.array([[symbols.index(s) for s in a.symbols] for a in atoms])
    rows = {
        "box": np.array([a.cell.array.ravel() for a in atoms]),
        "coord": np.array([a.positions.ravel() for a in atoms]),
        "energy": np.array([[a.info["REF_energy"]] for a in atoms]),
        "force": np.array([a.arrays["REF_forces"].ravel() for a in atoms]),
        "virial": np.array([-a.get_volume() * a.info["REF_stress"] for a in atoms]),
    }
    if kind == "mixed":
        rows["real_atom_types"] = np.hstack([types, np.full((n, 1), -1)])
        for name in ("coord", "force"):
            rows[name] = np.hstack([rows[name], np.zeros((n, 3))])
        types = np.zeros_like(rows["real_atom_types"])
    part = folder if kind == "raw" else folder / "set.000"
    part.mkdir(parents=True)
    for name in rows.keys() - set(left_out):
        if kind == "raw":
            np.savetxt(part / f"{name}.raw", rows[name])
        else:
            np.save(part / f"{name}.npy", rows[name])
    np.savetxt(folder / "type.raw", types[0], fmt="%d")
    (folder / "type_map.raw").write_text("\n".join(symbols))
    return folder


@pytest.mark.parametrize("kind", ["npy", "mixed", "raw"])
def test_deepmd_formats(tmp_path, kind):
    atoms = frames_of(3)
    atoms[1].numbers = (
        atoms[1].numbers[::-1].copy() if kind == "mixed" else atoms[1].numbers
    )
    found = read_frames([deepmd(tmp_path / "system", atoms, kind)])
    assert len(found) == 3
    for frame, a in zip(found, atoms, strict=True):
        np.testing.assert_array_equal(frame.atomic_number, a.numbers)
        np.testing.assert_allclose(frame.position, a.positions, rtol=0, atol=1e-12)
        np.testing.assert_allclose(frame.forces, a.arrays["REF_forces"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            frame.stress.ravel(), a.info["REF_stress"], rtol=0, atol=1e-12
        )
        assert frame.energy == pytest.approx(a.info["REF_energy"], abs=1e-9)
    assert found[2].source == "system, frame 2"


def test_deepmd_systems_below_a_folder(tmp_path):
    deepmd(tmp_path / "all/8", frames_of(2), "mixed")
    deepmd(tmp_path / "all/other", frames_of(2, seed=1), "raw")
    found = read_frames([tmp_path / "all"])
    assert [f.source for f in found] == [
        f"all/{name}, frame {k}" for name in ("8", "other") for k in (0, 1)
    ]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "type_map.raw").unlink(), "no type_map.raw, so the elements"),
        (lambda f: (f / "type_map.raw").write_text("T0 Li"), "names T0, which are no"),
        (lambda f: (f / "type_map.raw").write_text("F"), "of type 1, and type_map.raw nam"),
        (lambda f: (f / "box.raw").unlink(), "coordinates and no box"),
        (lambda f: (f / "energy.raw").write_text("1 2"), r"energy.raw has 2 numbers; "),
        (lambda f: (f / "force.raw").write_text("a"), r"force.raw cannot be read"),
        (lambda f: (f / "coord.raw").unlink(), "has no frames"),
        (lambda f: (f / "force.raw").unlink(), r"no force.npy; .* loss.forces_weight = 0"),
    ],
)  # fmt: skip
def test_deepmd_folders_that_are_refused(tmp_path, break_it, message):
    folder = deepmd(tmp_path / "system", frames_of(3), "raw")
    break_it(folder)
    with pytest.raises(ValueError, match=message):
        read_frames([folder])


def test_isolated_energies_by_atomic_number(tmp_path):
    run = run_of(tmp_path, "data.isolated_atom_ev={ 3 = -202.822, F = -803.844 }")
    assert run.data.isolated_atom_ev == {"Li": -202.822, "F": -803.844}
    for given, message in (
        ("{ 3 = -1.0, Li = -1.0 }", "isolated_atom_ev: the energy of Li is given twice"),
        ("{ 300 = -1.0 }", "'300' is no element; the keys are symbols such as Li, or at"),
        ("{ li = -1.0 }", "'li' is no element"),
        ("{ Li = 'x' }", 'isolated_atom_ev.Li = "x": input should be a valid number'),
        ("'zero'", "give energies by symbol, .*atomic numbers serve"),
    ):
        with pytest.raises(ValueError, match=message):
            run_of(tmp_path, f"data.isolated_atom_ev={given}")


def alone(symbol, energy, config_type=None, **cell):
    atoms = ase.Atoms(symbol, positions=[[0, 0, 0]], **cell)
    atoms.info["REF_energy"] = energy
    if config_type:
        atoms.info["config_type"] = config_type
    atoms.arrays["REF_forces"] = np.zeros((1, 3))
    return atoms


@pytest.mark.parametrize(
    "more",
    [
        {"config_type": "isolated_atom"},
        {"config_type": "Isolated Atom", "cell": [5] * 3, "pbc": True},
        {"config_type": "dimer"},
        {},
        {"cell": [5] * 3},
        {"cell": [12] * 3, "pbc": True},
        {"cell": [[0, 6, 6], [6, 0, 6], [6, 6, 0]], "pbc": True},
    ],
)
def test_isolated_atoms_in_any_spelling(tmp_path, more):
    atoms = [*frames_of(2), alone("Li", -202.8, **more), alone("F", -803.8, **more)]
    others, isolated = split_isolated(read_frames(written(tmp_path, atoms)))
    assert len(others) == 2
    assert isolated == {3: -202.8, 9: -803.8}


def test_one_atom_of_a_crystal_is_no_isolated_one(tmp_path):
    body_centred = alone("Li", -204.4, cell=ase.build.bulk("Li").cell, pbc=True)
    others, isolated = split_isolated(read_frames(written(tmp_path, [body_centred])))
    assert (len(others), isolated) == (1, {})


def test_two_energies_of_one_isolated_atom(tmp_path):
    atoms = [alone("Li", -202.8), alone("Li", -201.8, cell=[20] * 3, pbc=True)]
    with pytest.raises(ValueError, match="frame 1 gives an isolated Li -201.8 eV, and ano"):
        split_isolated(read_frames(written(tmp_path, atoms)))


@pytest.mark.parametrize("key", ["REF_stress", "REF_virials"])
def test_zero_stress_of_a_cluster_is_missing(tmp_path, key):
    atoms = frames_of(12)
    cluster = frames_of(1, seed=5)[0]
    cluster.set_cell(None), cluster.set_pbc(False)
    del cluster.info["REF_stress"]
    cluster.info[key] = np.zeros((3, 3))
    found = read_labelled(written(tmp_path, [*atoms, cluster]), Keys())
    assert [f.stress is None for f in found.frames] == [False] * 12 + [True]
    assert found.notes == [
        "stress of nine zeros in 1 of 13 frames, 1 of them without a cell, first "
        "train.extxyz, frame 12: taken as missing, weight 0"
    ]
    sets = read_sets(run_of(tmp_path, E0, "data.valid_fraction=0.01"))
    assert any("without stress" in note for note in sets.notes)
    cluster.info[key] = np.eye(3)
    with pytest.raises(ValueError, match="frame 0 has a (stress|virial) and no cell; give"):
        read_frames(written(tmp_path, cluster))


def test_repeats_with_the_same_labels_are_counted(tmp_path):
    """In another file, with fewer digits, atoms in another order or in another image."""
    atoms = frames_of(4)
    other = [a[np.arange(8)[::-1]] for a in atoms[:2]] + [atoms[2].copy()]
    other[2].positions += [4.08, 0, -8.16]
    for a, b in zip(other, atoms, strict=False):
        a.info |= b.info
        a.positions = a.positions.round(5)
    paths = written(tmp_path, atoms) + written(tmp_path, other, "again.extxyz")
    found = read_labelled(paths, Keys())
    assert [f.source for f in found.frames] == [
        f"train.extxyz, frame {k}" for k in range(4)
    ]
    assert found.notes == [
        "3 of 7 frames of train.extxyz, again.extxyz repeat another with the same labels, "
        "and were left out"
    ]


def test_near_geometries_are_not_the_same(tmp_path):
    """A displacement of 0.001 Å, as for force constants."""
    atoms = [frames_of(1)[0] for _ in range(3)]
    atoms[1].positions[0, 0] += 1e-3
    atoms[2].cell *= 1.0001
    for k, a in enumerate(atoms):
        a.info["REF_energy"] += k
    assert len(read_frames(written(tmp_path, atoms))) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.info.update(REF_energy=a.info["REF_energy"] + 5), "energy [+]5 eV"),
        (lambda a: a.arrays["REF_forces"].__imul__(1.3), "forces up to [0-9.]+ eV/Å"),
        (lambda a: a.info.update(REF_stress=-a.info["REF_stress"]), "stress up to"),
    ],
)
def test_two_labels_of_one_geometry(tmp_path, change, said):
    atoms, other = frames_of(12), frames_of(12)
    for a in other:
        change(a)
    with pytest.raises(
        ValueError,
        match=f"24 frames were read, and 12 .*frame 12 against .*frame 0 .{said}",
    ):
        read_frames(written(tmp_path, [*atoms, *other]))


def test_labels_of_two_files_complete_each_other(tmp_path):
    atoms, other = frames_of(2), frames_of(2)
    for a, b in zip(atoms, other, strict=True):
        del a.arrays["REF_forces"], b.info["REF_energy"]
    found = read_frames(written(tmp_path, [*atoms, *other]))
    assert len(found) == 2
    np.testing.assert_allclose(found[1].forces, other[1].arrays["REF_forces"], atol=1e-7)


def test_heads_in_the_file(tmp_path):
    """One is read; of several one is asked for."""
    atoms, other = frames_of(3), frames_of(2)
    for a in (*atoms, *other):
        a.info["head"] = "pbe"
    assert len(read_frames(written(tmp_path, atoms))) == 3
    for a in other:
        a.info["head"] = "r2scan"
        a.info["REF_energy"] += 5
    paths = written(tmp_path, [*atoms, *other])
    with pytest.raises(ValueError, match="pbe .3 frames., r2scan .2 frames.*set data.head"):
        read_frames(paths)
    assert len(read_frames(paths, Keys(head="r2scan"))) == 2
    with pytest.raises(ValueError, match="data.head = 'scan', and train.extxyz hold pbe"):
        read_frames(paths, Keys(head="scan"))
    sets = read_sets(run_of(tmp_path, E0, "data.head=pbe"))
    found = sorted(f.energy for f in (*sets.train, *sets.valid))
    np.testing.assert_allclose(found, sorted(a.info["REF_energy"] for a in atoms))


@pytest.mark.parametrize(
    ("lacks", "message"),
    [
        ("REF_energy", "no energy under the key 'REF_energy' .*set loss.energy_weight = 0"),
        ("REF_forces", "no forces under the key 'REF_forces' .*set loss.forces_weight = 0"),
    ],
)
def test_files_without_energies_or_forces(tmp_path, lacks, message):
    """Refused, as a key may be misspelt, unless the loss does not need them."""
    atoms = frames_of(4)
    for a in atoms:
        a.info.pop(lacks, None), a.arrays.pop(lacks, None)
    written(tmp_path, atoms)
    with pytest.raises(ValueError, match=message):
        read_sets(run_of(tmp_path, E0))
    kind = lacks.removeprefix("REF_")
    sets = read_sets(run_of(tmp_path, E0, f"loss.{kind}_weight=0"))
    assert f"training: 3 frames; 3 of Li4F4, 3 without {kind}" in sets.notes
    assert all(getattr(frame, kind) is None for frame in sets.train)


def test_scale_of_a_model_without_energies_or_forces(tmp_path):
    """Mean and spread of energies in place of the size of forces; and no shift."""
    paths = written(tmp_path, frames_of(4))
    run = run_of(tmp_path, E0)
    frames = read_frames(paths)
    bound = [(f.energy + 4 * (202.8 + 803.8)) / 8 for f in frames]
    forces = np.concatenate([f.forces for f in frames])
    for lacks, scale, shift in (
        ("forces", np.std(bound), np.mean(bound)),
        ("energy", np.sqrt(np.mean(forces**2)), 0.0),
    ):
        without = [dataclasses.replace(f, **{lacks: None}) for f in frames]
        model = scratch_model(run, without, (3, 9), np.array([-202.8, -803.8]))
        assert float(model.constants["scale"][0]) == pytest.approx(scale, rel=1e-5)
        assert float(model.constants["shift"][0]) == pytest.approx(shift, rel=1e-5)


@pytest.mark.long
@pytest.mark.filterwarnings("error::UserWarning:jaxdiff")
@pytest.mark.parametrize("lacks", ["REF_energy", "REF_forces"])
def test_training_without_energies_or_forces(tmp_path, lacks):
    """The command, from scratch, for one epoch: finite losses, no number where no label."""
    atoms = frames_of(4)
    for a in atoms:
        a.info.pop(lacks, None), a.arrays.pop(lacks, None)
    written(tmp_path, atoms)
    (tmp_path / "run.toml").write_text(RUN)
    kind = lacks.removeprefix("REF_")
    settings = (E0, f"loss.{kind}_weight=0", f"directory={tmp_path / 'run'}")
    arguments = [f"--set={setting}" for setting in settings]
    done = CliRunner().invoke(app, ["finetune", str(tmp_path / "run.toml"), *arguments])
    assert done.exit_code == 0, done.output
    assert f"3 without {kind}" in done.output


def test_an_energy_that_is_no_number(tmp_path):
    atoms = frames_of(1)
    atoms[0].info["REF_energy"] = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="frame 0: REF_energy is .*; one number, in eV"):
        read_frames(written(tmp_path, atoms))
