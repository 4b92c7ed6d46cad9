"""Time of one MD step of one replica: the embedded model here, and its twin in mace-torch.

python benchmarks/step_cost.py [RUN.json]

217 atoms of LiF at 600 K. Here: a step of the ensemble's own program (thermostat, neighbour
lists, energy and forces, float32 model and float64 state), with all replicas on all cores.
mace-torch: energy and forces of its ASE calculator, float32, for a model of the same
architecture with random weights, on the same number of threads. Needs the `[oracle]` extra.
"""

import json
import platform
import statistics
import sys
import time
import warnings
from importlib.metadata import version

import jax

from jaxdiff.devices import devices_for, use_every_core

jax.config.update("jax_enable_x64", True)
CORES = use_every_core()

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jaxdiff import md, potential, units  # noqa: E402
from jaxdiff.checkpoints import load_default  # noqa: E402
from jaxdiff.crystal import rock_salt_interstitial  # noqa: E402
from jaxdiff.system import to_ase  # noqa: E402

REPLICAS, STEPS, REPEATS, SKIN = 2 * CORES, 100, 5, 0.2


def ensemble_step(model, system) -> tuple[list[float], md.EnsembleState]:
    """Milliseconds per step and replica, one number per repeat; a hot state."""
    kelvin = np.full(REPLICAS, 600.0)
    plan = md.Plan(model.architecture.cutoff, SKIN, steps_per_frame=10, frames_per_chunk=10)
    conditions = md.conditions(
        system,
        kelvin,
        timestep=2 * units.FEMTOSECOND,
        damping_time=100 * units.FEMTOSECOND,
        friction=5 / units.PICOSECOND,
        seed=0,
    )
    state = md.initialize(system, kelvin, cutoff=plan.cutoff, skin=plan.skin, seed=0)
    function = potential.make_energy_and_force(model.architecture, system.atomic_number)
    run_chunk = md.make_chunk(plan, function, devices=devices_for(REPLICAS))
    state = md.evaluate(run_chunk, model, conditions, state)
    parts = md.advance(
        run_chunk,
        plan,
        model,
        conditions,
        state,
        n_steps=(REPEATS + 1) * STEPS,
        thermostat=md.LANGEVIN,
    )
    times = []
    for part in parts:
        state = part.state
        times.append(1e3 * part.wall_s / (part.n_steps * REPLICAS))
    return times[1:], state


def mace_torch_call(architecture, atoms) -> list[float]:
    """Milliseconds of energy and forces by mace-torch's calculator, one per repeat."""
    warnings.simplefilter("ignore")
    import torch

    torch.serialization.add_safe_globals([slice])  # for e3nn's own constants
    from e3nn import o3
    from mace import modules
    from mace.calculators import MACECalculator

    torch.set_num_threads(CORES)
    arch, classes = architecture, modules.interaction_classes
    model = modules.ScaleShiftMACE(
        r_max=arch.cutoff,
        num_bessel=arch.num_bessel,
        num_polynomial_cutoff=arch.cutoff_power,
        max_ell=arch.max_ell,
        interaction_cls=classes[arch.interactions[1]],
        interaction_cls_first=classes[arch.interactions[0]],
        num_interactions=len(arch.interactions),
        num_elements=len(arch.atomic_numbers),
        hidden_irreps=o3.Irreps(
            "+".join(f"{arch.channels}x{ell}{'eo'[ell % 2]}" for ell in arch.hidden[0])
        ),
        MLP_irreps=o3.Irreps(f"{arch.mlp_channels}x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(arch.atomic_numbers)),
        avg_num_neighbors=arch.average_neighbors,
        atomic_numbers=list(arch.atomic_numbers),
        correlation=arch.correlation[0],
        radial_MLP=list(arch.radial_mlp),
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    atoms.calc = MACECalculator(models=[model], device="cpu", default_dtype="float32")
    times = []
    for repeat in range(REPEATS + 2):
        atoms.rattle(1e-3, seed=repeat)
        start = time.perf_counter()
        atoms.get_forces()
        times.append(1e3 * (time.perf_counter() - start))
    return times[2:]


def main() -> None:
    """Run both, print and, where a file is given, record."""
    system = rock_salt_interstitial(3)
    model = potential.cast(load_default(), jnp.float32)
    ours, state = ensemble_step(model, system)
    atoms = to_ase(system)
    atoms.positions = np.asarray(state.motion.position[0])
    theirs = mace_torch_call(model.architecture, atoms)
    packages = ("jax", "jaxlib", "mace-torch", "torch")
    record = {
        "cores": CORES,
        "replicas": REPLICAS,
        "atoms": system.n_atoms,
        "ms_per_step_and_replica": [round(t, 2) for t in ours],
        "mace_torch_ms_per_evaluation": [round(t, 2) for t in theirs],
        "ratio_of_medians": round(statistics.median(theirs) / statistics.median(ours), 2),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in packages},
    }
    print(json.dumps(record, indent=1))
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
