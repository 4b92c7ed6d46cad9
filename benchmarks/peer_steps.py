"""A Langevin step of ASE and of torch-sim, both with mace-torch; for `ensembles.py`."""

import statistics
import time
import warnings
from pathlib import Path

from harness import n_cores, peak_gib

KELVIN, FRICTION_PER_PS, STEPS, REPEATS = 500.0, 5.0, 3, 3


def ase_step(path: Path, edge: int, timestep_fs: float, replicas: int) -> dict:
    """One replica after another: the time of a step is that of one, times their number."""
    import ase.units
    from ase.md.langevin import Langevin
    from mace.calculators import MACECalculator

    _prepare()
    atoms = _crystal(edge)
    atoms.calc = MACECalculator(
        model_paths=[str(path)], device="cpu", default_dtype="float32"
    )
    friction = FRICTION_PER_PS / (1000 * ase.units.fs)
    dynamics = Langevin(
        atoms, timestep_fs * ase.units.fs, temperature_K=KELVIN, friction=friction
    )
    step = replicas * _median(dynamics.run)
    return {"atoms": len(atoms), "step_s": step, "peak_gib": round(peak_gib(), 2)}


def torch_sim_step(path: Path, edge: int, timestep_fs: float, replicas: int) -> dict:
    """All replicas in one batch; without stress, which the thermostat does not ask for."""
    torch = _prepare()
    import torch_sim
    from torch_sim.models.mace import MaceModel
    from torch_sim.units import MetalUnits

    atoms = _crystal(edge)
    model = MaceModel(
        torch.load(path, weights_only=False),
        device=torch.device("cpu"),
        dtype=torch.float32,
        compute_stress=False,
    )
    picosecond = float(MetalUnits.time)
    initialize, update = torch_sim.nvt_langevin(
        model,
        dt=torch.tensor(1e-3 * timestep_fs * picosecond, dtype=torch.float32),
        kT=torch.tensor(KELVIN * float(MetalUnits.temperature), dtype=torch.float32),
        gamma=torch.tensor(FRICTION_PER_PS / picosecond, dtype=torch.float32),
        seed=0,
    )
    batch = torch_sim.initialize_state([atoms] * replicas, model.device, model.dtype)
    state = initialize(batch)

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state = update(state)

    step = _median(run)
    return {"atoms": len(atoms), "step_s": step, "peak_gib": round(peak_gib(), 2)}


NAMES = {"ase": "ASE + mace-torch", "torch_sim": "torch-sim + mace-torch"}


def _prepare():
    """PyTorch on all cores, and able to read what mace-torch writes."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(n_cores())
    torch.serialization.add_safe_globals([slice])  # for e3nn's own constants
    return torch


def _crystal(edge: int):
    """LiF with an interstitial, as a run here starts from it, with velocities."""
    import numpy as np
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

    from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
    from jaxdiff.system import to_ase

    atoms = to_ase(rock_salt_interstitial(edge, lattice_constant=4.083428))
    rng = np.random.default_rng(0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * KELVIN, rng=rng)
    return atoms


def _median(run) -> float:
    """Seconds of a step."""
    run(STEPS)
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        run(STEPS)
        times.append((time.perf_counter() - begin) / STEPS)
    return statistics.median(times)
