"""MACE of gated blocks: numbers of mace-torch; derivatives; fewer species and heads."""

from dataclasses import replace

import ase.build
import ase.io
import numpy as np
import pytest
from gated import SMALL, random_model, upstreams
from oracle import TOLERANCE, crystal

from jaxdiff.calculator import MaceCalculator, predict_atoms
from jaxdiff.checkpoints import load, save, save_native
from jaxdiff.finetune import Keys, read_frames
from jaxdiff.finetune.errors import error_table, graphs_of, predictions
from jaxdiff.models.mace.gated import GatedMace

CHARGED = replace(
    SMALL,
    heads=("omol",),
    embedded=(("total_spin", 11, 0, 3), ("total_charge", 21, 10, 3)),
    readouts=("bias",),
    max_ell=1,
)


@pytest.fixture(scope="module", params=["heads", "charged"])
def model(request):
    return random_model(SMALL if request.param == "heads" else CHARGED)


def assert_close(found, expected, n_atoms=4, dtype="float64"):
    energy, forces, stress = TOLERANCE[dtype]
    assert abs(float(found.energy) - expected["energy"]) < energy * n_atoms
    np.testing.assert_allclose(found.forces, expected["forces"], rtol=0, atol=forces)
    np.testing.assert_allclose(found.stress, expected["stress"], rtol=0, atol=stress)


@pytest.mark.oracle
@pytest.mark.parametrize("e3nn_gate", [False, True])
def test_equal_to_mace_torch(upstream, tmp_path, e3nn_gate):
    path = upstream.save(upstreams(upstream, e3nn_gate=e3nn_gate), tmp_path / "m.model")
    ours, theirs, atoms = load(path), upstream.load(path), crystal()
    assert isinstance(ours, GatedMace)
    for head in ("low", "high") if not e3nn_gate else ("high",):
        expected = upstream.predict(theirs, atoms, head)
        assert np.abs(expected["forces"]).max() > 0.01
        assert_close(predict_atoms(ours, atoms, head), expected)
    lean = ours.restrict([3, 9]).restrict_heads(["high"])
    assert_close(predict_atoms(lean, atoms), expected)


@pytest.mark.oracle
@pytest.mark.parametrize(("charge", "spin"), [(0, 1), (-2, 3)])
@pytest.mark.slow
def test_charge_and_multiplicity_are_those_of_mace_torch(upstream, tmp_path, charge, spin):
    path = upstream.save(upstreams(upstream, charged=True), tmp_path / "m.model")
    atoms = crystal()
    atoms.info |= {"charge": charge, "spin": spin}
    expected = upstream.predict(upstream.load(path), atoms)
    assert np.abs(expected["forces"]).max() > 0.05
    assert_close(predict_atoms(load(path), atoms), expected)


@pytest.mark.long
@pytest.mark.oracle
@pytest.mark.parametrize("charged", [False, True])
def test_as_large_as_the_published_models(upstream, tmp_path, charged):
    path = upstream.save(upstreams(upstream, charged, full=True), tmp_path / "m.model")
    atoms = crystal() * (2, 1, 1)
    atoms.rattle(0.02, seed=8)
    head = None if charged else "high"
    expected = upstream.predict(upstream.load(path), atoms, head)
    assert np.abs(expected["forces"]).max() > 1e-3
    ours = load(path).restrict([3, 9])
    assert_close(predict_atoms(ours, atoms, head or "omol"), expected, n_atoms=8)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("charged", [False, True])
def test_written_back_mace_torch_has_the_same_numbers(upstream, tmp_path, charged):
    first = upstream.save(upstreams(upstream, charged), tmp_path / "first.model")
    model = load(first).restrict([3, 9])
    save(tmp_path / "again.model", model)
    expected = upstream.predict(upstream.load(tmp_path / "again.model"), crystal())
    assert_close(predict_atoms(model, crystal(), model.heads[0]), expected)
    again = load(tmp_path / "again.model")
    assert again.architecture == model.architecture


