import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list

from jaxdiff import neighbor_cells
from jaxdiff import neighbors as lists

CUTOFF, SKIN = 5.0, 0.5
CELLS = {  # cell, atoms: wide (one image), narrow, and skewed ones
    "wide": (np.diag([15.0, 16.0, 17.0]), 60),
    "narrow": (np.diag([4.0, 5.0, 6.0]), 8),
    "between": (np.diag([7.0, 12.0, 10.9]), 20),
    "skewed": (np.array([[7.0, 0, 0], [3, 8, 0], [-2, 3, 9]]), 20),
    "left-handed": (np.array([[3, 8, 0], [7.0, 0, 0], [-2, 3, 9]]), 20),
    "wide skewed": (np.array([[20.0, 0, 0], [9, 18, 0], [-8, 7, 19]]), 80),
    "primitive": (np.array([[2.0, 2, 0], [0, 2, 2], [2, 0, 2]]), 2),
}
device_update = jax.jit(lists.update, static_argnums=(3, 4))


@pytest.fixture(params=CELLS, name="crystal")
def _crystal(request):
    """Atoms at random, some of them far outside of the cell."""
    cell, n_atoms = CELLS[request.param]
    rng = np.random.default_rng(7)
    return rng.uniform(-2, 3, (n_atoms, 3)) @ cell, cell


def edges(neighbors):
    sender, shift = np.asarray(neighbors.sender), np.asarray(neighbors.shift)
    i, k = np.nonzero(sender < len(sender))
    return set(map(tuple, np.column_stack([i, sender[i, k], shift[i, k]])))


def test_host_list_is_that_of_ase(crystal):
    position, cell = crystal
    reference = primitive_neighbor_list("ijS", [True] * 3, cell, position, CUTOFF + SKIN)
    built = lists.allocate(position, cell, CUTOFF, SKIN)
    assert edges(built) == set(map(tuple, np.column_stack(reference)))


def test_device_list_is_the_host_list(crystal):
    """From a list of other positions; same pairs, same images, same order."""
    position, cell = crystal
    host = lists.allocate(position, cell, CUTOFF, SKIN)
    other = lists.allocate(position[::-1] * 0.9, cell, CUTOFF, SKIN, capacity=150)
    device = device_update(jnp.asarray(position), jnp.asarray(cell), other, CUTOFF, SKIN)
    host = lists.grow(host, 150)
    for field in dataclasses.fields(lists.Neighbors):
        got, expected = getattr(device, field.name), getattr(host, field.name)
        np.testing.assert_array_equal(got, expected, err_msg=field.name)


@pytest.mark.parametrize(
    "cell",
    [
        np.diag([17.0, 18.0, 22.5]),
        np.array([[20.0, 0, 0], [9, 23, 0], [-8, 7, 24]]),
        np.array([[9.0, 23, 0], [20, 0, 0], [-8, 7, 24]]),
    ],
    ids=["upright", "skewed", "left-handed"],
)
def test_a_list_by_cells_is_the_host_list(cell, monkeypatch):
    """Same pairs, images, places and order, from a list of other positions."""
    monkeypatch.setattr(neighbor_cells, "LEAST_ATOMS", 300)
    monkeypatch.setattr(lists, "_MAX_CANDIDATES", 299)  # of lists from all pairs
    rng = np.random.default_rng(11)
    position = rng.uniform(-2, 3, (300, 3)) @ cell
    position[0] = 0.0, 0.0, -1e-17  # its fraction of the cell rounds to 1
    host = lists.allocate(position, cell, CUTOFF, SKIN, headroom=2.0)
    assert min(host.grid.cells) == 3
    other = lists.allocate(
        rng.permutation(position) * 0.9, cell, CUTOFF, SKIN, capacity=host.capacity
    )
    device = device_update(jnp.asarray(position), jnp.asarray(cell), other, CUTOFF, SKIN)
    for field in ("sender", "shift", "reverse", "overflow"):
        np.testing.assert_array_equal(getattr(device, field), getattr(host, field), field)
    full = dataclasses.replace(other, grid=other.grid._replace(places=8))
    full = device_update(jnp.asarray(position), jnp.asarray(cell), full, CUTOFF, SKIN)
    assert full.overflow
    assert lists.is_covered(jnp.asarray(cell), host)
    assert not lists.is_covered(jnp.asarray(cell) * 0.9, host)


