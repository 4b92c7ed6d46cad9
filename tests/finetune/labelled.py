"""Small LiF cells with labels, and mace-torch's batches of the same."""

import warnings

import ase.build
import numpy as np

from jaxdiff.calculator import predict_atoms


def labelled(n_frames, seed, model):
    """LiF cells, some with an extra Li, labelled by another random model."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n_frames):
        atoms = ase.build.bulk("LiF", "rocksalt", a=4.0 + 0.1 * (k % 2), cubic=True)
        if k % 3 == 0:
            atoms += ase.Atoms("Li", positions=[[1.02, 1.02, 1.02]])
        atoms.positions += rng.normal(0, 0.1, (len(atoms), 3))
        result = predict_atoms(model, atoms)
        atoms.info |= {
            "REF_energy": float(result.energy),
            "REF_stress": np.asarray(result.stress).ravel(),
            "config_type": "interstitial" if k % 3 == 0 else "bulk",
        }
        atoms.arrays["REF_forces"] = np.array(result.forces)
        frames.append(atoms)
    return frames


def torch_batch(upstream, model, frames, head_of_frame):
    """The frames as one of mace-torch's batches, in float64."""
    from mace import data
    from mace.tools import AtomicNumberTable, torch_geometric

    heads = list(getattr(model, "heads", None) or ["Default"])
    keys = data.KeySpecification(
        info_keys={
            "energy": "REF_energy",
            "stress": "REF_stress",
            "virials": "REF_virials",
            "total_charge": "charge",
            "total_spin": "spin",
        },
        arrays_keys={"forces": "REF_forces"},
    )
    table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
    upstream.torch.set_default_dtype(upstream.torch.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graphs = [
                data.AtomicData.from_config(
                    data.config_from_atoms(atoms, keys, head_name=heads[head]),
                    z_table=table,
                    cutoff=float(model.r_max),
                    heads=heads,
                )
                for atoms, head in zip(frames, head_of_frame, strict=True)
            ]
            return torch_geometric.batch.Batch.from_data_list(graphs)
    finally:
        upstream.torch.set_default_dtype(upstream.torch.float32)


def torch_loss(upstream, model, batch, loss, *, virials=False):
    """The loss of a batch, with a graph behind it for its gradient."""
    torch = upstream.torch
    torch.set_default_dtype(torch.float64)
    try:
        out = model(
            batch.to_dict(), training=True, compute_stress=True, compute_virials=virials
        )
        return loss(pred=out, ref=batch)
    finally:
        torch.set_default_dtype(torch.float32)


def gradients(upstream, model, path):
    """Gradients that torch has computed, in our layout: read as if they were weights."""
    import copy

    from jaxdiff.checkpoints import load

    carrier = copy.deepcopy(model)
    pairs = zip(carrier.named_parameters(), model.named_parameters(), strict=True)
    for (name, into), (_, source) in pairs:
        if "bessel" not in name:
            value = source.grad
            into.data = upstream.torch.zeros_like(into) if value is None else value.clone()
            into.grad = None
    return load(upstream.save(carrier, path)).weights
