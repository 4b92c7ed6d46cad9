"""Equal to mace-torch: energies, forces and stress, live."""

import ase.io
import numpy as np
import pytest
from oracle import DENSITY, MPA0, TOLERANCE, ZBL_AGNESI, crystal

from jaxdiff.calculator import predict_atoms
from jaxdiff.checkpoints import load_mace_torch
from jaxdiff.potential import cast

pytestmark = pytest.mark.oracle


def assert_equal(upstream, model, path, atoms, dtype="float64", head=None):
    upstream.save(model, path)
    expected = upstream.predict(model, atoms, head=head)
    found = predict_atoms(cast(load_mace_torch(path), dtype), atoms, head or 0)
    energy, forces, stress = TOLERANCE[dtype]
    per_atom = np.abs(found.energy - expected["energy"]) / len(atoms)
    largest = max(np.abs(expected[k]).max() for k in ("forces", "stress"))
    assert largest > 1e-5  # something to compare
    assert per_atom < energy
    np.testing.assert_allclose(found.forces, expected["forces"], rtol=0, atol=forces)
    np.testing.assert_allclose(found.stress, expected["stress"], rtol=0, atol=stress)
    np.testing.assert_allclose(
        found.node_energy, expected["node_energy"], rtol=0, atol=10 * energy
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {**DENSITY, **ZBL_AGNESI},
        {"first": "RealAgnosticResidualInteractionBlock"},
        {"kind": "MACE", **ZBL_AGNESI},
        {"hidden": "4x0e"},
        {"correlation": 1},
        {"max_ell": 1, "pair_repulsion": True},
        {"num_interactions": 1},
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in (
                {
                    "first": "RealAgnosticDensityResidualInteractionBlock",
                    "other": "RealAgnosticDensityResidualInteractionBlock",
                },
                {"hidden": "4x0e+4x1o+4x2e", "max_ell": 3, "correlation": 3},
                {"correlation": 3, "distance_transform": "Agnesi"},
                {"num_interactions": 3},
                {"correlation": [3, 2]},
                {"radial_MLP": [8]},
            )
        ),
    ],
    ids=lambda options: "-".join(f"{k}={v}" for k, v in options.items()) or "plain",
)
def test_every_option(upstream, tmp_path, options):
    assert_equal(upstream, upstream.build(**options), tmp_path / "m.model", crystal())


@pytest.mark.parametrize("head", ["low", "high"])
def test_each_of_several_heads(upstream, tmp_path, head):
    model = upstream.build(heads=["low", "high"], **DENSITY)
    assert_equal(upstream, model, tmp_path / "m.model", crystal(), head=head)


@pytest.fixture(scope="module")
def wide(upstream):
    """Eighty-nine elements, MPA-0's options, few channels."""
    return upstream.build(**MPA0 | {"hidden": "8x0e+8x1o", "mlp": "8x0e"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "edge"),
    [
        ("float64", 11.7),
        ("float32", 12.25),
        ("float64", 12.25),
        ("float32", 11.7),
    ],
)
def test_lif_cells_of_both_sizes(upstream, wide, shared, tmp_path, edge, dtype):
    frames = ase.io.read(shared / "data/lif_dft/pool_valid.extxyz", index=":")
    atoms = next(
        a for a in frames if len(a) == 217 and abs(a.cell.lengths()[0] - edge) < 0.1
    )
    assert_equal(upstream, wide, tmp_path / "m.model", atoms, dtype)


@pytest.mark.parametrize(
    "first", [pytest.param(k, marks=pytest.mark.long) for k in (0, 3, 6)]
)
def test_ten_chemistries(upstream, wide, shared, tmp_path, first):
    frames = ase.io.read(shared / "data/lif_dft/replay_mp_valid.extxyz", index=":")
    chosen, seen = [], set()
    for atoms in sorted(frames, key=len):
        if not seen & set(atoms.numbers) and len(atoms) > 1:
            chosen.append(atoms)
            seen |= set(atoms.numbers)
    assert len(chosen) >= 10
    for atoms in chosen[first : first + 3 + (first == 6)]:
        assert_equal(upstream, wide, tmp_path / "m.model", atoms)


@pytest.mark.parametrize(
    ("name", "symbols"),
    [("mace_spice_2022.model", "OHHCHHN"), ("mace_swa_2024.model", "GeSbTeTeSb")],
)
def test_published_models_of_other_years(upstream, shared, name, symbols):
    path = shared / "models" / name
    rng = np.random.default_rng(1)
    positions = (
        2.2
        * np.array([[x, y, z] for x in range(2) for y in range(2) for z in range(2)])[
            : len(symbols.replace("Ge", "X").replace("Sb", "Y").replace("Te", "Z"))
        ]
    )
    atoms = ase.Atoms(symbols, positions=positions + rng.normal(0, 0.1, positions.shape))
    atoms.set_cell([8.0, 8.5, 9.0])
    atoms.pbc = True
    expected = upstream.predict(upstream.load(path), atoms)
    model = load_mace_torch(path)
    found = predict_atoms(cast(model, "float64"), atoms)
    energy, forces, stress = TOLERANCE["float64"]
    assert abs(found.energy - expected["energy"]) / len(atoms) < energy
    np.testing.assert_allclose(found.forces, expected["forces"], rtol=0, atol=forces)
    np.testing.assert_allclose(found.stress, expected["stress"], rtol=0, atol=stress)
