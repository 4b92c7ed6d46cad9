"""Equal to what mace-torch predicted when `tests/data/make_references.py` ran."""

import json
from pathlib import Path

import ase
import numpy as np
import pytest

from jaxdiff.calculator import predict_atoms
from jaxdiff.checkpoints import load_mace_torch
from jaxdiff.potential import cast

DATA = Path(__file__).parents[1] / "data"
ROWS = json.loads((DATA / "predictions.json").read_text())


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_stored_predictions(number):
    """Energy, forces and stress of three structures with two heads, float64."""
    row = ROWS[number]
    model = cast(load_mace_torch(DATA / "tiny.model"), "float64")
    atoms = ase.Atoms(row["numbers"], row["positions"], cell=row["cell"], pbc=row["pbc"])
    found = predict_atoms(model, atoms, row["head"])
    assert abs(found.energy - row["energy"]) < 1e-8 * len(atoms)
    np.testing.assert_allclose(found.node_energy, row["node_energy"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.forces, row["forces"], rtol=0, atol=1e-7)
    assert np.abs(row["forces"]).max() > 1e-2
    if np.isfinite(found.stress).all():
        np.testing.assert_allclose(found.stress, row["stress"], rtol=0, atol=1e-9)
        assert np.abs(row["stress"]).max() > 1e-5
