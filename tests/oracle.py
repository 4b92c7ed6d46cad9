"""mace-torch as the reference: models made on the spot, and what they predict."""

import warnings

import numpy as np
from ase.build import bulk

MPA0 = {
    "first": "RealAgnosticDensityInteractionBlock",
    "other": "RealAgnosticDensityResidualInteractionBlock",
    "elements": (*range(1, 84), *range(89, 95)),
    "hidden": "128x0e+128x1o",
    "mlp": "16x0e",
    "correlation": 3,
    "max_ell": 3,
    "r_max": 6.0,
    "num_bessel": 10,
    "radial_MLP": [64, 64, 64],
    "pair_repulsion": True,
    "distance_transform": "Agnesi",
}
"""Options of exactly MACE-MPA-0 (medium)."""


TOLERANCE = {  # (energy per atom eV, forces eV/Å, stress eV/Å^3)
    "float64": (1e-8, 1e-7, 1e-9),
    "float32": (2e-6, 2e-5, 2e-6),
}
DENSITY = {
    "first": "RealAgnosticDensityInteractionBlock",
    "other": "RealAgnosticDensityResidualInteractionBlock",
}
ZBL_AGNESI = {"pair_repulsion": True, "distance_transform": "Agnesi"}


def crystal():
    """Four atoms of LiF in a sheared cell much narrower than twice the cutoff."""
    atoms = bulk("LiF", "rocksalt", a=4.08) * (2, 1, 1)
    atoms.rattle(0.1, seed=3)
    strain = np.eye(3) + 0.05 * np.random.default_rng(0).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    return atoms


class Upstream:
    """mace-torch, imported without its warnings."""

    def __init__(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch

            torch.serialization.add_safe_globals([slice])  # for e3nn's own constants
            import e3nn.o3
            import mace.modules
        self.torch, self.o3, self.modules = torch, e3nn.o3, mace.modules
        torch.set_num_threads(1)

    def build(
        self,
        *,
        kind="ScaleShiftMACE",
        first="RealAgnosticInteractionBlock",
        other="RealAgnosticResidualInteractionBlock",
        elements=(3, 9),
        hidden="4x0e+4x1o",
        mlp="8x0e",
        heads=None,
        dtype="float64",
        **options,
    ):
        """A model with random weights; `options` go to upstream's constructor."""
        classes, irreps = self.modules.interaction_classes, self.o3.Irreps
        n_heads, n_species = len(heads or [None]), len(elements)
        rng = np.random.default_rng(0)
        energies = rng.normal(size=(n_heads, n_species) if heads else n_species)
        settings = dict(
            r_max=4.7,
            num_bessel=6,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=classes[other],
            interaction_cls_first=classes[first],
            num_interactions=2,
            num_elements=n_species,
            hidden_irreps=irreps(hidden),
            MLP_irreps=irreps(mlp),
            atomic_energies=energies,
            avg_num_neighbors=7.3,
            atomic_numbers=list(elements),
            correlation=2,
            gate=self.torch.nn.functional.silu,
            radial_MLP=[16, 12],
            heads=heads,
        )
        if kind == "ScaleShiftMACE":
            settings["atomic_inter_scale"] = [1.3, 0.7] if n_heads == 2 else 1.3
            settings["atomic_inter_shift"] = [0.1, -0.2] if n_heads == 2 else 0.1
        settings |= options
        self.torch.manual_seed(0)
        self.torch.set_default_dtype(getattr(self.torch, dtype))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return getattr(self.modules, kind)(**settings)
        finally:
            self.torch.set_default_dtype(self.torch.float32)

    def save(self, thing, path):
        """torch.save, its warnings aside."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.torch.save(thing, path)
        return path

    def load(self, path):
        """A saved model, in float64."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.torch.load(path, weights_only=False, map_location="cpu").double()

    def predict(self, model, atoms, head=None):
        """Energy, forces and stress of ASE atoms, in float64."""
        from mace import data
        from mace.tools import AtomicNumberTable, torch_geometric

        heads = getattr(model, "heads", None) or ["Default"]
        table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
        self.torch.set_default_dtype(self.torch.float64)  # also of upstream's constants
        try:
            keys = data.KeySpecification(
                info_keys={"total_charge": "charge", "total_spin": "spin"}
            )
            config = data.config_from_atoms(
                atoms, head_name=head or heads[0], key_specification=keys
            )
            graph = data.AtomicData.from_config(
                config, z_table=table, cutoff=float(model.r_max), heads=heads
            )
            batch = torch_geometric.batch.Batch.from_data_list([graph])
            out = model(batch.to_dict(), compute_stress=True)
        finally:
            self.torch.set_default_dtype(self.torch.float32)
        keys = ("energy", "forces", "node_energy", "stress")
        found = {k: out[k].detach().numpy() for k in keys}
        return found | {"energy": float(found["energy"][0]), "stress": found["stress"][0]}
