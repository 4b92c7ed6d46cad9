"""From run files to crystals, programs and groups."""

import dataclasses
import importlib.util
import json
import re
import tomllib

import ase.io
import ionic_run
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import md, neighbors
from jaxdiff.analysis.lattice import study_lattice
from jaxdiff.io import runfile
from jaxdiff.lattice.lithium_fluoride import rock_salt
from jaxdiff.models.mace import compiled
from jaxdiff.runs import build, memory
from jaxdiff.system import to_ase


def parse(*lines, **changes):
    """The run file of `ionic_run`, with keys changed and lines of [system] added."""
    table = tomllib.loads(ionic_run.RUN.format(directory="nowhere"))
    overrides = [f"{name.replace('__', '.')}={value}" for name, value in changes.items()]
    return runfile.parse(runfile.overridden(table, overrides))


def test_defects_of_each_replica_are_drawn_for_it_and_seen_by_the_tracker():
    run = parse(system__supercell=3, system__interstitials=1, system__frenkel_pairs=1)
    ensemble = build.build(run, ionic_run.load)
    assert [s.n_atoms for s in ensemble.systems] == [217] * 4
    placed = [np.asarray(system.position) for system in ensemble.systems]
    assert not np.array_equal(placed[0], placed[1])
    site = np.asarray(ensemble.first_state().hops.site)
    tetrahedral = (site % 2 == 1).all(axis=2).sum(axis=1)
    np.testing.assert_array_equal(tetrahedral, [2] * 4)  # the interstitial and the pair's
    part = build.build(
        parse(
            system__supercell=3, system__interstitials=1, system__frenkel_pairs=1,
            ensemble__replica_range="[2,3]",
        ),
        ionic_run.load,
    )  # fmt: skip
    np.testing.assert_array_equal(part.systems[0].position, placed[2])
    assert (part.capacity, part.close) == (ensemble.capacity, ensemble.close)


