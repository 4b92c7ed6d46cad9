"""Formation energies of point defects in LiF that need no reference but the crystal.

An interstitial or a vacancy alone changes the number of atoms, and its energy is one of a
reservoir as well. Two of them together do not, and each may have a cell of its own:

    Frenkel:   E(Li_i) + E(V_Li) - 2 E
    Schottky:  E(V_Li) + E(V_F) - 2 E + E / (number of LiF)

E is that of the perfect cell: these are energies of pairs that are far apart, less the
interaction of each with its own images. A model without charges sees neutral cells; what it
makes of a lone vacancy is what its data held. One that takes charges is given those of the
ions, so that every cell has closed shells.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.lattice.lithium_fluoride import rock_salt, rock_salt_interstitial
from jaxdiff.models.contract import Model, Term
from jaxdiff.objectives.relax import minimum_on
from jaxdiff.objectives.surface import evaluate, make_surface
from jaxdiff.system import System

CHARGE = {"interstitial": 1, "Li vacancy": -1, "F vacancy": 1}
"""Of a cell with the defect, e, for models that take it."""

_RATTLE = 0.05  # Å: a symmetric place may be no minimum


@dataclasses.dataclass(frozen=True)
class PairEnergies:
    """Of formation, eV, for defects that are far apart."""

    frenkel_ev: float
    schottky_ev: float


def pair_energies(
    model: Model,
    supercell: tuple[int, int, int],
    lattice_constant: float,
    terms_of: Callable[[System], tuple[Term, ...]] = lambda system: (),
    *,
    largest_force: float = 1e-3,
    max_steps: int = 1000,
) -> PairEnergies:
    """Frenkel and Schottky pairs of LiF.

    - `model`: of Li and F, in float64. `lattice_constant`, Å: that of the model at rest.
    - `terms_of`: energies beside that of the model, for a system.

    Raises `ValueError` where a defect is not at rest after `max_steps`.
    """
    perfect = rock_salt(supercell, lattice_constant)
    surface = make_surface(model, perfect, terms_of(perfect))
    crystal = float(evaluate(surface, model, jnp.asarray(perfect.position))[0])
    energy = {}
    for name, system in _defects(perfect, lattice_constant, supercell):
        own = model.with_charge(CHARGE[name], 1)
        surface = make_surface(own, system, terms_of(system))
        found = minimum_on(surface, own, _rattled(system), largest_force, max_steps)
        if not found.converged:
            raise ValueError(
                f"the {name} has forces up to {float(found.largest_force):.2g} eV/Å after "
                f"{max_steps} steps, and {largest_force} is asked for."
            )
        energy[name] = float(found.energy)
    n_pairs = perfect.n_atoms // 2
    pair = energy["Li vacancy"] - 2 * crystal
    return PairEnergies(
        frenkel_ev=energy["interstitial"] + pair,
        schottky_ev=energy["F vacancy"] + pair + crystal / n_pairs,
    )


def _defects(perfect: System, lattice_constant: float, supercell: tuple[int, int, int]):
    yield "interstitial", rock_salt_interstitial(supercell, lattice_constant)
    yield "Li vacancy", _without(perfect, 0)
    yield "F vacancy", _without(perfect, -1)


def _without(system: System, atom: int) -> System:
    rest = {
        name: np.delete(getattr(system, name), atom, axis=0)
        for name in ("atomic_number", "mass", "position")
    }
    return dataclasses.replace(system, **rest)


def _rattled(system: System) -> Float[Array, "atoms 3"]:
    noise = np.random.default_rng(0).normal(size=system.position.shape)
    return jnp.asarray(system.position + _RATTLE * noise)
