"""Make the stored model files of the tests: `python tests/data/make_references.py`.

- `tiny.model`: what mace-torch 0.3.16 saves (torch 2.13, e3nn 0.4.4), without the compiled
  code in it, which the loader ignores and which is nine tenths of such a file.
- `native-v1.safetensors`: the same model in the native format, version 1. It is frozen: a
  later version of the format gets a file of its own, and this one must stay readable.
"""

import sys
from pathlib import Path

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


def main():
    """Write both files."""
    upstream = Upstream()
    model = upstream.build(
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
    tiny = upstream.save(without_compiled_code(model), HERE / "tiny.model")

    from jaxdiff.checkpoints import load_mace_torch, save_native

    provenance = {"source": "tiny.model", "license": "MIT", "trained_on": "nothing"}
    save_native(HERE / "native-v1.safetensors", load_mace_torch(tiny), provenance)


if __name__ == "__main__":
    main()
