"""Float64, four devices, and where the data that do not ship with the project lie."""

import os
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from oracle import Upstream

from jaxdiff.models.mace.architecture import Architecture
from jaxdiff.models.mace.initial import initialize

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 4)

SHARED = Path(os.environ.get("JAXDIFF_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session", autouse=True)
def programs(tmp_path_factory) -> str:
    """Where JAX keeps what it has compiled in these tests: the same program once.

    JAX_COMPILATION_CACHE_DIR names a folder that outlives them.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the folder that all processes share
        folder = folder.parent
    directory = jax.config.jax_compilation_cache_dir or str(folder / "programs")
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    return directory


@pytest.fixture(scope="module", autouse=True)
def forgets_programs():
    """A compiled program lies in pieces of memory, of which a process may have 65530."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def annotations_are_checked(request):
    """Not in a test that calls small functions thousands of times: they take three times
    as long, and other tests check them."""
    is_statistics = request.node.get_closest_marker("statistics") is not None
    jaxtyping.config.update("jaxtyping_disable", is_statistics)


@pytest.fixture
def unchecked(monkeypatch):
    """As for users, annotations are not checked: a function has to see for itself."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def undrawn(monkeypatch):
    """Reports are not drawn; they have nothing to say."""

    def write(directory):
        (directory / "report.json").write_text('{"answer": []}')
        return directory / "report.html"

    monkeypatch.setattr("jaxdiff.report.write_report", write)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the LiF data set and the old checkpoints."""
    if not SHARED.is_dir():
        pytest.skip(f"no data at {SHARED}; set JAXDIFF_SHARED to the folder that has it")
    return SHARED


@pytest.fixture(scope="session")
def upstream():
    """mace-torch; the test is skipped where it is not installed."""
    warnings.simplefilter("ignore")
    pytest.importorskip("mace")
    return Upstream()


ARCHITECTURE = Architecture(
    scale_shift=True,
    atomic_numbers=(3, 9),
    heads=("default",),
    cutoff=4.0,
    num_bessel=6,
    cutoff_power=5,
    max_ell=2,
    channels=8,
    hidden=((0, 1), (0,)),
    correlation=(3, 3),
    interactions=(
        "RealAgnosticDensityInteractionBlock",
        "RealAgnosticDensityResidualInteractionBlock",
    ),
    radial_mlp=(8,),
    mlp_channels=8,
    agnesi=True,
    zbl_power=5,
    average_neighbors=20.0,
)


@pytest.fixture(scope="session")
def model():
    """A small random model of Li and F with every ingredient, in float64."""
    return initialize(
        ARCHITECTURE,
        jax.random.key(3),
        atomic_energies=np.array([[-1.0, -2.0]]),
        dtype=jnp.float64,
    )
