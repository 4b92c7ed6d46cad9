"""Ends of a path that are no minima, and tops with several ways down."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from surfaces import ClosedForm, Toy, with_force

from jaxdiff.objectives import barrier as barriers
from jaxdiff.objectives.band import Band
from jaxdiff.objectives.barrier import SearchFailed, Settings
from jaxdiff.objectives.paths import Path, lithium_path
from jaxdiff.objectives.relax import relaxed
from jaxdiff.objectives.saddle import lowest_modes

SETTINGS = Settings(n_images=5)


@struct.dataclass
class Hills(ClosedForm):
    """Minima at (±1, ±√½), saddles between them, a top with two ways down at the origin.

    An atom on hills, springs along z, and a heavy one that stays.
    """

    def energy_and_force(self, model, position):
        return hills(position)


@with_force
def hills(position):
    (x, y, z), rest = position[0], position[1]
    height = x**4 - 2 * x**2 + y**4 - y**2 + 5 * z**2 + 5 * jnp.sum(rest**2)
    return 0.1 * height


SYSTEM = lithium_path("vacancy", (1, 1, 1)).system
SURFACE = Hills(mass=jnp.array([7.0, 1e6]), cell=100 * jnp.eye(3))
MODEL = Toy({})


def place(x, y):
    return jnp.array([[x, y, 0.0], [0.0, 0.0, 0.0]])


def settled(x, y):
    return relaxed(hills, place(x, y), 1, 1e-3)


def path(first, last):
    return Path("a path", SYSTEM, place(*first), place(*last))


def minimum(x, y, way):
    return barriers._minimum(MODEL, SURFACE, way, SETTINGS, "start", settled(x, y))


SIDE = np.sqrt(0.5)


def test_a_minimum_is_taken_as_it_is():
    end, modes = minimum(1.0, SIDE, path((1, SIDE), (-1, SIDE)))
    np.testing.assert_array_equal(end.position, place(1.0, SIDE))
    assert modes.n_negative == 0


def test_an_end_on_a_saddle_is_pushed_off_it():
    """Symmetry held it there: (1, 0) lies between two minima, 0.7 Å away."""
    assert lowest_modes(product, place(1.0, 0.0), SURFACE.mass).n_negative == 1
    end, modes = minimum(1.0, 0.0, path((1, 0), (-1, 0)))
    np.testing.assert_allclose(np.abs(end.position[0, :2]), [1, SIDE], atol=5e-3)
    assert modes.n_negative == 0


def test_an_end_that_falls_to_another_site_is_refused():
    with pytest.raises(SearchFailed, match=r"no minimum.*0\.025 eV lower.*0\.71 Å"):
        minimum(1.0, 0.0, path((1, 0), (0.2, 0)))


def product(position, vector):
    return barriers.hessian_product(SURFACE, MODEL, position, vector)


def through(first, last, again=True):
    """From a band over the top, which has two ways down."""
    positions = jnp.stack([place(*first), place(0.0, 0.0), place(*last)])
    energy, force = zip(*map(hills, positions), strict=True)
    whole = jnp.asarray(0.0), jnp.asarray(1), jnp.asarray(True)
    band = Band(positions, jnp.stack(energy), jnp.stack(force), *whole)
    top, modes = barriers._top(MODEL, SURFACE, band, SETTINGS)
    assert modes.n_negative == 2
    given = (path(first, last), SETTINGS, band, top, modes, again)
    return barriers._through_saddle(MODEL, SURFACE, *given)


@pytest.mark.parametrize("side", [SIDE, -SIDE])
def test_the_path_goes_through_the_saddle_that_joins_its_ends(side):
    """On the side that its ends lie on, to whichever side the mode points."""
    position = through((-1.0, side), (1.0, side))
    assert len(position) == SETTINGS.n_images + 2
    np.testing.assert_allclose(position[3, 0], [0.0, side, 0.0], atol=5e-3)


def test_a_saddle_that_joins_other_minima_is_the_reason():
    with pytest.raises(SearchFailed, match=r"0\.100 eV .* an end to another minimum"):
        through((-1.0, -SIDE), (1.0, SIDE))


def test_it_is_tried_once():
    with pytest.raises(SearchFailed, match="another way"):
        through((-1.0, SIDE), (1.0, SIDE), again=False)
