"""A series.h5 as a run writes it, from a kinetic Monte Carlo walk with a known Ea."""

import json

import h5py
import numpy as np
import pytest
from jaxdiff.observables.counts import CLASSES, SQUARED_JUMP, SQUARED_STEPS, UNITS

from jaxdiff import units

EA, PREFACTOR = 0.22, 25.0  # eV, 1/ps
TEMPERATURES = (300.0, 350.0, 400.0, 450.0, 500.0)
SHARES = (0.75, 0.15, 0.04, 0.05, 0.01)
FRAME_PS, CAPACITY, N_MOBILE, N_ANION = 0.02, 64, 501, 500
JUMPS = ([2, 2, 2], [2, 2, 0], [2, 0, 0], [2, 0, 0], [4, 2, 0])


def one_replica(rng, rate, n_frames):
    """Counters of one replica of a walk without memory."""
    counts = {name: np.zeros((), np.int32) for name in UNITS}
    counts["cosine_sum"] = counts["cosine_squared_sum"] = np.zeros(())
    counts["first_hop_frame"] = np.int32(-1)
    counts["defect_displacement"] = np.zeros(3, np.int32)
    counts["hops_by_class"] = np.zeros(5, np.int32)
    counts["atoms_moved_histogram"] = np.zeros(8, np.int32)
    for name in ("event_frame", "event_atoms", "event_class"):
        counts[name] = np.full(CAPACITY, -1, np.int32)
    for name in ("event_from", "event_to"):
        counts[name] = np.full((CAPACITY, 3), -1, np.int32)
    counts["frames"] = counts["exposure_frames"] = np.int32(n_frames)
    counts["undefined_frames"] = np.int32(rng.poisson(0.01 * n_frames))
    counts["transit_frames"] = counts["undefined_frames"] // 2
    site, previous, time = np.array([1, 1, 1]), None, rng.exponential(1 / rate)
    while time < n_frames * FRAME_PS:
        kind = rng.choice(5, p=SHARES)
        jump = rng.permutation(JUMPS[kind]) * rng.choice([-1, 1], 3)
        if previous is not None:
            cosine = jump @ previous / np.sqrt((jump @ jump) * (previous @ previous))
            counts["cosine_sum"] = counts["cosine_sum"] + cosine
            counts["cosine_squared_sum"] = counts["cosine_squared_sum"] + cosine**2
            counts["cosine_count"] += 1
        add_event(counts, int(time / FRAME_PS), site, jump, kind)
        site, previous = site + jump, jump
        time += rng.exponential(1 / rate)
    return counts


def add_event(counts, frame, site, jump, kind):
    atoms = (2, 2, 2, 1, 3)[kind]
    counts["hops_by_class"][kind] += 1
    counts["atoms_moved_histogram"][atoms] += 1
    counts["squared_defect_displacement"] += np.int32([*SQUARED_JUMP, 20][kind])
    counts["squared_atom_steps"] += np.int32([*SQUARED_STEPS, 9][kind])
    counts["defect_displacement"] = counts["defect_displacement"] + jump
    place = int(counts["event_count"])
    if place < CAPACITY:
        for name, value in (
            ("frame", frame),
            ("from", site),
            ("to", site + jump),
            ("atoms", atoms),
            ("class", kind),
        ):
            counts[f"event_{name}"][place] = value
    if place == 0:
        counts["first_hop_frame"] = np.int32(frame)
    counts["event_count"] += 1


def thermo(rng, temperature, n_times):
    """Plausible traces: canonical fluctuations, conserved energy with little noise."""
    n_atoms = N_MOBILE + N_ANION
    shape = (len(temperature), n_times)
    kinetic = temperature[:, None] * (1 + rng.normal(size=shape) * (2 / 3 / n_atoms) ** 0.5)
    potential = -4.7 * n_atoms + 1.5 * units.KB * n_atoms * kinetic
    conserved = -4.6 * n_atoms + 1e-3 * rng.normal(size=shape)
    return kinetic, potential, conserved


@pytest.fixture
def write_series(tmp_path):
    """A function that writes a run and returns its folder."""

    def write(
        seed=0,
        temperatures=TEMPERATURES,
        replicas=8,
        duration_ps=150.0,
        rate=None,
        folder=tmp_path,
        **attributes,
    ):
        rng = np.random.default_rng(seed)
        temperature = np.repeat(temperatures, replicas)
        rate = rate or (lambda t: PREFACTOR * np.exp(-EA / (units.KB * t)))
        walks = [
            one_replica(rng, rate(t), round(duration_ps / FRAME_PS)) for t in temperature
        ]
        provenance = {"versions": {"jaxdiff": "test"}, "device": "none", "seed": seed}
        root = {
            "format": "jaxdiff-series",
            "format_version": 1,
            "run_file": "seed = 1\n",
            "provenance": json.dumps(provenance),
            "timestep_fs": 1.0,
            "steps_per_frame": 20,
            "dwell_frames": 3,
            "core_radius_angstrom": 0.77,
            "lattice_constant_angstrom": 4.083428,
            "supercell": [5, 5, 5],
            "n_mobile": N_MOBILE,
            "n_anion": N_ANION,
            "status": "complete",
        }
        with h5py.File(folder / "series.h5", "w") as file:
            file.attrs.update(root | attributes)
            file["temperature_kelvin"] = temperature
            file["replica_seed_index"] = np.arange(len(temperature))
            for name in UNITS:
                data = np.stack(
                    [np.broadcast_to(w[name], np.shape(w[name])) for w in walks]
                )
                file[f"hops/{name}"] = data
                file[f"hops/{name}"].attrs["unit"] = UNITS[name]
            time = np.arange(0, duration_ps, 0.5)
            file["thermo/time_ps"] = time
            names = ("temperature_kelvin", "potential_energy_ev", "conserved_energy_ev")
            traces = thermo(rng, temperature, len(time))
            for name, trace in zip(names, traces, strict=True):
                file[f"thermo/{name}"] = trace
        return folder

    assert len(SHARES) == len(CLASSES)
    return write