def test_forces_and_stress_are_derivatives(model):
    atoms, h = crystal(), 1e-4
    calculator = MaceCalculator(model, head=model.heads[-1])

    def energy(moved):
        moved.calc = calculator
        return moved.get_potential_energy()

    def slope(move):
        pair = atoms.copy(), atoms.copy()
        for sign, one in zip((1, -1), pair, strict=True):
            move(one, sign * h)
        return (energy(pair[0]) - energy(pair[1])) / (2 * h)

    def shift(one, size):
        one.positions[place] += size

    def strain(one, size):
        one.set_cell(one.cell.array @ (np.eye(3) + size * np.eye(3)), scale_atoms=True)

    atoms.calc = calculator
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    place = np.unravel_index(np.abs(forces).argmax(), forces.shape)
    assert abs(forces[place]) > 1e-3
    assert slope(shift) == pytest.approx(-forces[place], rel=1e-5)
    assert slope(strain) == pytest.approx(np.trace(stress) * atoms.get_volume(), rel=1e-5)


def test_turning_a_molecule_turns_its_forces(model):
    atoms = ase.build.molecule("LiF")
    atoms += ase.Atoms("H", positions=[[1.0, 0.7, 0.4]])
    turned = atoms.copy()
    turned.rotate(71, (1, 2, 3))
    one, other = (predict_atoms(model, x, model.heads[0]) for x in (atoms, turned))
    assert float(one.energy) == pytest.approx(float(other.energy), abs=1e-10)
    atoms.positions = np.asarray(one.forces)
    atoms.rotate(71, (1, 2, 3))
    np.testing.assert_allclose(atoms.positions, other.forces, rtol=0, atol=1e-10)


def test_the_other_direction_of_a_pair_is_another_function(model):
    """Li seen by F is not F seen by Li: embeddings of sender and receiver differ."""
    atoms = ase.build.molecule("LiF")
    swapped = replace(
        model,
        weights=model.weights
        | {
            "interactions": {
                i: own | {"source": own["target"], "target": own["source"]}
                for i, own in model.weights["interactions"].items()
            }
        },
    )
    one, other = (predict_atoms(m, atoms, m.heads[0]).energy for m in (model, swapped))
    assert abs(float(one) - float(other)) > 1e-4


def test_fewer_species_and_heads_are_the_same_numbers(model):
    head = model.heads[-1]
    whole = predict_atoms(model, crystal(), head)
    fewer = predict_atoms(model.restrict([3, 9]).restrict_heads([head]), crystal())
    assert float(fewer.energy) == pytest.approx(float(whole.energy), abs=1e-12)
    np.testing.assert_allclose(fewer.forces, whole.forces, rtol=0, atol=1e-12)
    np.testing.assert_allclose(fewer.node_energy, whole.node_energy, rtol=0, atol=1e-12)


def test_heads_start_as_the_only_one(model):
    one = model.restrict_heads(model.heads[:1])
    energies = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    two = one.with_heads(["new", "old"], energies)
    np.testing.assert_allclose(two.isolated, energies, rtol=0, atol=1e-12)
    alone = predict_atoms(one.with_isolated(energies[1:]), crystal())
    again = predict_atoms(two, crystal(), "old")
    np.testing.assert_allclose(again.node_energy, alone.node_energy, rtol=0, atol=1e-12)


def test_native_files_keep_every_bit(model, tmp_path):
    save_native(tmp_path / "m.safetensors", model)
    again = load(tmp_path / "m.safetensors")
    assert again.architecture == model.architecture
    one, other = (predict_atoms(m, crystal(), m.heads[0]) for m in (model, again))
    assert float(one.energy) == float(other.energy)


def test_a_head_must_be_named_where_there_are_several():
    several = random_model(SMALL)
    with pytest.raises(ValueError, match="has the heads low, high, each of another level"):
        MaceCalculator(several)
    with pytest.raises(ValueError, match="no head 'middle'; it has low, high"):
        MaceCalculator(several, head="middle")


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 11}, "charge 11; the model knows whole numbers from -10 to 10"),
        ({"charge": 0.5}, "charge 0.5; the model knows whole numbers"),
        ({"spin": 0}, r"spin \(multiplicity, 2S \+ 1\) 0; .* from 1 to 10"),
    ],
)
def test_what_the_model_has_no_row_for_is_refused(info, message):
    atoms = crystal()
    atoms.info |= info
    with pytest.raises(ValueError, match=message):
        predict_atoms(random_model(CHARGED), atoms)


