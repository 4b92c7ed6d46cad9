r"""Harmonic vibrations of a crystal, for the waves that fit into a supercell.

The columns of the Hessian that belong to the atoms of one cell have all force constants of
the supercell; the dynamical matrix of a wave vector q is their Fourier sum,

$$ D_{ab}(q) = \frac{1}{\sqrt{m_a m_b}} \sum_R H_{0a, Rb}\, e^{i q \cdot R} $$

(M. Born and K. Huang, Dynamical Theory of Crystal Lattices, 1954). For the waves that fit
into the supercell it is exact whatever the range of the forces, and their frequencies are
those of the supercell's whole Hessian. There is no term of long-range fields: at Γ
longitudinal and transverse optical modes of a cubic crystal have one frequency.
"""

import dataclasses
import itertools
from fractions import Fraction

import ase
import jax
import jax.numpy as jnp
import numpy as np
from ase.build import make_supercell
from jaxtyping import Array, Complex, Float, Int

from jaxdiff.models.contract import Model, Term
from jaxdiff.objectives.saddle import THZ
from jaxdiff.objectives.surface import Surface, hessian_product, make_surface
from jaxdiff.system import from_ase

IMAGINARY = 0.01
"""Imaginary frequencies up to this, THz, are rounding."""


@dataclasses.dataclass(frozen=True)
class Phonons:
    """Frequencies of the waves that fit into a supercell; that of Γ is the first.

    - `wave` [waves, 3]: q as multiples of the reciprocal vectors of the cell.
    - `frequency_thz` [waves, modes], ascending; imaginary ones are negative. At Γ the three
      translations are left out, and their places are not numbers.
    """

    wave: Float[np.ndarray, "waves 3"]
    frequency_thz: Float[np.ndarray, "waves modes"]

    @property
    def highest_thz(self) -> float:
        """The highest of all."""
        return float(np.nanmax(self.frequency_thz))

    @property
    def at_gamma_thz(self) -> list[float]:
        """Optical frequencies at Γ."""
        found = self.frequency_thz[0]
        return found[np.isfinite(found)].tolist()

    @property
    def n_imaginary(self) -> int:
        """How many modes of all waves make the crystal unstable."""
        return int(np.sum(self.frequency_thz < -IMAGINARY))

    def instability(self) -> str:
        """The imaginary modes in words; empty where there are none."""
        if not self.n_imaginary:
            return ""
        lowest = np.nanmin(self.frequency_thz, axis=1)
        worst = int(np.argmin(lowest))
        q = ", ".join(str(Fraction(x).limit_denominator(64)) for x in self.wave[worst])
        return f"{self.n_imaginary}, the lowest {-lowest[worst]:.2f}i THz at q = ({q})"


def phonons(
    model: Model,
    atoms: ase.Atoms,
    repeats: Int[np.ndarray, "3 3"],
    terms: tuple[Term, ...] = (),
) -> Phonons:
    """Vibrations of a crystal at rest.

    - `atoms`: its cell, without forces; the waves are those of the supercell with the
      lattice vectors `repeats @ atoms.cell`. `terms`: energies beside that of the model,
      for that supercell.
    """
    n = len(atoms)
    supercell = make_supercell(atoms, repeats)
    system = from_ase(supercell)
    surface = make_surface(model, system, terms)
    position = jnp.asarray(system.position)
    columns = np.asarray(_columns(surface, model, position, jnp.arange(3 * n)))
    constants = columns.reshape(n, 3, -1, n, 3)  # of cell 0, of all cells
    cells = (supercell.positions[::n] - supercell.positions[0]) @ np.linalg.inv(atoms.cell)
    mass = np.repeat(np.asarray(system.mass)[:n], 3)
    waves = commensurate(repeats)
    found = [_frequencies(constants, cells, mass, q) for q in waves]
    return Phonons(waves, np.array(found))


def commensurate(repeats: Int[np.ndarray, "3 3"]) -> Float[np.ndarray, "waves 3"]:
    """Waves that fit into a supercell, in reciprocal vectors of the cell, from 0 to 1."""
    most = np.abs(repeats).sum(axis=1)
    whole = np.array(list(itertools.product(*(range(-m, m + 1) for m in most))))
    fraction = np.round(whole @ np.linalg.inv(repeats).T, 9) % 1.0
    return np.unique(fraction, axis=0)  # Γ first


@jax.jit
def _columns(
    surface: Surface, model: Model, position: Float[Array, "atoms 3"], which: Array
) -> Float[Array, "columns atoms 3"]:
    def column(k):
        unit = jnp.zeros_like(position).at[k // 3, k % 3].set(1.0)
        return hessian_product(surface, model, position, unit)

    return jax.lax.map(column, which)


def _frequencies(
    constants: Float[np.ndarray, "n 3 cells n 3"],
    cells: Float[np.ndarray, "cells 3"],
    mass: Float[np.ndarray, " modes"],
    wave: Float[np.ndarray, "3"],
) -> Float[np.ndarray, " modes"]:
    phase = np.exp(2j * np.pi * (cells @ wave))
    matrix = np.einsum("axcby,c->axby", constants, phase).reshape(len(mass), len(mass))
    matrix = matrix / np.sqrt(np.outer(mass, mass))
    matrix = (matrix + matrix.conj().T) / 2
    if np.any(wave):
        return _thz(np.linalg.eigvalsh(matrix))
    # translations are taken out by what they are, not by how low they come
    uniform = np.kron(np.sqrt(mass[::3])[:, None], np.eye(3))
    rest = np.linalg.svd(uniform)[0][:, 3:]
    optical = np.linalg.eigvalsh(_within(matrix, rest))
    return np.concatenate([np.full(3, np.nan), _thz(optical)])


def _within(
    matrix: Complex[np.ndarray, "all all"], basis: Float[np.ndarray, "all some"]
) -> Complex[np.ndarray, "some some"]:
    return basis.T @ matrix @ basis


def _thz(square: Float[np.ndarray, " modes"]) -> Float[np.ndarray, " modes"]:
    return np.sign(square) * np.sqrt(np.abs(square)) * THZ
