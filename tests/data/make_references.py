"""Make the stored model files of the tests: `python tests/data/make_references.py`.

- `tiny.model`: what mace-torch 0.3.16 saves (torch 2.13, e3nn 0.4.4), without the compiled
  code in it, which the loader ignores and which is nine tenths of such a file.
- `native-v1.safetensors`: the same model in the native format, version 1. It is frozen: a
  later version of the format gets a file of its own, and this one must stay readable.
- `predictions.json`: what mace-torch predicts with `tiny.model` in float64.
"""

import json
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from oracle import Upstream  # noqa: E402


def without_compiled_code(model):
    """Drop TorchScript bytes and einsum graphs from what will be pickled."""
    from e3nn.util.codegen import CodeGenMixin

    def bare_state(self):
        modules = {
            name: module
            for name, module in self._modules.items()
            if not name.startswith("_compiled")
        }
        return {**self.__dict__, "_modules": modules, "__codegen__": {}}

    CodeGenMixin.__getstate__ = bare_state
    for module in model.modules():
        if type(module).__name__ != "Contraction":
            continue
        for name in ("graph_opt_main", "contractions_weighting", "contractions_features"):
            del module._modules[name]
    return model


def structures():
    """A sheared cell narrower than the cutoff, a larger one, a molecule without a cell."""
    narrow = bulk("LiF", "rocksalt", a=4.08) * (2, 1, 1)
    narrow.rattle(0.15, seed=1)
    narrow.set_cell(narrow.cell.array + [[0.1, 0, 0.3], [0, 0, 0], [0, 0.2, 0]])
    wide = bulk("LiF", "rocksalt", a=4.08, cubic=True) * (2, 1, 1)
    wide.symbols[5] = "O"
    wide.rattle(0.1, seed=2)
    molecule = Atoms("OLiF", [[0, 0, 0], [1.6, 0.1, 0], [0.9, 1.9, 0.4]])
    return [narrow, wide, molecule]


def predictions(upstream, model):
    """Energies, forces and stress by mace-torch, each structure with each head."""
    rows = []
    for atoms in structures():
        for head in model.heads:
            found = upstream.predict(model, atoms, head=head)
            row = {
                "head": head,
                "numbers": atoms.numbers,
                "positions": atoms.positions,
                "cell": atoms.cell.array,
                "pbc": atoms.pbc,
            } | {k: found[k] for k in ("energy", "node_energy", "forces", "stress")}
            rows.append({k: np.asarray(v).tolist() for k, v in row.items()})
    return rows


def build(upstream):
    """A small model with every ingredient; its weights come from a fixed seed."""
    return upstream.build(
        first="RealAgnosticDensityInteractionBlock",
        other="RealAgnosticDensityResidualInteractionBlock",
        elements=(3, 8, 9),
        hidden="2x0e+2x1o",
        mlp="4x0e",
        heads=["pbe", "r2scan"],
        pair_repulsion=True,
        distance_transform="Agnesi",
        radial_MLP=[8, 8],
        dtype="float32",
    )


def save(upstream):
    """The model as upstream saves it and in our format."""
    tiny = upstream.save(without_compiled_code(build(upstream)), HERE / "tiny.model")

    from jaxdiff.checkpoints import load_mace_torch, save_native

    provenance = {"source": "tiny.model", "license": "MIT", "trained_on": "nothing"}
    save_native(HERE / "native-v1.safetensors", load_mace_torch(tiny), provenance)


def main():
    """Write the predictions, and unless told `--predictions` the models."""
    upstream = Upstream()
    rows = predictions(upstream, build(upstream).double())
    (HERE / "predictions.json").write_text(json.dumps(rows, indent=0) + "\n")
    if sys.argv[1:] != ["--predictions"]:
        save(upstream)


if __name__ == "__main__":
    main()
