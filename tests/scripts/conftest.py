"""What scripts are given: a run's folder, frames of it, small models."""

import dataclasses
import json
import os
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from jaxdiff.checkpoints import save_native
from jaxdiff.io.series import SeriesWriter
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.models.mace.initial import initialize

LATTICE, KELVIN, FRAME_PS = 4.083428, 1500.0, 0.02
REPLICAS, FRAMES, CROSSINGS = 2, 24, 20  # as many as blocks of averages need


def thermal(seed: int, n_frames: int) -> np.ndarray:
    """Frames [R, F, N, 3], Å, of LiF with an interstitial that stays."""
    position = rock_salt_interstitial(2, LATTICE).position
    rng = np.random.default_rng(seed)
    return position + rng.normal(0, 0.05, (REPLICAS, n_frames, *position.shape))


def write_run(folder: Path, model: str) -> Path:
    """A run that names this model and kept frames, some as if at crossings."""
    system = rock_salt_interstitial(2, LATTICE)
    is_lithium = system.atomic_number == 3
    place = np.rint(system.position[is_lithium] / (LATTICE / 4)).astype(int)
    site = ROCK_SALT.sites(place)
    series = SeriesWriter(
        folder,
        temperature=np.full(REPLICAS, KELVIN),
        seed_index=np.arange(REPLICAS),
        lattice_constant=np.full(REPLICAS, LATTICE),
        cell=np.tile(system.cell, (REPLICAS, 1, 1)),
        is_mobile=is_lithium,
        attributes={
            "run_file": f'[model]\nname_or_path = "{model}"\n',
            "timestep_fs": 1.0,
            "steps_per_frame": 20,
            "frame_ps": FRAME_PS,
            "dwell_frames": 3,
            "core_radius_angstrom": 0.77,
            "lattice_constant_angstrom": LATTICE,
            "cell_angstrom": np.asarray(system.cell),
            "network": ROCK_SALT.to_json(),
            "mobile": "Li",
            "formula": "LiF",
            "supercell": 8 * np.eye(3, dtype=int),
            "n_mobile": int(is_lithium.sum()),
            "n_anion": int((~is_lithium).sum()),
        },
        provenance={"versions": {"jaxdiff": "test"}, "device": "none", "seed": 0},
    )
    series.start_sites(np.tile(site, (REPLICAS, 1, 1)))
    none = np.zeros(REPLICAS, int)
    counts = {
        "frames": none + FRAMES, "anion_displaced_frames": none, "lost_frame": none - 1
    }  # fmt: skip
    changes = {"replica": [], "frame": [], "cation": [], "site": np.zeros((0, 4))}
    series.append_sites({k: np.array(v, int) for k, v in changes.items()}, counts)
    series.append_positions(FRAME_PS * np.arange(1, FRAMES + 1), thermal(0, FRAMES))
    one = np.arange(CROSSINGS)
    series.append_crossings(
        {
            "replica": np.minimum(one, REPLICAS - 1),
            "frame": one + 1,
            "cation": one,
            "site": site[:CROSSINGS],
            "position": thermal(1, CROSSINGS)[0],
        }
    )
    series.finish("complete")
    return folder


@pytest.fixture(autouse=True)
def surroundings(programs, monkeypatch):
    """Processes import this package and compile a program once; settings of JAX stay."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", programs)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    precision = jax.config.jax_default_matmul_precision
    yield
    jax.config.update("jax_default_matmul_precision", precision)


def smallest(model, numbers: tuple[int, ...]):
    """Random weights of an architecture that compiles quickly, for these elements."""
    architecture = dataclasses.replace(
        model.architecture,
        atomic_numbers=numbers,
        max_ell=1,
        hidden=((0,), (0,)),
        correlation=(1, 1),
    )
    energies = np.full((1, len(numbers)), -1.0)
    return initialize(architecture, jax.random.key(5), atomic_energies=energies)


@pytest.fixture(scope="module")
def small(model, tmp_path_factory) -> Path:
    """A model of Li and F as a file."""
    path = tmp_path_factory.mktemp("small") / "model.safetensors"
    save_native(path, smallest(model, (3, 9)))
    return path


@pytest.fixture(scope="module")
def run(small, tmp_path_factory) -> dict[str, Path]:
    """Folders of runs of the small model and of the embedded one."""
    models = {"small": str(small), "embedded": "lif-compact"}
    return {k: write_run(tmp_path_factory.mktemp(k), v) for k, v in models.items()}


@pytest.fixture(scope="module")
def barriers(tmp_path_factory) -> Path:
    """Barriers of which one has a prefactor: a rate of 0.938 per ps at 1500 K, 4 ways."""
    path = tmp_path_factory.mktemp("barriers") / "barriers.json"
    collinear = {"forward_ev": 0.3, "prefactor_thz": 2.388}
    found = {"collinear": collinear, "direct": {"failed": "none"}}
    path.write_text(json.dumps({"paths": found}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """Positions and temperatures as `validate_detector.py` reads them."""
    path = tmp_path_factory.mktemp("frames") / "frames.h5"
    with h5py.File(path, "w") as file:
        file["position"] = np.swapaxes(thermal(0, FRAMES), 0, 1)
        file["temperature"] = np.full(REPLICAS, KELVIN)
    return path


@pytest.fixture(scope="module")
def foundation(model):
    """A model of the elements from H to Pu."""
    return smallest(model, tuple(range(1, 95)))
