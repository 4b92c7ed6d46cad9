"""Models of gated blocks with random weights, made here and by mace-torch."""

import jax
import numpy as np

from jaxdiff.models import dotted
from jaxdiff.models.mace.gated import Architecture, GatedMace
from jaxdiff.models.mace.gated.layout import layout
from jaxdiff.models.mace.product import polynomial_basis

BLOCK = "RealAgnosticResidualNonLinearInteractionBlock"
SPECS = {
    name: dict(type="categorical", per="graph", in_dim=1, emb_dim=3, **own)
    for name, own in (
        ("total_spin", dict(num_classes=101, offset=0)),
        ("total_charge", dict(num_classes=201, offset=100)),
    )
}
SMALL = Architecture(
    scale_shift=True,
    atomic_numbers=(1, 3, 9),
    heads=("low", "high"),
    cutoff=4.5,
    num_bessel=4,
    cutoff_power=5,
    max_ell=2,
    channels=3,
    edge_channels=(2, 2),
    edge_degrees=((0,), (0, 1)),
    hidden=((0, 1), (0,)),
    correlation=(2, 2),
    radial_mlp=(8,),
    density_mlp=(6,),
    readouts=("linear", "nonlinear"),
    mlp_channels=4,
    agnesi=False,
    zbl_power=None,
    embedded=(),
)


def random_model(architecture: Architecture) -> GatedMace:
    """Every array drawn, but the polynomials of the product."""
    rng, arrays = np.random.default_rng(0), {}
    for name, shape in layout(architecture).items():
        if name.startswith("constants.products."):
            _, _, layer, ell, order = name.split(".")
            arrays[name] = polynomial_basis(architecture.max_ell, int(ell), int(order))
            continue
        if ".contraction." in name:
            *_, ell, order = name.split(".")
            basis = polynomial_basis(architecture.max_ell, int(ell), int(order))
            shape = (1, basis.shape[-1], shape[-1])
        drawn = rng.normal(size=tuple(3 if n is None else n for n in shape))
        if name.endswith((".alpha", ".scale")):
            drawn = 2 + 0.3 * drawn
        if ".radial." in name or ".density." in name:  # not divided by the fan-in
            drawn = drawn * 0.3
        if ".agnesi." in name or ".zbl." in name:  # radii, powers and lengths
            drawn = 0.5 + 0.3 * np.abs(drawn)
        arrays[name] = drawn
    arrays["constants.bessel"] = np.pi / architecture.cutoff * np.arange(1, 5)
    for name in ("gate.scalar", "gate.gate", "readout_activation"):
        arrays[f"constants.{name}"] = np.array(1.3)
    tree = dotted.nest(arrays)
    with jax.enable_x64(True):
        return GatedMace(tree["weights"], tree["constants"], architecture)


def upstreams(upstream, charged=False, e3nn_gate=False, full=False):
    """As MACE-MH-1, or as MACE-OMOL-0, with every parameter drawn.

    - `full`: as large as these are, else with few channels.
    """
    from e3nn import nn

    torch, o3 = upstream.torch, upstream.o3
    degrees = "{0}x0e+{0}x1o+{0}x2e" if charged else "{0}x0e+{0}x1o"
    options = dict(
        first=BLOCK, other=BLOCK, hidden=degrees.format(6), mlp="4x0e",
        elements=(1, 3, 9), r_max=4.5, edge_irreps=o3.Irreps(degrees.format(2)),
        apply_cutoff=False, use_agnostic_product=True, radial_MLP=[16, 12],
    )  # fmt: skip
    if charged:
        options |= dict(
            num_interactions=3, heads=["omol"], embedding_specs=SPECS, max_ell=3,
            use_last_readout_only=True, use_embedding_readout=True,
            readout_cls=upstream.modules.NonLinearBiasReadoutBlock,
        )  # fmt: skip
    else:
        options |= dict(
            heads=["low", "high"], correlation=3, use_edge_irreps_first=True,
            pair_repulsion=True, distance_transform="Agnesi",
        )  # fmt: skip
    if full:
        channels = 1024 if charged else 512
        options |= dict(
            hidden=degrees.format(channels), edge_irreps=o3.Irreps(degrees.format(128)),
            elements=(*range(1, 84),), r_max=6.0, max_ell=3, mlp="16x0e",
            num_bessel=8 if charged else 10,
            radial_MLP=[128] * 3 if charged else [64] * 3,
        )  # fmt: skip
    blocks = upstream.modules.blocks
    own = blocks.GatedEquivariantBlock
    try:
        if e3nn_gate:  # as in files of releases before 0.3.16

            def gate(layout, **irreps):
                return nn.Gate(*map(list, irreps.values()))

            blocks.GatedEquivariantBlock = gate
        model = upstream.build(**options)
    finally:
        blocks.GatedEquivariantBlock = own
    rng = np.random.default_rng(0)
    for name, p in model.named_parameters():
        if p.ndim < 3:  # weights of product bases stay
            norm = ".net." in name and p.ndim == 1
            start = 3.0 if name.endswith("alpha") else float(norm or name.endswith("beta"))
            size = 0.3 if start else p.shape[-1] ** -0.5 if p.ndim == 2 else 1.0
            p.data = start + size * torch.from_numpy(rng.normal(size=tuple(p.shape)))
    return model
