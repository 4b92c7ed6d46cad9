"""`python ionic_run.py RUN.toml CACHE`: a run with cheap ions, to be killed."""

import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
sys.path.append(str(Path(__file__).parents[1] / "md"))

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import potentials  # noqa: E402

from jaxdiff.io import runfile  # noqa: E402
from jaxdiff.runs import build, simulation  # noqa: E402
from jaxdiff.stop import Stopped  # noqa: E402

CUTOFF = 4.0

RUN = """
[model]
name_or_path = "ions"
precision = "float64"
[system]
supercell = 2
[ensemble]
temperatures_kelvin = [900, 1500]
replicas_per_temperature = 2
timestep_fs = 1
seed = 5
[equilibration]
duration_ps = 0.05
[production]
duration_ps = 0.3
[hops]
stride_fs = 5
crossings_per_chunk = 2
[output]
directory = "{directory}"
chunk_ps = 0.02
checkpoint_minutes = 0
positions_every_ps = 0.03
"""


def load(section, system):
    """The pair potential of the tests of dynamics; ions leave their sites."""
    charge = jnp.asarray(np.where(system.atomic_number == 3, 1.0, -1.0))
    params = {"charge": charge, "cutoff": jnp.asarray(CUTOFF)}
    return build.Potential(params, potentials.pairs, CUTOFF, "0" * 64)


def run(text: str, say=lambda line: None) -> tuple[str, ...]:
    """Run, or go on with, what a run file says."""
    import tomllib

    parsed = runfile.parse(tomllib.loads(text))
    directory = Path(parsed.output.directory)
    return simulation.simulate(parsed, directory, lambda *_: None, say, load)


if __name__ == "__main__":
    jax.config.update("jax_compilation_cache_dir", sys.argv[2])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    simulation.PART_SECONDS = 0.0  # a frame at a time, so that there is time to be killed
    try:
        run(Path(sys.argv[1]).read_text(), print)
    except Stopped as stopped:
        print(stopped)
        sys.exit(stopped.exit_code)