def charged_frames(tmp_path, model=None):
    """Four frames of two geometries, each with charge and multiplicity of its own.

    With the energies and forces of `model`.
    """
    frames = []
    for seed, info in enumerate(({}, {"charge": -1, "spin": 2}, {"spin": 3})):
        atoms = crystal()
        atoms.rattle(0.05, seed=seed)
        atoms.info |= info
        frames.append(atoms)
    frames.append(frames[0].copy())  # in another state
    frames[3].info["charge"] = 2
    for number, atoms in enumerate(frames):
        found = predict_atoms(model, atoms) if model else None
        atoms.info["REF_energy"] = float(found.energy) if found else -1.0 * number
        atoms.arrays["REF_forces"] = np.array(found.forces if found else atoms.positions)
    ase.io.write(tmp_path / "frames.extxyz", frames)
    return read_frames([tmp_path / "frames.extxyz"]), frames


def test_frames_of_a_batch_have_charges_of_their_own(tmp_path):
    """Two in a batch, and padding: each as the calculator has it alone."""
    model = random_model(CHARGED)
    frames, atoms = charged_frames(tmp_path, model)
    found = predictions(model, frames, batch_size=3)
    for frame, one in zip(found, atoms, strict=True):
        assert frame.energy == pytest.approx(one.info["REF_energy"], rel=1e-8)
        # extxyz keeps 8 decimals of a position
        expected = one.arrays["REF_forces"]
        size = np.abs(expected).max()
        np.testing.assert_allclose(frame.forces, expected, rtol=0, atol=1e-7 * size)
    states = found[0].energy - found[3].energy, found[0].forces - found[3].forces
    assert min(np.abs(state).max() for state in states) > 1e-3  # it is not the geometry
    (errors,) = error_table(model, {"all": frames}, batch_size=3)
    assert errors.energy_rmse < 0.01
    assert errors.forces_relative < 1e-4


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 11}, r"frame 1: charge 11.0; the model knows .* Remove the frame\."),
        ({"charge": 0.5}, "frame 1: charge 0.5"),
        ({"charge": "one"}, "frame 1: charge nan"),
        ({"spin": 0}, r"frame 1: spin \(multiplicity, 2S \+ 1\) 0"),
    ],
)
def test_frames_that_the_model_has_no_row_for_are_refused(tmp_path, info, message):
    atoms, other = crystal(), crystal()
    other.rattle(0.02, seed=8)  # a frame of its own
    other.info |= info
    for frame in (atoms, other):
        frame.info["REF_energy"] = -1.0
    ase.io.write(tmp_path / "frames.extxyz", [atoms, other])
    frames = read_frames([tmp_path / "frames.extxyz"], Keys(needed=("energy",)))
    assert len(graphs_of(random_model(SMALL), frames)) == 2  # knows no charge
    with pytest.raises(ValueError, match=message):
        graphs_of(random_model(CHARGED), frames)


def test_states_of_one_geometry_contradict_each_other_without_charges(tmp_path):
    frames, _ = charged_frames(tmp_path)
    assert len(graphs_of(random_model(CHARGED), frames)) == 4
    with pytest.raises(ValueError, match="have the geometry of an earlier one with other"):
        graphs_of(random_model(SMALL), frames)


def test_charge_changes_energy_and_isolated_atoms():
    charged = random_model(CHARGED)
    other = charged.with_charge(1, 2)
    assert not np.allclose(charged.isolated, other.isolated)
    one, two = (predict_atoms(m, crystal()).forces for m in (charged, other))
    atoms = crystal()
    atoms.info |= {"charge": 1, "spin": 2}
    np.testing.assert_array_equal(predict_atoms(charged, atoms).forces, two)
    assert np.abs(np.asarray(one) - two).max() > 1e-4
