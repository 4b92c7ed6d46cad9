"""Programs through XLA's own compiler for GPUs, which needs no GPU: nothing is run.

pip install ".[test,aot]" (Python 3.12 or newer), then
JAX_PLATFORMS=cpu pytest -n 0 -m long tests/models/test_device_compilers.py
"""

import functools
import re
from pathlib import Path

import hlo
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.io import runfile
from jaxdiff.runs import build

pytest.importorskip("jax_plugins.xla_cuda13", reason='needs pip install ".[aot]"')
pytestmark = pytest.mark.long

TARGETS = {"h200": b"NVIDIA H200"}
DESCRIPTION = rb'gpu_device_info \{\n[^\x00]*?\ndevice_description_str: "([^"\x00]+)"'
REPLICAS, EDGE = 8, 3  # 217 atoms

# the most that was seen, and a tenth: kernels of a step, MB moved per atom, MB at a time
MOST_OF_A_STEP = (535, 1.39, 228.0)


@functools.cache
def device(name):
    """A GPU that is not there, as the compiler's own description of it."""
    import jax_plugins.xla_cuda13 as plugin
    from jax.experimental import topologies

    library = (Path(plugin.__file__).parent / "xla_cuda_plugin.so").read_bytes()
    found = re.finditer(DESCRIPTION, library)
    text = next(m[0] for m in found if m[1].startswith(TARGETS[name]))
    text = text[text.rindex(b"gpu_device_info {") :].decode()
    given = {"platform": "cuda", "topology_name": name, "topology": "1x1x1"}
    return topologies.get_topology_desc(target_config=text, **given).devices[0]


def compiled_for(name, function, *arguments):
    place = jax.sharding.SingleDeviceSharding(device(name))

    def shape(x):
        return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x), sharding=place)

    shapes = jax.tree.map(shape, arguments)
    return jax.jit(function).trace(*shapes).lower().compile()


@pytest.fixture(params=TARGETS)
def target(request, monkeypatch):
    """Programs are made as on a GPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    return request.param


def figures(program, n_atoms):
    """Of one step or evaluation; what must not be in a program is not in it."""
    text = program.as_text()
    for word in ("custom-call(", "infeed(", "outfeed(", "send(", "recv("):
        assert word not in text
    assert not re.search(r"= f64\[\S* dot\(", text)
    found = list(hlo.kernels(text))
    return {
        "launches": sum(times for _, times, _ in found),
        "mb_per_atom": sum(times * moved for _, times, moved in found) / 1e6 / n_atoms,
        "temporary_mb": program.memory_analysis().temp_size_in_bytes / 1e6,
        "widest_f64": max(
            np.prod(dims) for t, dims in hlo.shapes(text) if t == "f64" and dims
        ),
    }


def require(found, most):
    """Launches, bytes and memory are no more than they were."""
    names = ("launches", "mb_per_atom", "temporary_mb")
    print({name: round(float(found[name]), 3) for name in found})
    for name, limit in zip(names, most, strict=True):
        assert found[name] <= limit, name


def chunk(model, kind, steps=8):
    """The program of a run and its arguments."""
    table = RUN | {"model": {"name_or_path": str(model), "evaluator": kind}}
    ensemble = build.build(runfile.parse(table))
    number = ensemble.plan.number("langevin")
    given = ensemble.conditions(build.EQUILIBRATION), ensemble.first_state()
    given = ensemble.potential.params, *given, jnp.asarray(steps, jnp.int32), number
    return ensemble, ensemble.run_chunk, given


RUN = {
    "system": {"supercell": EDGE},
    "ensemble": {
        "temperatures_kelvin": [500],
        "replicas_per_temperature": REPLICAS,
        "timestep_fs": 1.0,
        "seed": 0,
        "group_size": REPLICAS,
    },
    "equilibration": {"duration_ps": 1},
    "production": {"duration_ps": 1},
    "hops": {"stride_fs": 8.0},
    "neighbors": {"skin_angstrom": 0.3},
    "output": {"directory": "nowhere"},
}
ATOMS = 8 * EDGE**3 + 1


def test_steps_of_the_embedded_model(target, monkeypatch):
    monkeypatch.setattr(build, "devices_for", lambda _: jax.devices()[:1])
    ensemble, run_chunk, given = chunk("lif-compact", "compiled")
    assert ensemble.plan.group_size == REPLICAS
    found = figures(compiled_for(target, run_chunk, *given), REPLICAS * ATOMS)
    require(found, MOST_OF_A_STEP)
    # positions, forces, displacements: no array of the model, which has channels
    assert found["widest_f64"] <= REPLICAS * ATOMS * max(ATOMS, 9 * ensemble.capacity)
