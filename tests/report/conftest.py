"""A series.h5 as a run writes it, from a kinetic Monte Carlo walk with a known Ea."""

import itertools

import numpy as np
import pytest
from kinetic_walk import simulate

from jaxdiff import units
from jaxdiff.io.series import SeriesWriter
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.report.figures import files

EA, PREFACTOR = 0.22, 25.0  # eV, 1/ps
TEMPERATURES = (300.0, 350.0, 400.0, 450.0, 500.0)
SHARES = (0.75, 0.15, 0.05, 0.05)
FRAME_PS, CELLS = 0.02, 5
N_ANION = 4 * CELLS**3
N_MOBILE = N_ANION + 1
LATTICE = 4.083428  # Å


def cation_sites():
    """4a sites in the order of `kinetic_walk`, then the 8c site at its start; a/4."""
    edge = range(0, 4 * CELLS, 2)
    grid = [s for s in itertools.product(edge, repeat=3) if sum(s) // 2 % 2 == 0]
    return np.array([*grid, (1, 1, 1)])


def changes_of(walk, n_frames):
    """Changes of site as the tracker logs them, frames from 1; unwrapped."""
    rows = []
    site = np.tile(cation_sites(), (walk.n_replicas, 1, 1))
    for r, t, cations, steps in zip(
        walk.replica, walk.time, walk.cation, walk.step, strict=True
    ):
        frame = min(int(t / FRAME_PS) + 1, n_frames)
        for cation, step in zip(cations, steps, strict=True):
            if cation >= 0:
                site[r, cation] += step
                rows.append((r, frame, cation, *site[r, cation]))
    table = np.array(rows, int).reshape(-1, 6)
    return {
        "replica": table[:, 0],
        "frame": table[:, 1],
        "cation": table[:, 2],
        "site": ROCK_SALT.sites(table[:, 3:]),
    }


def thermo(rng, temperature, n_times):
    """Plausible traces: canonical fluctuations, conserved energy with little noise."""
    n_atoms = N_MOBILE + N_ANION
    shape = (n_times, len(temperature))
    kinetic = temperature * (1 + rng.normal(size=shape) * (2 / 3 / n_atoms) ** 0.5)
    return {
        "temperature_kelvin": kinetic,
        "potential_energy_ev": -4.7 * n_atoms + 1.5 * units.KB * n_atoms * kinetic,
        "conserved_energy_ev": -4.6 * n_atoms + 1e-3 * rng.normal(size=shape),
        "pressure_gpa": 1 + 0.1 * rng.normal(size=shape),
        "volume_angstrom3": np.full(shape, (CELLS * LATTICE) ** 3),
    }


def positions_at(temperatures, replicas):
    """Temperatures of positions as a run records them, 2 ± 1.5 % too hot."""
    return [
        {
            "temperature_kelvin": float(t),
            "replicas": replicas,
            "kelvin": 1.02 * float(t),
            "standard_error_kelvin": 0.015 * float(t),
            "timestep_error": 0.01,
        }
        for t in temperatures
    ]


def arrhenius(energy=EA, prefactor=PREFACTOR):
    return lambda t: prefactor * np.exp(-energy / (units.KB * t))


@pytest.fixture(autouse=True)
def png_alone(monkeypatch):
    """Figures are PNG alone, which takes a third of the time."""
    monkeypatch.setattr(files, "KINDS", ("png",))


@pytest.fixture
def write_series(tmp_path):
    """A function that writes a run and returns its folder."""

    def write(
        seed=0,
        temperatures=TEMPERATURES,
        replicas=8,
        duration_ps=150.0,
        rate=arrhenius(),  # noqa: B008
        folder=tmp_path,
        status="complete",
        with_thermo=True,
        positions=0,
        diverged=None,  # {replica: ps}
        provenance=None,
        **attributes,
    ):
        rng = np.random.default_rng(seed)
        temperature = np.repeat(temperatures, replicas)
        n_replicas, n_frames = len(temperature), round(duration_ps / FRAME_PS)
        rates = np.array([rate(t) for t in temperature])
        duration = np.full(n_replicas, duration_ps - 1e-9)
        walk = simulate(rates, duration, probability=SHARES, cells=CELLS, seed=seed)
        root = {
            "run_file": "seed = 1\n",
            "timestep_fs": 1.0,
            "steps_per_frame": 20,
            "frame_ps": FRAME_PS,
            "dwell_frames": 3,
            "core_radius_angstrom": 0.77,
            "lattice_constant_angstrom": LATTICE,
            "cell_angstrom": CELLS * LATTICE * np.eye(3),
            "network": ROCK_SALT.to_json(),
            "mobile": "Li",
            "formula": "LiF",
            "supercell": 4 * CELLS * np.eye(3, dtype=int),
            "n_mobile": N_MOBILE,
            "n_anion": N_ANION,
        }
        folder.mkdir(exist_ok=True)
        series = SeriesWriter(
            folder,
            temperature=temperature,
            seed_index=np.arange(n_replicas),
            lattice_constant=np.full(
                n_replicas, attributes.get("lattice_constant_angstrom", LATTICE)
            ),
            cell=np.tile(CELLS * LATTICE * np.eye(3), (n_replicas, 1, 1)),
            is_mobile=np.arange(N_MOBILE + N_ANION) < N_MOBILE,
            attributes=root | attributes,
            provenance=provenance
            or {
                "versions": {"jaxdiff": "test"},
                "device": "none",
                "seed": seed,
                "configurational_temperature": positions_at(temperatures, replicas),
            },
        )
        start = np.tile(cation_sites(), (n_replicas, 1, 1))
        series.start_sites(ROCK_SALT.sites(start))
        stop = np.full(n_replicas, np.nan)
        for replica, when in (diverged or {}).items():
            stop[replica] = when
        alive = np.where(np.isnan(stop), duration_ps, stop)
        frames = np.floor(alive / FRAME_PS + 1e-9).astype(int)
        changes = changes_of(walk, n_frames)
        seen = changes["frame"] <= frames[changes["replica"]]
        counts = {
            "frames": frames,
            "anion_displaced_frames": np.zeros(n_replicas, int),
            "lost_frame": np.full(n_replicas, -1),
        }
        series.append_sites({n: column[seen] for n, column in changes.items()}, counts)
        if with_thermo:
            time = np.arange(0, duration_ps, 0.5)
            rows = thermo(rng, temperature, len(time))
            gone = time[:, None] >= alive
            rows = {name: np.where(gone, np.nan, rows[name]) for name in rows}
            series.append("thermo", time, **rows)
        if positions:
            shape = (n_replicas, positions, N_MOBILE + N_ANION, 3)
            time = np.arange(1, positions + 1) * duration_ps / positions
            frame = 0.1 * rng.normal(size=shape)
            for replica, when in (diverged or {}).items():  # it stays as it was
                n = int((time < when).sum())
                frame[replica, n:] = frame[replica, max(n - 1, 0)]
            series.append_positions(time, frame)
        if diverged:
            series.set_diverged(stop)
            status = "diverged"
        series.finish(status)
        return folder

    return write
