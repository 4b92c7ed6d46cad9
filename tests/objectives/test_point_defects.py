"""Formation energies of defects, from cells relaxed by ASE."""

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ase.optimize import BFGS
from ions_family import ions

from jaxdiff.calculator import MaceCalculator
from jaxdiff.objectives import point_defects

A = 3.6138  # of these ions at rest, Å


def energy(atoms, number):
    """At rest, eV."""
    assert len(atoms) == number
    atoms.rattle(0.02, seed=3)
    atoms.calc = MaceCalculator(ions())
    assert BFGS(atoms, logfile=None).run(fmax=1e-3, steps=300)
    return atoms.get_potential_energy()


@pytest.mark.slow
def test_pairs_are_those_of_cells_relaxed_by_ase():
    crystal = bulk("LiF", "rocksalt", a=A, cubic=True)
    perfect = make_supercell(crystal, 2 * np.eye(3))
    symbol = np.array(perfect.get_chemical_symbols())
    without_li, without_f = (
        perfect[np.arange(64) != np.flatnonzero(symbol == kind)[5]] for kind in ("Li", "F")
    )
    interstitial = perfect.copy()
    interstitial.append("Li")
    interstitial.positions[-1] = [A / 4] * 3
    whole = energy(perfect, 64)
    li, f, extra = (
        energy(atoms, n)
        for atoms, n in ((without_li, 63), (without_f, 63), (interstitial, 65))
    )
    found = point_defects.pair_energies(ions(), (2, 2, 2), A)
    assert found.frenkel_ev == pytest.approx(extra + li - 2 * whole, abs=1e-4)
    assert found.schottky_ev == pytest.approx(li + f - whole * 63 / 32, abs=1e-4)


@pytest.mark.slow
def test_a_defect_that_is_not_at_rest_is_refused():
    with pytest.raises(ValueError, match="the interstitial has forces up to .* after 3"):
        point_defects.pair_energies(ions(), (2, 2, 2), A, max_steps=3)
