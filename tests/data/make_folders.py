"""Folders that each command left, unfinished where it can go on: python make_folders.py.

Made once, by the version before `jaxdiff.io.folder`, and packed as folders-v1.tar.gz
without figures and second checkpoints; `tests/runs/test_frozen_folders.py` opens them and
goes on. The model of the dynamics is `springs`, below.
"""

import os
import signal
import sys
import tomllib
from pathlib import Path

import ase.build
import ase.io
import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff import units
from jaxdiff.neighbors import volume
from jaxdiff.runs import build

FOLDERS = Path(__file__).parent / "folders"

RUN = """
[model]
name_or_path = "springs"
precision = "float64"
[system]
supercell = 2
interstitials = 0
[ensemble]
temperatures_kelvin = [300, 600]
replicas_per_temperature = 1
timestep_fs = 2
seed = 1
[equilibration]
duration_ps = 0.04
[production]
duration_ps = 0.2
[output]
directory = "{directory}"
chunk_ps = 0.02
"""

BAROSTAT = """
[barostat]
pressure_time_ps = 0.1
"""

TRAINING = """
seed = 3
directory = "{directory}"
precision = "float64"
[data]
train = ["train.extxyz"]
valid = ["valid.extxyz"]
isolated_atom_ev = {{ Li = -10.0, F = -20.0 }}
[scratch]
cutoff_angstrom = 3.0
channels = 2
max_ell = 1
hidden = [[0], [0]]
correlation = [1, 1]
interactions = ["RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"]
radial_mlp = [4]
num_bessel = 2
mlp_channels = 2
[optimizer]
epochs = {epochs}
batch_size = 2
learning_rate = 0.05
"""

BARRIER = """
[model]
name_or_path = "lif-compact"
[system]
supercell = 2
paths = ["collinear"]
[search]
images = 3
[output]
directory = "{directory}"
"""


def springs(section, system):
    """Energy k Σ m |x - site|² / 2 + B (V - V0)² / 2 V0; sites go with the cell."""
    fraction = jnp.asarray(system.position) @ jnp.linalg.inv(jnp.asarray(system.cell))
    mass, rest = jnp.asarray(system.mass)[:, None], volume(jnp.asarray(system.cell))
    stiffness = 60.0 * units.GIGAPASCAL / rest

    def energy_and_force(spring, position, cell, neighbors):
        away, more = position - fraction @ cell, volume(cell) - rest
        energy = spring * jnp.sum(mass * away**2) / 2 + stiffness * more**2 / 2
        force = -spring * mass * away
        isotropic = stiffness * more * volume(cell) * jnp.eye(3)
        return energy, force, isotropic - jnp.einsum("na,nb->ab", away, force)

    return build.Potential(jnp.asarray(0.3), energy_and_force, 2.0, "0" * 64)


def _cut_off(text: str, done: float) -> None:
    """Run until that fraction of the production, and stop there."""
    from jaxdiff.io import runfile
    from jaxdiff.runs import simulation
    from jaxdiff.stop import Stopped

    def progress(phase: str, fraction: float, *_: object) -> None:
        if phase == "production" and fraction >= done:
            os.kill(os.getpid(), signal.SIGTERM)

    run = runfile.parse(tomllib.loads(text))
    simulation.PART_SECONDS = 0.0
    try:
        simulation.simulate(run, Path(run.output.directory), progress, print, springs)
    except Stopped as stopped:
        print(stopped)


def _dynamics() -> None:
    from jaxdiff.runs import campaign

    _cut_off(RUN.format(directory="simulate"), 0.5)
    _cut_off(RUN.format(directory="lattice") + BAROSTAT, 0.5)
    from jaxdiff.io import runfile

    study = runfile.parse(tomllib.loads(RUN.format(directory="campaign")))
    planned = campaign.plan(study, "campaign", n_units=2)
    os.chdir("campaign")
    for unit in planned.units:
        _cut_off(unit.run_file.read_text(), 2.0)
        unit.exit_file.write_text("0\n")
    os.chdir("..")


def _labelled(seed: int, n: int) -> list[ase.Atoms]:
    rng, frames = np.random.default_rng(seed), []
    for _ in range(n):
        atoms = ase.build.bulk("LiF", "rocksalt", a=4.0, cubic=True)
        away = rng.normal(0, 0.1, (8, 3))
        atoms.positions += away
        atoms.info |= {"REF_energy": -130.0 + 2.0 * float((away**2).sum())}
        atoms.arrays["REF_forces"] = -4.0 * (away - away.mean(axis=0))
        frames.append(atoms)
    return frames


def _training() -> None:
    from typer.testing import CliRunner

    from jaxdiff.cli import app

    ase.io.write("train.extxyz", _labelled(0, 4))
    ase.io.write("valid.extxyz", _labelled(1, 2))
    Path("finetune.toml").write_text(TRAINING.format(directory="finetune", epochs=1))
    done = CliRunner().invoke(app, ["finetune", "finetune.toml"])
    print(done.output)


def _barrier() -> None:
    """A path as if it had been found; a search takes minutes."""
    from jaxdiff.io import barrierfile
    from jaxdiff.runs import barriers

    Path("barrier.toml").write_text(BARRIER.format(directory="barrier"))
    barriers._searched = lambda *_: {"forward_ev": 0.15, "backward_ev": 0.15}
    barriers.search_to_folder(barrierfile.load("barrier.toml"), print)


def _analyze() -> None:
    from typer.testing import CliRunner

    from jaxdiff.cli import app

    rng = np.random.default_rng(0)
    crystal = ase.build.bulk("LiF", "rocksalt", a=4.0, cubic=True) * (2, 2, 2)
    frames = []
    for k in range(40):
        atoms = crystal.copy()
        del atoms[0]  # a vacancy, into which a neighbour jumps half-way
        atoms.positions += rng.normal(0, 0.05, (len(atoms), 3))
        if k >= 20:
            near = int(np.argmin(crystal.get_distances(0, range(1, 64), mic=True)
                                 + 99.0 * (crystal.numbers[1:] != 3)))  # fmt: skip
            atoms.positions[near] = crystal.positions[0]
        frames.append(atoms)
    ase.io.write("vacancy.extxyz", frames)
    options = ["--temperature-kelvin", "600", "--frame-ps", "0.02", "--keep-frames", "4"]
    done = CliRunner().invoke(
        app, ["analyze", "vacancy.extxyz", *options, "--out", "analyze"]
    )
    print(done.output)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    FOLDERS.mkdir(exist_ok=True)
    os.chdir(FOLDERS)
    for part in (_dynamics, _training, _barrier, _analyze):
        if part.__name__[1:] in (sys.argv[1:] or part.__name__):
            part()
