"""Labels: read, missing, implausible; isolated atoms; batches of few shapes."""

import dataclasses

import ase
import ase.io
import jax
import numpy as np
import pytest
from labelled import labelled

from jaxdiff.calculator import predict_atoms
from jaxdiff.finetune import checks, read_frames
from jaxdiff.finetune.atomic_energies import atomic_energies
from jaxdiff.finetune.batches import batches, make_graph, make_plan
from jaxdiff.finetune.loss import predict_batch
from jaxdiff.io.frames import Keys, draw, split_isolated
from jaxdiff.models.mace.initial import initialize


@pytest.fixture
def atoms(model):
    return labelled(6, 4, model)


def written(tmp_path, atoms):
    path = tmp_path / "frames.extxyz"
    ase.io.write(path, atoms)
    return [path]


def test_virials_are_minus_stress_times_volume(tmp_path, atoms):
    stress = [a.info["REF_stress"].reshape(3, 3) for a in atoms]
    for a in atoms:
        a.info["REF_virials"] = -a.get_volume() * a.info.pop("REF_stress")
    for frame, expected in zip(read_frames(written(tmp_path, atoms)), stress, strict=True):
        np.testing.assert_allclose(frame.stress, expected, rtol=0, atol=1e-9)


def test_bare_keys_are_read_though_ase_moves_them(tmp_path, atoms):
    """ "energy" and "forces" end up in a calculator when ASE reads an extxyz file."""
    for a in atoms:
        a.info["energy"] = a.info.pop("REF_energy")
        a.arrays["forces"] = a.arrays.pop("REF_forces")
    frames = read_frames(written(tmp_path, atoms), Keys(energy="energy", forces="forces"))
    assert frames[0].energy == pytest.approx(atoms[0].info["energy"])
    np.testing.assert_allclose(frames[0].forces, atoms[0].arrays["forces"], atol=1e-8)


def test_a_label_may_be_missing_in_some_frames(tmp_path, atoms):
    del atoms[1].info["REF_energy"], atoms[2].arrays["REF_forces"]
    frames = read_frames(written(tmp_path, atoms))
    assert [f.energy is None for f in frames] == [False, True] + [False] * 4
    assert [f.forces is None for f in frames] == [False, False, True] + [False] * 3


def test_deepmd_folders(tmp_path, atoms):
    """Written with NumPy as the format says; virial is minus stress times volume."""
    chosen = [a for a in atoms if len(a) == 8]
    folder = tmp_path / "system"
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("\n".join(str(int(z == 9)) for z in chosen[0].numbers))
    (folder / "type_map.raw").write_text("Li\nF\n")
    arrays = {
        "box": [a.cell.array.ravel() for a in chosen],
        "coord": [a.positions.ravel() for a in chosen],
        "energy": [a.info["REF_energy"] for a in chosen],
        "force": [a.arrays["REF_forces"].ravel() for a in chosen],
        "virial": [-a.get_volume() * a.info["REF_stress"] for a in chosen],
    }
    for name, array in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", np.array(array))
    frames = read_frames([folder])
    assert len(frames) == len(chosen)
    for frame, a in zip(frames, chosen, strict=True):
        np.testing.assert_array_equal(frame.atomic_number, a.numbers)
        np.testing.assert_allclose(frame.position, a.positions, atol=1e-12)
        assert frame.energy == pytest.approx(a.info["REF_energy"], abs=1e-9)
        np.testing.assert_allclose(frame.forces, a.arrays["REF_forces"], atol=1e-12)
        np.testing.assert_allclose(frame.stress.ravel(), a.info["REF_stress"], atol=1e-12)


def test_folders_of_another_format(tmp_path):
    with pytest.raises(ValueError, match="without type.raw; a folder of data is in DeePMD"):
        read_frames([tmp_path])


def test_isolated_atoms_are_taken_out(tmp_path, atoms):
    for symbol, energy in (("Li", -7.0), ("F", -9.0)):
        alone = ase.Atoms(symbol, positions=[[0, 0, 0]], cell=[9] * 3, pbc=True)
        alone.info |= {"REF_energy": energy, "config_type": "IsolatedAtom"}
        alone.arrays["REF_forces"] = np.zeros((1, 3))
        atoms.append(alone)
    others, isolated = split_isolated(read_frames(written(tmp_path, atoms)))
    assert len(others) == 6
    assert isolated == {3: -7.0, 9: -9.0}
    assert list(atomic_energies(None, others, isolated, (3, 9)).values) == [-7.0, -9.0]
    with pytest.raises(
        ValueError, match="no isolated-atom energy of F: isolated atoms give"
    ):
        atomic_energies(None, others, {3: -7.0}, (3, 9))