def test_boxes_too_narrow_or_small_have_no_cells():
    wide = np.eye(3)[None] * 30.0
    position = np.random.default_rng(0).uniform(0, 30, (1, 2000, 3))
    assert neighbor_cells.grid_for(position, wide, 5.5).cells == (5, 5, 5)
    assert neighbor_cells.grid_for(position, wide, 5.5, compression=0.1).cells == (4, 4, 4)
    assert neighbor_cells.grid_for(position[:, :1999], wide, 5.5) is None
    assert neighbor_cells.grid_for(position, wide, 10.1) is None


def test_displacements_are_receiver_minus_sender(crystal):
    position, cell = crystal
    built = lists.allocate(position, cell, CUTOFF, SKIN)
    vector = lists.displacement(jnp.asarray(position), jnp.asarray(cell), built)
    distance = np.linalg.norm(vector, axis=-1)
    used = np.asarray(built.sender) < len(position)
    assert (distance[used] < CUTOFF + SKIN).all()
    np.testing.assert_array_equal(distance[~used], lists.PADDING_DISTANCE)
    i, j, vector_ij = primitive_neighbor_list(
        "ijD", [True] * 3, cell, position, CUTOFF + SKIN
    )
    np.testing.assert_allclose(
        np.asarray(vector)[used].sum(0), -vector_ij.sum(0), atol=1e-9
    )
    for atom in range(len(position)):
        np.testing.assert_allclose(
            np.asarray(vector)[atom][used[atom]].sum(0),
            -vector_ij[i == atom].sum(0),
            atol=1e-9,
        )


def test_reverse_is_the_same_pair_from_the_other_side(crystal):
    position, cell = crystal
    built = lists.allocate(position, cell, CUTOFF, SKIN)
    sender, shift = np.asarray(built.sender), np.asarray(built.shift)
    i, k = np.nonzero(sender < len(position))
    row, place = np.divmod(np.asarray(built.reverse)[i, k], built.capacity)
    np.testing.assert_array_equal(row, sender[i, k])
    np.testing.assert_array_equal(sender[row, place], i)
    np.testing.assert_array_equal(shift[row, place], -shift[i, k])
    grown = lists.grow(built, built.capacity + 3)
    fresh = lists.allocate(position, cell, CUTOFF, SKIN, capacity=built.capacity + 3)
    np.testing.assert_array_equal(grown.reverse, fresh.reverse)


def test_within_the_cutoff_are_the_pairs_of_a_list_without_skin(crystal):
    """Of atoms that have moved since the list was made; same order, same places back."""
    position, cell = crystal
    cutoff = 4.97  # an edge of a cell is 5 Å, and pairs at the cutoff itself may be either
    moved = position + np.random.default_rng(2).uniform(-0.14, 0.14, position.shape)
    x, cell = jnp.asarray(moved), jnp.asarray(cell)
    tight = lists.allocate(moved, cell, cutoff, 0.0, headroom=1.0)
    built = lists.allocate(position, cell, CUTOFF, SKIN, close=tight.capacity + 2)
    vector, sender, reverse = lists.within(x, cell, built, cutoff)
    tight = lists.grow(tight, tight.capacity + 2)
    np.testing.assert_array_equal(sender, tight.sender)
    np.testing.assert_array_equal(reverse, tight.reverse)
    np.testing.assert_array_equal(vector, lists.displacement(x, cell, tight))
    assert not lists.is_crowded(x, cell, built, cutoff)
    fewer = dataclasses.replace(built, close=tight.capacity - 3)
    assert lists.is_crowded(x, cell, fewer, cutoff)
    all_of_them = dataclasses.replace(built, close=None)
    assert lists.within(x, cell, all_of_them, cutoff)[1] is built.sender
    assert not lists.is_crowded(x, cell, all_of_them, cutoff)


