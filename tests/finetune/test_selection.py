"""Selection against brute force, and what must not change it."""

import jax
import numpy as np
import pytest
from ase.build import bulk

from jaxdiff.calculator import predict_atoms
from jaxdiff.checkpoints import restrict
from jaxdiff.descriptors import describe_atoms
from jaxdiff.finetune.environments import (
    Around,
    check_committee,
    committee_deviation,
    described_atoms,
    frame_environments,
)
from jaxdiff.finetune.selection import (
    choose_by_type,
    farthest_points,
    force_deviation,
    highest_within,
    stack_environments,
)
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.models.mace.initial import initialize
from jaxdiff.system import to_ase


def frames_of(counts, seed=0, features=5):
    """Random descriptors, so many environments in each frame."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, features)) for n in counts]


def brute_force(frames, count, given=()):
    """Farthest-point sampling by plain loops over pairs of environments."""
    chosen, value, near = [], [], list(given)
    if not near:
        mean = np.array([f.mean(axis=0) for f in frames])
        chosen.append(int(np.argmax(np.linalg.norm(mean - mean.mean(axis=0), axis=1))))
        value.append(np.nan)
        near.append(frames[chosen[0]])

    def distance(frame):
        return max(min(np.linalg.norm(a - b) for f in near for b in f) for a in frame)

    while len(chosen) < count:
        rest = [k for k in range(len(frames)) if k not in chosen]
        all_of_rest = [distance(frames[k]) for k in rest]
        best = int(np.argmax(all_of_rest))
        chosen.append(rest[best])
        value.append(all_of_rest[best])
        near.append(frames[rest[best]])
    left = max((distance(f) for k, f in enumerate(frames) if k not in chosen), default=0)
    return chosen, value, left


@pytest.mark.parametrize("count", [1, 7, 23])
@pytest.mark.parametrize("given", [0, 3])
@pytest.mark.parametrize("widest", [1, 6])
def test_order_and_distances_are_those_of_brute_force(count, given, widest):
    number = np.random.default_rng(5).integers(1, widest + 1, 23)
    frames, known = frames_of(number), frames_of([2] * given, seed=1)
    order, value, left = brute_force(frames, count, known)
    conditioned = stack_environments(known) if given else None
    found = farthest_points(stack_environments(frames), count, conditioned)
    assert found.index.tolist() == order
    assert found.value.dtype == np.float64
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    assert found.left == pytest.approx(left, rel=1e-12, abs=1e-12)


def test_distances_fall_and_the_last_one_left_is_the_next():
    pool = stack_environments(frames_of([3] * 30))
    value = farthest_points(pool, 30).value[1:]
    assert (np.diff(value) <= 0).all()
    for count in (1, 5, 29):
        assert farthest_points(pool, count).left == value[count - 1]


def test_duplicates_come_after_all_others():
    """Copies, their environments in another order, have a distance of exactly zero."""
    frames = frames_of([4] * 9, seed=2)
    pool = stack_environments([*frames, *(f[::-1] + 0.0 for f in frames)])
    found = farthest_points(pool, 18)
    assert sorted(found.index[:9] % 9) == list(range(9))
    assert (found.value[1:9] > 0.1).all()
    assert (found.value[9:] == 0).all()
    assert sorted(found.index) == list(range(18))


@pytest.mark.parametrize("row", [0, 4, 8])
def test_a_copy_of_a_given_frame_comes_last(row):
    frames = frames_of([4] * 9, seed=3)
    found = farthest_points(
        stack_environments(frames), 9, stack_environments([frames[row]])
    )
    assert found.index[-1] == row
    assert found.value[-1] == 0


@pytest.fixture(scope="module")
def hot_crystals():
    """Cells of 16 atoms at several volumes and temperatures."""
    frames = []
    for k in range(8):
        atoms = bulk("LiF", "rocksalt", a=3.9 + 0.05 * (k % 4), cubic=True) * (2, 1, 1)
        atoms.rattle(0.02 + 0.04 * (k % 3), seed=k)
        frames.append(atoms)
    return frames


def described(model, frames, around):
    return [frame_environments(model, atoms, Around(around))[0] for atoms in frames]


@pytest.mark.parametrize("around", ["all", "Li"])
def test_order_of_atoms_and_place_in_space_do_not_matter(model, hot_crystals, around):
    rng = np.random.default_rng(0)
    moved = []
    for atoms in hot_crystals:
        other = atoms[rng.permutation(len(atoms))]
        other.translate(rng.normal(size=3))
        other.wrap()
        other.rotate(rng.uniform(0, 360), rng.normal(size=3), rotate_cell=True)
        moved.append(other)
    first, second = (
        farthest_points(stack_environments(described(model, f, around)), len(f))
        for f in (hot_crystals, moved)
    )
    assert first.index.tolist() == second.index.tolist()
    np.testing.assert_allclose(first.value, second.value, rtol=0, atol=1e-10)
    assert (first.value[1:] > 1e-6).all()  # no ties


def test_atoms_around_a_defect():
    system = rock_salt_interstitial(3, 4.08, site=5)
    atoms = to_ase(system)
    expected = atoms.get_distances(108, range(len(atoms)), mic=True) < 3.0
    near = described_atoms(atoms, Around("defect", radius=3.0))
    # itself, 4 Li and 4 F at √3a/4 = 1.77 Å; the next ones are at √11a/4 = 3.38 Å
    assert near.sum() == 9
    np.testing.assert_array_equal(near, expected)
    assert described_atoms(atoms, Around("defect", radius=3.4)).sum() == 9 + 24


def test_without_a_defect_all_atoms_are_described(model):
    atoms = bulk("LiF", "rocksalt", a=4.08, cubic=True) * 2
    feature, found = frame_environments(model, atoms, Around("defect"))
    assert not found
    np.testing.assert_array_equal(feature, describe_atoms(model, atoms))
    lithium, found = frame_environments(model, atoms, Around("Li"))
    assert found
    np.testing.assert_array_equal(lithium, feature[atoms.numbers == 3])


def test_defects_need_rock_salt():
    slab = bulk("LiF", "rocksalt", a=4.08, cubic=True) * 2
    slab.pbc = (True, True, False)
    with pytest.raises(ValueError, match="periodic crystals of Li and anions"):
        described_atoms(slab, Around("defect"))
    primitive = bulk("LiF", "rocksalt", a=4.08) * 4
    message = "not a supercell of conventional cells of rock salt"
    with pytest.raises(ValueError, match=message):
        described_atoms(primitive, Around("defect"))


def test_two_models_on_one_atom_are_half_their_difference_apart():
    forces = np.zeros((2, 3, 3))
    forces[:, 1] = [[1.0, 2.0, 3.0], [1.0, 5.0, 7.0]]  # 5 eV/Å apart
    np.testing.assert_allclose(force_deviation(forces), [0.0, 2.5, 0.0])


@pytest.mark.slow
def test_committee_against_separate_evaluations(model, hot_crystals):
    energies = np.array([[-1.0, -2.0]])
    others = [
        initialize(
            model.architecture,
            jax.random.key(k),
            atomic_energies=energies,
            dtype=np.dtype("float64"),
        )
        for k in (4, 5)
    ]
    committee = [model, *others]
    for atoms in hot_crystals[:2]:
        each = [predict_atoms(m, atoms) for m in committee]
        largest = 0.0
        for i in range(len(atoms)):
            f = [np.asarray(p.forces)[i] for p in each]
            mean = sum(f) / 3
            largest = max(largest, (sum(((g - mean) ** 2).sum() for g in f) / 3) ** 0.5)
        e = [float(p.energy) / len(atoms) for p in each]
        energy = (sum((x - sum(e) / 3) ** 2 for x in e) / 3) ** 0.5
        found = committee_deviation(committee, atoms)
        assert found.force == pytest.approx(largest, rel=1e-9)
        assert found.energy == pytest.approx(energy, rel=1e-9)
        assert found.force > 1e-3
        assert committee_deviation([model, model], atoms).force == 0


def test_highest_within_bounds():
    deviation = np.array([0.1, 0.5, 0.3, 0.9, 0.3, 0.7])
    found = highest_within(deviation, 3, 0.2, 0.8)
    assert found.index.tolist() == [5, 1, 2]
    assert found.value.tolist() == [0.7, 0.5, 0.3]
    assert found.left == 0.3  # the last one within
    fewer = highest_within(deviation, 6, 0.3, 0.7)
    assert fewer.index.tolist() == [5, 1, 2, 4]
    assert fewer.left == 0
    with pytest.raises(ValueError, match="none of 6 frames .* from 1 to 2 eV/Å; they go"):
        highest_within(deviation, 3, 1.0, 2.0)


def test_each_type_by_itself():
    frames = frames_of([1] * 12, seed=4)
    kinds = ["bulk", "interstitial", "other"] * 4
    pool = [np.array(frames[k::3]) for k in range(3)]

    def choose(rows, count):
        return farthest_points(stack_environments([frames[r] for r in rows]), count)

    found = choose_by_type(kinds, {"interstitial": 3, "bulk": 2}, choose)
    second, first = brute_force(pool[1], 3), brute_force(pool[0], 2)
    assert found.index.tolist() == [3 * k + 1 for k in second[0]] + [
        3 * k for k in first[0]
    ]
    assert found.left == pytest.approx(max(second[2], first[2]))
    message = "5 frames of config_type bulk .* there are 4; .* bulk: 4, interstitial: 4"
    with pytest.raises(ValueError, match=message):
        choose_by_type(kinds, {"bulk": 5}, choose)


@pytest.mark.parametrize("count", [0, 4])
def test_count_is_checked(count):
    with pytest.raises(ValueError, match=f"{count} frames cannot be chosen from 3"):
        farthest_points(stack_environments(frames_of([1, 2, 1])), count)
    with pytest.raises(ValueError, match=f"{count} frames cannot be chosen from 3"):
        highest_within(np.ones(3), count, 0, 2)


def test_what_is_no_committee(model):
    with pytest.raises(ValueError, match="a committee of 1 model cannot disagree"):
        check_committee([model], ["a"])

    with pytest.raises(ValueError, match="b knows 1 elements, a 2, and they are not"):
        check_committee([model, restrict(model, [3])], ["a", "b"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"atoms": "Xy"}, "around 'Xy' is not known; give all, defect or the symbol"),
        ({"atoms": "defect", "radius": 0.0}, "a radius of 0.0 Å; it must be positive"),
        ({"atoms": "defect", "mobile": "Q"}, "mobile 'Q' is no element"),
    ],
)
def test_around_is_checked(values, message):
    with pytest.raises(ValueError, match=message):
        Around(**values)