@pytest.mark.slow
def test_estimated_energies_find_the_shift(tmp_path, model, atoms):
    """Labels of the model itself with 3 and 5 eV added per atom: exactly these come out."""
    for a in atoms:
        a.info["REF_energy"] += 3.0 * np.sum(a.numbers == 3) + 5.0 * np.sum(a.numbers == 9)
    frames = read_frames(written(tmp_path, atoms))
    start = np.asarray(model.constants["atomic_energies"])[0]
    found = atomic_energies("estimated", frames, {}, (3, 9), model)
    np.testing.assert_allclose(found.values, start + [3.0, 5.0], rtol=0, atol=1e-6)
    assert found.caution is None


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["estimated", "foundation"])
def test_a_starting_model_that_knows_more_elements(tmp_path, model, atoms, choice):
    """Energies of the elements asked for, in their order, whatever else the model knows."""
    wide = dataclasses.replace(model.architecture, atomic_numbers=(1, 3, 8, 9))
    energies = np.array([[-1.0, -2.0, -3.0, -4.0]])
    start = initialize(wide, jax.random.key(1), atomic_energies=energies, dtype=np.float64)
    for a in atoms:
        shift = 3.0 * np.sum(a.numbers == 3) + 5.0 * np.sum(a.numbers == 9)
        a.info["REF_energy"] = float(predict_atoms(start, a).energy) + shift
    frames = read_frames(written(tmp_path, atoms))
    found = atomic_energies(choice, frames, {}, (3, 9), start)
    expected = [1.0, 1.0] if choice == "estimated" else [-2.0, -4.0]
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-6)
    assert found.caution is None


def test_one_composition_does_not_decide_two_energies(tmp_path, model, atoms):
    frames = read_frames(written(tmp_path, [a for a in atoms if len(a) == 8]))
    found = atomic_energies("average", frames, {}, (3, 9))
    assert "decide 1 of 2 isolated-atom energies" in found.caution
    count = np.array([4, 4])
    mean = np.mean([f.energy for f in frames])
    assert count @ found.values == pytest.approx(mean, rel=1e-12)


def test_fewer_frames_are_a_part_of_more(tmp_path, atoms):
    frames = read_frames(written(tmp_path, atoms))
    few, rest = draw(frames, {"bulk": 2}, seed=5)
    more, _ = draw(frames, {"bulk": 3, "interstitial": 1}, seed=5)
    assert {f.source for f in few} < {f.source for f in more}
    assert len(rest) == 4
    with pytest.raises(ValueError, match="7 frames of type 'bulk'.*'bulk': 4"):
        draw(frames, {"bulk": 7}, seed=5)


def test_forces_that_do_not_add_up(tmp_path, atoms):
    frames = read_frames(written(tmp_path, atoms))
    checks.check_forces(frames)
    atoms[3].arrays["REF_forces"][:, 0] += 0.1
    with pytest.raises(ValueError, match="1 of 6 frames.*frame 3, 0.1 eV/Å per atom"):
        checks.check_forces(read_frames(written(tmp_path, atoms)))


def test_stress_of_the_other_sign_or_unit(shared):
    """Real labels pass; with the sign of a pressure, or in GPa, they do not."""
    frames = read_frames([shared / "data/lif_dft/pool_valid.extxyz"])
    checks.check_stress(frames)
    for factor, message in (
        (-1.0, "sign is that of a pressure"),
        (160.2, "GPa; labels must"),
    ):
        wrong = [dataclasses.replace(f, stress=factor * f.stress) for f in frames]
        with pytest.raises(ValueError, match=message):
            checks.check_stress(wrong)


def test_energies_of_another_method():
    with pytest.raises(ValueError, match="no solid is bound by 20.*data.allow"):
        checks.check_binding(np.full(5, -500.0), "the run file")
    with pytest.raises(ValueError, match='3.2 eV/atom off.*"estimated"'):
        checks.check_offset(np.full(5, 3.2), "the run file")
    checks.check_binding(np.full(5, -4.76), "the run file")
    checks.check_offset(np.full(5, 0.2), "the run file")


@pytest.mark.slow
def test_few_shapes_and_one_compilation_each(tmp_path, model, atoms):
    """Shuffled passes over frames of two sizes: as many compilations as shapes."""
    energies = np.asarray(model.constants["atomic_energies"])[0]
    graphs = [
        make_graph(f, (3, 9), energies, model.architecture.cutoff, dtype=np.float64)
        for f in read_frames(written(tmp_path, atoms))
    ]
    largest = max(g.n_edges for g in graphs)
    for sizes in ({"batch_size": 4}, {"batch_edges": 2 * largest}):
        plan, shapes = make_plan(graphs, **sizes), set()
        compiled = jax.jit(lambda m, b: predict_batch(m, b).energy)
        for seed in range(3):
            seen = []
            for chosen, batch in batches(graphs, plan, np.random.default_rng(seed)):
                seen += list(chosen)
                shapes.add(batch.sender.shape)
                assert len(batch.energy) == plan.max_graphs
                if seed < 2:
                    compiled(model, batch)
            assert sorted(seen) == list(range(6))
        assert compiled._cache_size() <= len(shapes) <= plan.max_shapes
    with pytest.raises(ValueError, match="batch_edges = 10 is less than the largest"):
        make_plan(graphs, batch_edges=10)
