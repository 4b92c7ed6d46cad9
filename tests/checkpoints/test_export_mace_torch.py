"""Our models as upstream's files: the numbers that mace-torch then computes."""

import dataclasses
import subprocess
import sys

import jax
import numpy as np
import pytest
from ase.build import bulk
from oracle import DENSITY, MPA0, TOLERANCE, ZBL_AGNESI, crystal
from typer.testing import CliRunner

from jaxdiff.calculator import predict_atoms
from jaxdiff.checkpoints import (
    load_default,
    load_mace_torch,
    load_native,
    restrict,
    save_mace_torch,
    save_native,
)
from jaxdiff.cli import app
from jaxdiff.models.mace import Mace
from jaxdiff.potential import cast

ENERGY, FORCES, STRESS = TOLERANCE["float64"]


def assert_predicts(expected, found, n_atoms, dtype="float64"):
    energy, forces, stress = TOLERANCE[dtype]
    assert np.abs(expected["forces"]).max() > 1e-2  # something to compare
    assert abs(found["energy"] - expected["energy"]) / n_atoms < energy
    atols = {"node_energy": 10 * energy, "forces": forces, "stress": stress}
    for key, atol in atols.items():
        np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=atol)


def assert_upstream_agrees(upstream, path, model, atoms, head=0, dtype="float64"):
    """mace-torch, from the file, says in float64 what our evaluator says of the model."""
    ours = dataclasses.asdict(predict_atoms(cast(model, "float64"), atoms, head))
    name = head if isinstance(head, str) else None
    theirs = upstream.predict(upstream.load(path), atoms, head=name)
    assert_predicts(ours, theirs, len(atoms), dtype)


def assert_same_arrays(found, expected):
    assert found.architecture == expected.architecture

    def same(a, b):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)

    jax.tree.map(same, found.weights, expected.weights)
    jax.tree.map(same, found.constants, expected.constants)


def perturbed(model, seed=0):
    """Every weight, and what fine-tuning changes besides, moved by some per cent."""
    rng = np.random.default_rng(seed)

    def moved(x):
        return (x * (1 + 0.05 * rng.normal(size=x.shape))).astype(x.dtype)

    names = ("atomic_energies", "scale", "shift", "bessel")
    constants = model.constants | {name: moved(model.constants[name]) for name in names}
    weights = jax.tree.map(moved, model.weights)
    return Mace(weights, constants, model.architecture)


