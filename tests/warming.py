"""Records of crystals that warm up in a bath."""

import numpy as np

from jaxdiff import units

ROW_PS, TAU_PS, KELVIN = 0.02, 0.2, 600.0


def warming(length, replicas=400, n_atoms=217, away=0.5, seed=1):
    """Time, temperature, energy and number of atoms, `length` relaxation times long.

    Half of the energy comes at the start with the momenta; the rest as exp(-t/τ), with the
    scatter of 3N oscillators, which forgets itself as fast.
    """
    rng, n = np.random.default_rng(seed), round(length * TAU_PS / ROW_PS)
    keep = np.exp(-ROW_PS / TAU_PS)
    noise = rng.normal(size=(replicas, n)) / np.sqrt(3 * n_atoms)
    noise[:, 1:] *= np.sqrt(1 - keep**2)
    for row in range(1, n):
        noise[:, row] += keep * noise[:, row - 1]
    time = ROW_PS * np.arange(1, n + 1)
    energy = 1 + noise - away * np.exp(-time / TAU_PS)
    exchange = 0.2 * rng.normal(size=energy.shape)  # between kinetic and potential energy
    all_of_it = 3 * (n_atoms - 1) * units.KB * KELVIN
    kinetic = KELVIN * (energy + exchange)
    potential = -5.0 * n_atoms + all_of_it * (energy - exchange) / 2
    return time, kinetic, potential, n_atoms
