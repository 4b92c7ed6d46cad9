"""mace-torch models to compare with, and what they say about a structure."""

import numpy as np
import pytest

INTERACTIONS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
)


def torch_model(
    *,
    seed=0,
    dtype="float64",
    scale_shift=True,
    atomic_numbers=(3, 9),
    first="RealAgnosticDensityInteractionBlock",
    other="RealAgnosticDensityResidualInteractionBlock",
    hidden="8x0e+8x1o",
    max_ell=2,
    correlation=3,
    n_layers=2,
    agnesi=True,
    zbl=True,
    heads=("Default",),
    r_max=4.5,
    num_bessel=6,
    radial_mlp=(8, 8),
    mlp=4,
    **extra,
):
    """A small random MACE of mace-torch."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("mace")
    from e3nn import o3
    from mace import modules

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    previous = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    energies = rng.normal(size=(len(heads), len(atomic_numbers)))
    arguments = dict(
        r_max=r_max,
        num_bessel=num_bessel,
        num_polynomial_cutoff=5,
        max_ell=max_ell,
        interaction_cls=modules.interaction_classes[other],
        interaction_cls_first=modules.interaction_classes[first],
        num_interactions=n_layers,
        num_elements=len(atomic_numbers),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps(f"{mlp}x0e"),
        atomic_energies=energies if len(heads) > 1 else energies[0],
        avg_num_neighbors=17.3,
        atomic_numbers=list(atomic_numbers),
        correlation=correlation,
        gate=torch.nn.functional.silu,
        pair_repulsion=zbl,
        distance_transform="Agnesi" if agnesi else "None",
        radial_MLP=list(radial_mlp),
        heads=list(heads),
        use_reduced_cg=False,
        **extra,
    )
    if scale_shift:
        scale, shift = (0.7, 0.1) if len(heads) == 1 else ([0.7, 1.3], [0.1, -0.2])
        model = modules.ScaleShiftMACE(
            atomic_inter_scale=scale, atomic_inter_shift=shift, **arguments
        )
    else:
        model = modules.MACE(**arguments)
    torch.set_default_dtype(previous)
    return model


def save(model, path):
    """As upstream saves its models: the whole module."""
    import torch

    torch.save(model, path)
    return path


def torch_prediction(model, atoms, head=None):
    """Energy, forces and stress of mace-torch for ASE atoms, in the model's dtype."""
    import torch
    from mace import data
    from mace.tools import torch_geometric, utils

    dtype = next(model.parameters()).dtype
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        heads = getattr(model, "heads", None) or ["Default"]
        numbers = np.asarray([int(z) for z in model.atomic_numbers])
        config = data.config_from_atoms(atoms, head_name=head or heads[0])
        graph = data.AtomicData.from_config(
            config,
            z_table=utils.AtomicNumberTable(sorted(int(z) for z in numbers)),
            cutoff=float(model.r_max),
            heads=heads,
        )
        batch = torch_geometric.batch.Batch.from_data_list([graph]).to_dict()
        out = model(batch, compute_stress=True)
    finally:
        torch.set_default_dtype(previous)
    return {
        "energy": float(out["energy"].detach()[0]),
        "node_energy": out["node_energy"].detach().numpy(),
        "forces": out["forces"].detach().numpy(),
        "stress": out["stress"].detach().numpy()[0],
    }