@pytest.fixture(scope="module")
def lif_file(upstream, tmp_path_factory):
    """The embedded model, exported."""
    path = tmp_path_factory.mktemp("lif") / "lif.model"
    result = CliRunner().invoke(app, ["model", "export", "lif-compact", str(path)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"wrote {path}: float64, heads default\n"
    return path


@pytest.mark.oracle
def test_embedded_model(upstream, lif_file):
    assert_upstream_agrees(upstream, lif_file, load_default(), crystal())


@pytest.mark.oracle
def test_upstream_can_build_the_embedded_model_again(upstream, lif_file):
    """Its tools for heads, fine-tuning and acceleration make U matrices of their own."""
    from mace.tools.scripts_utils import extract_config_mace_model

    module = upstream.load(lif_file)
    assert not module.use_reduced_cg  # a basis that differs between versions
    upstream.torch.set_default_dtype(upstream.torch.float64)
    try:
        again = type(module)(**extract_config_mace_model(module))
    finally:
        upstream.torch.set_default_dtype(upstream.torch.float32)
    state = {k: v for k, v in module.state_dict().items() if "U_matrix" not in k}
    missing, unexpected = again.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("U_matrix" in name for name in missing)
    atoms = crystal()
    expected, found = (upstream.predict(m, atoms) for m in (module, again))
    assert_predicts(expected, found, len(atoms))


@pytest.mark.oracle
def test_upstreams_calculator(upstream, lif_file):
    from mace.calculators import MACECalculator

    atoms = crystal()
    expected = predict_atoms(cast(load_default(), "float64"), atoms)
    atoms.calc = MACECalculator(model_paths=str(lif_file), device="cpu")
    assert abs(atoms.get_potential_energy() - expected.energy) / len(atoms) < ENERGY
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, rtol=0, atol=FORCES)
    stress = atoms.get_stress(voigt=False)
    np.testing.assert_allclose(stress, expected.stress, rtol=0, atol=STRESS)


@pytest.mark.slow
@pytest.mark.oracle
def test_upstreams_lammps_tool(upstream, lif_file):
    """The file for LAMMPS is made, and its energies and forces are ours."""
    tool = [sys.executable, "-W", "ignore", "-m", "mace.cli.create_lammps_model"]
    done = subprocess.run(
        [*tool, str(lif_file), "--head", "default", "--dtype", "float64"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = lif_file.with_name(f"{lif_file.name}-lammps.pt")
    compiled = upstream.torch.jit.load(made)

    atoms = crystal()
    expected = predict_atoms(cast(load_default(), "float64"), atoms)
    out = compiled(lammps_data(upstream, atoms, 4.5), local_or_ghost(upstream, atoms))
    energy, forces = float(out["total_energy_local"]), out["forces"].numpy()
    assert abs(energy - expected.energy) / len(atoms) < ENERGY
    np.testing.assert_allclose(forces, expected.forces, rtol=0, atol=FORCES)


def lammps_data(upstream, atoms, cutoff):
    """One structure as the compiled model takes it."""
    from mace import data
    from mace.tools import AtomicNumberTable, torch_geometric

    upstream.torch.set_default_dtype(upstream.torch.float64)
    try:
        graph = data.AtomicData.from_config(
            data.config_from_atoms(atoms), z_table=AtomicNumberTable([3, 9]), cutoff=cutoff
        )
        batch = torch_geometric.batch.Batch.from_data_list([graph]).to_dict()
    finally:
        upstream.torch.set_default_dtype(upstream.torch.float32)
    keys = ("positions", "node_attrs", "edge_index", "shifts", "unit_shifts", "cell")
    found = {key: batch[key] for key in (*keys, "batch", "ptr")}
    found["positions"].requires_grad_(True)
    return found


def local_or_ghost(upstream, atoms):
    return upstream.torch.ones(len(atoms), dtype=upstream.torch.float64)


SMALL_MPA0 = MPA0 | {"hidden": "4x0e+4x1o", "mlp": "4x0e", "max_ell": 2}


@pytest.fixture(scope="module")
def foundation(upstream, tmp_path_factory):
    """Options of MACE-MPA-0 and its elements, but few channels and l <= 2: a base file."""
    module = upstream.build(**SMALL_MPA0)
    return upstream.save(module, tmp_path_factory.mktemp("base") / "base.model")


@pytest.fixture(scope="module")
def tuned(upstream, tmp_path_factory):
    """What training makes of it: Li and F, two heads, other weights, E0s, scale, shift."""
    module = upstream.build(**SMALL_MPA0, heads=["pt_head", "lif"])
    directory = tmp_path_factory.mktemp("tuned")
    model = load_mace_torch(upstream.save(module, directory / "two.model"))
    model = perturbed(restrict(model, [3, 9]))
    save_native(directory / "tuned.safetensors", model)
    return directory / "tuned.safetensors"


def export(*arguments):
    return CliRunner().invoke(app, ["model", "export", *(str(a) for a in arguments)])


@pytest.mark.slow
@pytest.mark.oracle
def test_tuned_model_with_its_base(upstream, foundation, tuned, tmp_path):
    out, model = tmp_path / "out.model", load_native(tuned)
    result = export(tuned, out, "--like", foundation)
    assert result.stdout == f"wrote {out}: float64, heads pt_head, lif\n"
    assert_same_arrays(load_mace_torch(out), model)
    for head in ("pt_head", "lif"):
        assert_upstream_agrees(upstream, out, model, crystal(), head)


@pytest.mark.oracle
@pytest.mark.parametrize("head", ["pt_head", "lif"])
@pytest.mark.slow
def test_one_head_of_the_tuned_model(upstream, tuned, tmp_path, head):
    out = tmp_path / "out.model"
    result = export(tuned, out, "--head", head)
    assert result.stdout == f"wrote {out}: float64, heads {head}\n"
    assert upstream.load(out).heads == [head]
    assert_upstream_agrees(upstream, out, load_native(tuned), crystal(), head)


def case(name, **options):
    return pytest.param(options, id=name)


def long(name, **options):
    return pytest.param(options, id=name, marks=pytest.mark.slow)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "options",
    [
        case("float32", dtype="float32", correlation=3, **ZBL_AGNESI),
        case("density", **DENSITY, **ZBL_AGNESI, heads=["a", "b"], elements=(3, 8, 9)),
        case("MACE", kind="MACE", pair_repulsion=True, heads=["a", "b"]),
        case("one layer", num_interactions=1, hidden="4x0e"),
        long(
            "residual first",
            first="RealAgnosticResidualInteractionBlock",
            hidden="4x0e+4x1o+4x2e",
        ),
        long("never residual", other="RealAgnosticInteractionBlock", hidden="4x0e"),
        long(
            "three layers",
            num_interactions=3,
            keep_last_layer_irreps=True,
            hidden="2x0e+2x1o",
        ),
        long("l above max_ell", max_ell=1, hidden="2x0e+2x1o+2x2e", correlation=3),
        long("correlation per layer", correlation=[3, 1]),
        long("wide radial", radial_MLP=[8], num_bessel=8, num_polynomial_cutoff=6),
    ],
)
def test_every_option_to_the_last_bit(upstream, tmp_path, options):
    """Upstream's module, read and written by us: the same arrays, the same energies.

    A silu constant, a double in Python, is rounded to the type of the model by reading.
    """
    module = upstream.build(**options)
    move_constants(upstream, module)
    model = load_mace_torch(upstream.save(module, tmp_path / "first.model"))
    dtype = save_mace_torch(tmp_path / "second.model", model)
    assert dtype == options.get("dtype", "float64")
    assert upstream.torch.get_default_dtype() == upstream.torch.float32
    assert_same_arrays(load_mace_torch(tmp_path / "second.model"), model)
    assert_same_predictions(upstream, tmp_path, (options.get("heads") or [None])[-1], dtype)


def assert_same_predictions(upstream, directory, head, dtype="float64"):
    """mace-torch says the same of first.model and second.model."""
    atoms = crystal()
    expected, found = (
        upstream.predict(upstream.load(directory / f"{name}.model"), atoms, head)
        for name in ("first", "second")
    )
    assert_predicts(expected, found, len(atoms), dtype)


def move_constants(upstream, module):
    """Numbers that the constructor of upstream would not give."""
    with upstream.torch.no_grad():
        module.radial_embedding.bessel_fn.bessel_weights *= 1.01
        if hasattr(module, "pair_repulsion_fn"):
            module.pair_repulsion_fn.a_exp *= 1.02
            module.pair_repulsion_fn.covalent_radii *= 1.1
            module.pair_repulsion_fn.p += 1
        if hasattr(module.radial_embedding, "distance_transform"):
            module.radial_embedding.distance_transform.q *= 1.04
            module.radial_embedding.distance_transform.covalent_radii *= 0.97


@pytest.mark.oracle
@pytest.mark.parametrize("block", ["interactions", "readouts"])
def test_other_silu_constants(upstream, tmp_path, block):
    """They become upstream's; the weights after them make up for it."""
    module = upstream.build(**DENSITY, heads=["a", "b"])
    parts = [p for p in getattr(module, block).modules() if hasattr(p, "cst")]
    cst = parts[0].cst
    for part in set(parts):
        part.cst *= 1.1
    model = load_mace_torch(upstream.save(module, tmp_path / "first.model"))
    save_mace_torch(tmp_path / "second.model", model)
    again = load_mace_torch(tmp_path / "second.model")
    for name in ("radial_activation", "readout_activation"):
        assert float(again.constants[name]) == cst
    assert_same_predictions(upstream, tmp_path, "b")


@pytest.mark.long
@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "symbols"),
    [("mace_spice_2022.model", "OHHCHHN"), ("mace_swa_2024.model", "GeSbTeTeSb")],
)
def test_files_of_other_years(upstream, old_model, tmp_path, name, symbols):
    """Read, written as a file of today, and compared with the file itself.

    A float32 module rounds what is in no file of ours, as the factor of its Bessel
    functions: 6e-8 of each.
    """
    model = load_mace_torch(old_model(name))
    dtype = save_mace_torch(tmp_path / "new.model", model)
    again = load_mace_torch(tmp_path / "new.model")
    assert dtype == str(model.weights["embedding"].dtype)
    assert_same_arrays(again, model)

    atoms = bulk("LiF", "rocksalt", a=4.6) * (2, 2, 1)
    atoms = atoms[: sum(c.isupper() for c in symbols)]
    atoms.symbols = symbols
    atoms.rattle(0.1, seed=1)
    assert_upstream_agrees(upstream, tmp_path / "new.model", model, atoms, dtype=dtype)
    expected = upstream.predict(upstream.load(old_model(name)), atoms)
    found = upstream.predict(upstream.load(tmp_path / "new.model"), atoms)
    assert_predicts(expected, found, len(atoms), dtype)


@pytest.mark.oracle
def test_float32_that_cannot_hold_the_energies_becomes_float64(upstream, tmp_path):
    module = upstream.build(dtype="float32")
    model = load_mace_torch(upstream.save(module, tmp_path / "single.model"))
    energies = np.array([[-202.822, -803.844]])
    readout = np.nextafter(model.constants["readout_activation"], np.float32(2))
    changed = {"atomic_energies": energies, "readout_activation": readout}
    model = dataclasses.replace(model, constants=model.constants | changed)
    assert save_mace_torch(tmp_path / "double.model", model) == "float64"
    found = load_mace_torch(tmp_path / "double.model")
    jax.tree.map(np.testing.assert_array_equal, found.constants, model.constants)
    jax.tree.map(np.testing.assert_array_equal, found.weights, model.weights)