def test_lattice_translations_of_atoms_change_shifts_only(crystal):
    position, cell = crystal
    moved = position + np.random.default_rng(1).integers(-3, 4, position.shape) @ cell
    first, second = (lists.allocate(p, cell, CUTOFF, SKIN) for p in (position, moved))
    distances = []
    for x, built in ((position, first), (moved, second)):
        vector = lists.displacement(jnp.asarray(x), jnp.asarray(cell), built)
        distances.append(np.sort(np.linalg.norm(vector, axis=-1)))
    np.testing.assert_allclose(*distances, atol=1e-9)


def test_padding_carries_no_gradient():
    position = jnp.asarray([[0.0, 0, 0], [1.5, 0, 0]])
    cell = 20 * jnp.eye(3)
    built = lists.allocate(position, cell, 2.0, 0.0, capacity=4)

    def total(x):
        return jnp.sum(jnp.linalg.norm(lists.displacement(x, cell, built), axis=-1))

    np.testing.assert_allclose(jax.grad(total)(position), [[-2, 0, 0], [2, 0, 0]])


def test_overflow_is_flagged_and_stays():
    rng = np.random.default_rng(3)
    cell = np.diag([12.0, 12.0, 12.0])
    spread = rng.uniform(0, 12, (40, 3))
    built = lists.allocate(spread, cell, 3.0, 0.5, headroom=1.0)
    args = jnp.asarray(cell), built, 3.0, 0.5
    crowded = device_update(jnp.asarray(spread * 0.3), *args)
    assert bool(crowded.overflow)
    again = device_update(jnp.asarray(spread), args[0], crowded, 3.0, 0.5)
    assert bool(again.overflow)
    with pytest.raises(ValueError, match="has overflowed lacks pairs"):
        lists.grow(crowded, 100)


def test_only_replicas_that_moved_are_rebuilt():
    cell = 12 * np.eye(3)
    position = np.random.default_rng(3).uniform(0, 12, (3, 30, 3))
    built = lists.allocate(position, cell, 4.0, 0.6)
    moved = jnp.asarray(position).at[1, 4, 2].add(0.301).at[2, 4, 2].add(0.299)
    new = jax.jit(lists.refresh, static_argnums=(3, 4))(
        moved, jnp.asarray([cell] * 3), built, 4.0, 0.6
    )
    changed = np.any(np.asarray(new.reference) != np.asarray(built.reference), axis=(1, 2))
    np.testing.assert_array_equal(changed, [False, True, False])
    fresh = lists.allocate(moved, cell, 4.0, 0.6, capacity=built.capacity)
    np.testing.assert_array_equal(new.sender[1], fresh.sender[1])
    np.testing.assert_array_equal(new.sender[2], built.sender[2])


def test_rebuilding_is_never_turned_into_a_selection():
    """The search for pairs is inside a loop over moved replicas, not beside it."""
    cell = jnp.asarray(12 * np.eye(3))
    built = lists.allocate(np.zeros((2, 3, 3)) + np.eye(3), cell, 4.0, 0.6)
    cells = jnp.stack([cell] * 2)
    jaxpr = jax.make_jaxpr(lambda x: lists.refresh(x, cells, built, 4.0, 0.6))(
        built.reference
    )
    outside = str([eqn for eqn in jaxpr.eqns if eqn.primitive.name != "while"])
    assert "cumsum" not in outside
    assert any("cumsum" in str(e) for e in jaxpr.eqns if e.primitive.name == "while")


def test_moved_by_more_than_half_the_skin():
    cell, position = 12 * np.eye(3), np.random.default_rng(0).uniform(0, 12, (5, 3))
    built = lists.allocate(position, cell, 4.0, 1.0)

    def moved(new):
        return bool(lists.has_moved(jnp.asarray(new), jnp.asarray(cell), built, 4.0, 1.0))

    assert not moved(position + 0.28)  # |d| = 0.485
    assert moved(position + 0.29)  # |d| = 0.502
    position[1, 0] = np.nan
    assert moved(position)


