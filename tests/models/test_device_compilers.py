"""Programs through XLA's own compiler for GPUs, which needs no GPU: nothing is run.

pip install ".[test,aot]" (Python 3.12 or newer), then
pytest -n 0 -m long tests/models/test_device_compilers.py
"""

import dataclasses
import functools
import importlib
import re
from pathlib import Path

import hlo
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import neighbors, potential
from jaxdiff.io import runfile
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.runs import build

pytest.importorskip("jax_plugins.xla_cuda13", reason='needs pip install ".[aot]"')
pytestmark = pytest.mark.long

TARGETS = {"h100": b"NVIDIA H100 80GB HBM3", "h200": b"NVIDIA H200"}
DESCRIPTION = rb'gpu_device_info \{\n[^\x00]*?\ndevice_description_str: "([^"\x00]+)"'
REPLICAS, EDGE = 8, 3  # 217 atoms

# the most that was seen, and a tenth: kernels of a step, MB moved per atom, MB at a time
MOST_OF_CHUNKS = {"compiled": (0, 0.0, 0.0), "plain": (0, 0.0, 0.0)}
MOST_OF_MPA = {"compiled": (0, 0.0, 0.0), "plain": (0, 0.0, 0.0)}
MOST_OF_TRAINING = (0, 0.0, 0.0)


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


@pytest.fixture
def benchmark(monkeypatch):
    """A module of benchmarks by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module


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


@pytest.mark.parametrize("kind", MOST_OF_CHUNKS)
def test_steps_of_the_embedded_model(target, monkeypatch, kind):
    monkeypatch.setattr(build, "devices_for", lambda _: jax.devices()[:1])
    ensemble, run_chunk, given = chunk("lif-compact", kind)
    assert ensemble.plan.group_size == REPLICAS
    found = figures(compiled_for(target, run_chunk, *given), REPLICAS * ATOMS)
    require(found, MOST_OF_CHUNKS[kind])
    # positions, forces, displacements: no array of the model, which has channels
    assert found["widest_f64"] <= REPLICAS * ATOMS * max(ATOMS, 9 * ensemble.capacity)


@pytest.mark.parametrize("kind", MOST_OF_MPA)
def test_energy_and_forces_of_mpa(target, benchmark, kind):
    model = benchmark("harness").start()  # of that architecture, with random weights
    system = rock_salt_interstitial(EDGE)
    draw = np.random.default_rng(0)
    shape = (REPLICAS, *system.position.shape)
    position = system.position + draw.normal(0, 0.08, shape)
    found = potential.evaluator(
        model, system.atomic_number, kind, tolerance=1e-6, replicas=REPLICAS
    )
    step = neighbors.places_multiple()
    rows = [neighbors.neighbor_rows(p, system.cell, 6.0)[0].shape[1] for p in position]
    capacity = step * -(-max(rows) // step)
    lists = neighbors.allocate(position, system.cell, 6.0, 0.0, capacity=capacity)
    function = jax.vmap(found.energy_and_force, (None, 0, None, 0))
    lists = dataclasses.replace(
        lists, reference_cell=jnp.broadcast_to(system.cell, (REPLICAS, 3, 3))
    )
    given = found.params, position, np.asarray(system.cell), lists
    program = compiled_for(target, function, *given)
    measured = figures(program, REPLICAS * ATOMS)
    require(measured, MOST_OF_MPA[kind])
    assert measured["widest_f64"] <= REPLICAS * ATOMS * 9 * capacity


def test_training_of_mpa(target, benchmark, tmp_path):
    step, given = benchmark("training_step").step_here(tmp_path / "frames", 2, 4)
    found = figures(compiled_for(target, step, *given), 4 * 64)
    require(found, MOST_OF_TRAINING)
    assert found["widest_f64"] <= 4 * 64 * 9