@pytest.mark.slow
def test_the_evaluator_of_the_run_file(monkeypatch):
    """Both give the same forces; what is faster depends on the width of the model."""
    system = rock_salt(2, interstitials=1, seed=1)
    lists = neighbors.allocate(system.position, system.cell, 4.5, 0.2)
    forces, kinds = {}, {}
    for chosen in ("plain", "compiled", "auto"):
        section = runfile.ModelSection(name_or_path="lif-compact", evaluator=chosen)
        found = build.load_potential(section, system)
        kinds[chosen] = type(found.params)
        if chosen != "auto":
            result = jax.jit(found.energy_and_force)(
                found.params, system.position, jnp.asarray(system.cell), lists
            )
            forces[chosen] = result[1]
    assert len(set(kinds.values())) == 2
    assert kinds["auto"] is kinds["compiled"]
    assert np.abs(forces["plain"]).max() > 0.1
    np.testing.assert_allclose(forces["compiled"], forces["plain"], rtol=0, atol=1e-4)
    monkeypatch.setattr(compiled, "WIDE", 32)
    assert type(build.load_potential(section, system).params) is kinds["plain"]


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("cpu", "JAX computes on cpu here"),
        ("gpu", "cuequivariance_ops_jax is not installed"),
    ],
)
def test_the_kernel_for_gpus_is_refused_elsewhere(monkeypatch, backend, reason):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "ops" not in name or None)
    section = runfile.ModelSection(name_or_path="lif-compact", evaluator="fused")
    with pytest.raises(ValueError, match=rf'cannot be used: .*{reason}.*; use "auto"'):
        build.load_potential(section, rock_salt(2))


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
@pytest.mark.parametrize("evaluator", ["plain", "compiled"])
@pytest.mark.slow
def test_no_operation_of_a_run_is_for_cpus_alone(monkeypatch, evaluator, backend):
    """JAX translates the program, evaluator and detector included, for accelerators."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(build, "devices_for", lambda _: jax.devices()[:1])
    changes = {"model__name_or_path": "lif-compact", "model__evaluator": evaluator}
    changes["model__precision"] = "float32"
    ensemble = build.build(parse(**changes))
    assert ensemble.plan.group_size == 4
    assert ensemble.close % 8 == 0
    conditions = ensemble.conditions(build.PRODUCTION)
    numbers = jnp.asarray(1, jnp.int32), ensemble.plan.number("nve")
    arguments = ensemble.potential.params, conditions, ensemble.first_state(), *numbers
    traced = jax.jit(ensemble.run_chunk).trace(*arguments)
    for platform in ("cuda", "rocm") if backend == "gpu" else ("tpu",):
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "while" in program
        assert "custom_call" not in program  # of a solver, say
        assert not re.search(r"dot_general.*xf64>", program)


@pytest.mark.slow
def test_each_temperature_has_its_own_lattice_constant(tmp_path):
    """a(T) = 4.05 Å + 1e-4 Å/K (T - 300 K), from a file of jaxdiff lattice."""
    kelvin = np.repeat([900.0, 1100.0, 1300.0, 1500.0], 2)
    a = 4.05 + 1e-4 * (kelvin - 300)
    rng = np.random.default_rng(0)
    volume = 8 * (a[:, None] + 1e-4 * rng.normal(size=(8, 2000))) ** 3
    study = study_lattice(volume, 0.02 * np.arange(2000), kelvin, n_cells=8)
    (tmp_path / "lattice.json").write_text(study.to_json())
    run = parse(system__lattice_file=json.dumps(str(tmp_path / "lattice.json")))
    ensemble = build.build(run, ionic_run.load)
    expected = np.repeat([4.11, 4.17], 2)
    np.testing.assert_allclose(ensemble.lattice_constant, expected, atol=2e-5)
    state = ensemble.first_state()
    edge = np.asarray(state.motion.cell)[:, 0, 0]
    np.testing.assert_allclose(edge, 2 * ensemble.lattice_constant, rtol=1e-12)
    scale = np.asarray(state.hops.to_sites)[:, 0, 0] * ensemble.lattice_constant
    np.testing.assert_allclose(scale, 4, rtol=1e-12)  # a/4 is one unit of sites
    state = md.evaluate(
        ensemble.run_chunk,
        ensemble.potential.params,
        ensemble.conditions("production"),
        state,
    )
    assert len(np.unique(np.round(np.asarray(state.energy), 6))) >= 2
    with pytest.raises(ValueError, match="is outside of 875 to 1525 K"):
        build.build(
            run.model_copy(
                update={"ensemble": run.ensemble.model_copy(
                    update={"temperatures_kelvin": (300.0, 900.0)}
                )}
            ),
            ionic_run.load,
        )  # fmt: skip
    with pytest.raises(ValueError, match="lattice_file nowhere.json does not exist"):
        build.build(parse(system__lattice_file="nowhere.json"), ionic_run.load)


def test_structures_one_file_with_a_frame_for_each_replica(tmp_path):
    systems = [rock_salt(2, 4.083428, interstitials=1, seed=3, replica=r) for r in range(4)]
    ase.io.write(tmp_path / "start.extxyz", [to_ase(system) for system in systems])
    run = parse(system__structure_files=json.dumps([str(tmp_path / "start.extxyz")]))
    ensemble = build.build(run, ionic_run.load)
    for built, given in zip(ensemble.systems, systems, strict=True):
        np.testing.assert_allclose(built.position, given.position, atol=1e-7)
    wrong = parse(
        system__structure_files=json.dumps([str(tmp_path / "start.extxyz")]),
        system__lattice_constant_angstrom=4.2,
    )
    with pytest.raises(
        ValueError, match=r"but system.supercell and system.lattice_constant_angstrom make"
    ):
        build.build(wrong, ionic_run.load)
    moving = parse(
        system__structure_files=json.dumps([str(tmp_path / "start.extxyz")]),
        system__keep_velocities="true",
    )
    with pytest.raises(ValueError, match="a structure has no velocities"):
        build.build(moving, ionic_run.load)


def test_replicas_that_start_alike_are_refused(tmp_path):
    """One frame for all, or frames a moment apart; others may start."""
    system = rock_salt(2, 4.083428, interstitials=1, seed=3, replica=0)
    rng = np.random.default_rng(0)
    velocity = rng.normal(size=(4, *system.position.shape))
    path = tmp_path / "start.extxyz"
    run = parse(
        system__structure_files=json.dumps([str(path)]), system__keep_velocities="true"
    )

    def start(velocities):
        moving = [dataclasses.replace(system, velocity=v) for v in velocities]
        ase.io.write(path, [to_ase(one) for one in moving])
        return build.build(run, ionic_run.load)

    with pytest.raises(ValueError, match="replicas 0 and 1 start .* correlation is 1.00"):
        start(velocity[:1])
    near = velocity.copy()
    near[3] = 0.7 * velocity[1] + 0.5 * velocity[3]  # scaled, and a moment later
    with pytest.raises(ValueError, match="replicas 1 and 3 start .* correlation is 0.79"):
        start(near)
    np.testing.assert_allclose(start(velocity).systems[2].velocity, velocity[2], atol=1e-7)


@pytest.fixture(scope="module")
def prepared():
    run = parse(hops__crossings_per_chunk=0)
    ensemble = build.build(run, ionic_run.load)
    state = ensemble.first_state()

    def greedy(params, position, cell, neighbors):  # soon compiled, and large
        wide = jnp.sin(position @ jnp.ones((3, 8192)))
        return (
            params["cutoff"] * jnp.sum(wide),
            wide @ jnp.ones((8192, 3)),
            jnp.zeros((3, 3)),
        )

    def program(plan):
        return md.make_chunk(plan, greedy)

    def choose(**options):
        return memory.choose_group(
            ensemble.plan, program, ensemble.potential.params,
            ensemble.conditions("production"), state, n_devices=1, **options,
        )  # fmt: skip

    return choose


@pytest.mark.slow
def test_the_largest_group_that_fits_is_taken(prepared):
    """With plenty, with just enough for fewer, and with too little for one."""
    plan, _, plenty = prepared(available=10**12)
    assert plan.group_size == plenty.group_size == 4
    assert plenty.working > 0
    one = prepared(available=10**12, asked=1)[2]
    assert one.working < plenty.working
    assert one.state > 65 * 3 * 8 * 3  # positions, momenta and forces at least
    between = (8 * plenty.state + (one.working + plenty.working) / 2) / 0.85
    plan, _, fewer = prepared(available=int(between))
    assert fewer.group_size < 4
    with pytest.raises(memory.OutOfMemory, match="even in groups of 1, but the device has"):
        prepared(available=8 * plenty.state)
    with pytest.raises(ValueError, match="group_size = 3 does not divide the 4 replicas"):
        prepared(asked=3)
    assert "MB per replica" in fewer.words(4, 1)


def test_memory_is_asked_of_the_compiler_before_a_run(monkeypatch):
    """And a run that this machine cannot hold does not begin."""
    ensemble = build.build(parse(), ionic_run.load)
    state = ensemble.first_state()
    found = ensemble.measured("production", state).memory
    assert found.working > 0
    assert ensemble.memory.working == 0
    total = found.total(state.n_replicas)
    monkeypatch.setattr(memory, "host_bytes", lambda: total)
    with pytest.raises(memory.OutOfMemory, match="4 replicas of 65 atoms need"):
        ensemble.measured("production", state)


def test_a_cpu_computes_one_replica_at_a_time(prepared):
    assert prepared()[0].group_size == 1


def test_a_device_that_runs_out_of_memory_gives_advice():
    error = jax.errors.JaxRuntimeError(
        "RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes"
    )
    advice = memory.explain(error, 16)
    assert "Set ensemble.group_size to 8" in str(advice)
    assert memory.explain(jax.errors.JaxRuntimeError("INTERNAL: other"), 16) is None