@pytest.mark.parametrize("scale", [0.97, 0.985, 1.0, 1.02])
def test_a_list_lasts_while_the_cell_is_scaled_until_it_would_lack_a_pair(scale):
    """Atoms at the largest displacement allowed, in random directions: no pair is lost."""
    rng = np.random.default_rng(4)
    cell, position = 11 * np.eye(3), rng.uniform(0, 11, (60, 3))
    cutoff, skin = 4.0, 0.5
    built = lists.allocate(position, cell, cutoff, skin)
    allowed = (scale * (cutoff + skin) - cutoff) / 2
    away = rng.normal(size=position.shape)
    away *= allowed / np.linalg.norm(away, axis=1, keepdims=True)

    def moved(factor):
        new = jnp.asarray(scale * position + factor * away)
        return bool(lists.has_moved(new, jnp.asarray(scale * cell), built, cutoff, skin))

    assert not moved(1 - 1e-9)
    assert moved(1 + 1e-9)
    vector = lists.displacement(
        jnp.asarray(scale * position + away), jnp.asarray(scale * cell), built
    )
    found = int((np.linalg.norm(vector, axis=-1) < cutoff).sum())
    fresh, _ = lists.neighbor_rows(scale * position + away, scale * cell, cutoff)
    assert found == int((fresh < len(position)).sum())


@pytest.mark.parametrize("edge", [7.0, 8.9, 9.1, 13.0, 17.9, 18.1, 30.0])
def test_a_cell_that_shrinks_is_covered_until_it_needs_more_images(edge):
    """Skewed and not: what `allocate` would choose for the smaller cell is the judge."""
    for skew in (0.0, 0.3):
        cell = edge * (np.eye(3) + skew * np.eye(3, k=1))
        built = lists.allocate(np.zeros((1, 3)), cell, 8.5, 0.5, capacity=700)
        for scale in np.linspace(1.0, 0.603, 41):
            smaller = lists.allocate(
                np.zeros((1, 3)), scale * cell, 8.5, 0.5, capacity=3000
            )
            enough = all(np.asarray(smaller.images) <= np.asarray(built.images))
            seen = bool(lists.is_covered(jnp.asarray(scale * cell), built))
            assert seen == enough, (skew, scale)


def test_isolated_atoms_and_open_boundaries():
    position = np.array([[0.0, 0, 0], [0, 0, 1.5], [0, 30.0, 0]])
    sender, shift = lists.neighbor_rows(position, np.zeros((3, 3)), 2.0, (False,) * 3)
    np.testing.assert_array_equal(sender, [[1], [0], [3]])
    assert not shift.any()
    slab = np.array([[5.0, 0, 0], [0, 5.0, 0], [0, 0, 0]])
    sender, _ = lists.neighbor_rows(position[:2], slab, 5.5, (True, True, False))
    assert (sender < 2).sum() == 2 * 4 + 2 * 5  # own images; the other atom and its images


def test_radius_of_the_update_must_be_that_of_the_list():
    built = lists.allocate(np.eye(3), 12 * np.eye(3), 4.0, 0.5)
    with pytest.raises(ValueError, match=r"cutoff \+ skin = 5.5 Å, but the list"):
        lists.update(jnp.eye(3), 12 * jnp.eye(3), built, 5.0, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoff": -1.0}, "cutoff=-1.0 Å; it must be positive"),
        ({"skin": -0.1}, "skin=-0.1 Å; it must be 0 or more"),
        ({"position": np.full((2, 3), np.nan)}, "position is not finite"),
        ({"cell": np.zeros((3, 3))}, "volume 0.0 Å"),
        ({"cutoff": 400.0}, "Use a larger supercell or a smaller cutoff"),
        ({"capacity": 1, "cutoff": 11.0}, "capacity=1, but an atom has"),
    ],
)
def test_what_cannot_be_listed(change, message):
    given = {"position": np.eye(3)[:2], "cell": 10 * np.eye(3), "cutoff": 4.0, "skin": 0.5}
    with pytest.raises(ValueError, match=message):
        lists.allocate(**(given | change))
