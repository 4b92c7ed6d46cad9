"""Models of random weights and what deepmd-kit predicts with them, kept for the tests.

    PYTHONPATH=tests python tests/data/make_deepmd.py

Needs the `[deepmd-oracle]` extra. The structures are rows of numbers in the record, so that
no library has to make them again.
"""

import json
from pathlib import Path

import ase
import jax
import numpy as np
from ase.build import bulk
from deepmd_oracle import Kit

FOLDER = Path(__file__).parent / "deepmd"
ONE, TWO = {"type_one_side": True}, {"type_one_side": False}

CASES = {
    "one_sided": {"descriptor": ONE},
    "two_sided": {"descriptor": {**TWO, "resnet_dt": True}, "shift": True},
    "third_species": {
        "descriptor": {**ONE, "activation_function": "silut:1.5"},
        "elements": ("F", "Na", "Li"),
        "shift": True,
    },
    "excluded": {"descriptor": {**TWO, "exclude_types": [[0, 1]]}, "shift": True},
    "silent": {
        "descriptor": {**ONE, "env_protection": 0.01},
        "pair_exclude_types": [[0, 0]],
        "atom_exclude_types": [1],
        "shift": True,
    },
    "crowded": {
        "descriptor": {**ONE, "sel": [9, 5], "activation_function": "gelu"},
        "fitting": {"activation_function": "softplus", "resnet_dt": False},
        "shift": True,
    },
    "text": {"descriptor": {**ONE, "neuron": [2, 4], "sel": [8, 8]}},
}
"""Of each file what it has beyond the smallest model; "text" is written as .yaml."""


def structures() -> dict[str, ase.Atoms]:
    """A sheared cell much narrower than the cutoff, and a cluster without a cell."""
    atoms = bulk("LiF", "rocksalt", a=4.08) * (2, 1, 1)
    atoms.rattle(0.1, seed=3)
    strain = np.eye(3) + 0.05 * np.random.default_rng(0).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    cluster = bulk("LiF", "rocksalt", a=4.08, cubic=True)
    cluster.rattle(0.1, seed=4)
    cluster.pbc, cluster.cell = False, None
    return {"cell": atoms, "cluster": cluster}


def main() -> None:
    """Write tests/data/deepmd."""
    jax.config.update("jax_enable_x64", True)
    kit, found = Kit(), {}
    FOLDER.mkdir(exist_ok=True)
    for name, settings in CASES.items():
        suffix = ".yaml" if name == "text" else ".dp"
        path = kit.write(FOLDER / f"{name}{suffix}", **settings)
        found[path.name] = {
            key: {k: np.asarray(v).tolist() for k, v in kit.predict(path, atoms).items()}
            for key, atoms in structures().items()
        }
    record = {
        "structures": {key: atoms.todict() for key, atoms in structures().items()},
        "predictions": found,
    }
    text = json.dumps(record, default=lambda array: array.tolist())
    (FOLDER / "predictions.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
