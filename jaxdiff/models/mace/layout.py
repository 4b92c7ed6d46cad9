"""Names and shapes of the arrays of a MACE model, from its architecture alone."""

from typing import Any

from jaxdiff.models.contract import Shape
from jaxdiff.models.mace.architecture import Architecture, tensor_product_paths


def layout(architecture: Architecture) -> dict[str, Shape]:
    """Dotted name -> shape of every array that a model of this architecture has."""
    arch = architecture
    n_species, channels = len(arch.atomic_numbers), arch.channels
    shapes: dict[str, Shape] = {"weights.embedding": (n_species, channels)}
    degrees_in: tuple[int, ...] = (0,)
    for i, kind in enumerate(arch.interactions):
        shapes |= _interaction(arch, kind, degrees_in, i)
        shapes |= _product(arch, i)
        shapes |= _readout(arch, i)
        degrees_in = arch.hidden[i]

    shapes |= {"constants.radial_activation": ()}
    return shapes | constants_of(arch)


def constants_of(arch: Any) -> dict[str, Shape]:
    """Those that all kinds of MACE have."""
    n_species, n_heads = len(arch.atomic_numbers), len(arch.heads)
    shapes: dict[str, Shape] = {"constants.atomic_energies": (n_heads, n_species)}
    shapes |= {"constants.scale": (n_heads,), "constants.shift": (n_heads,)}
    shapes["constants.bessel"] = (arch.num_bessel,)
    shapes["constants.readout_activation"] = ()
    if arch.agnesi:
        shapes |= {f"constants.agnesi.{name}": () for name in ("q", "p", "a")}
        shapes["constants.agnesi.radius"] = (n_species,)
    if arch.zbl_power is not None:
        shapes |= {"constants.zbl.c": (4,), "constants.zbl.radius": (n_species,)}
        shapes |= {"constants.zbl.a_exp": (), "constants.zbl.a_prefactor": ()}
    return shapes


def _interaction(arch, kind, degrees_in, layer) -> dict[str, Shape]:
    channels, n_species = arch.channels, len(arch.atomic_numbers)
    name = f"weights.interactions.{layer}"
    reached = [l3 for *_, l3 in tensor_product_paths(degrees_in, arch.max_ell)]
    widths = (arch.num_bessel, *arch.radial_mlp, len(reached) * channels)
    skipped = set(reached)
    if "Residual" in kind:
        skipped = set(degrees_in) & set(arch.hidden[layer])

    shapes: dict[str, Shape] = {}
    for ell in degrees_in:
        shapes[f"{name}.linear_up.{ell}"] = (channels, channels)
    for n in range(len(widths) - 1):
        shapes[f"{name}.radial.{n}"] = widths[n : n + 2]
    for ell in sorted(set(reached)):
        shapes[f"{name}.linear.{ell}"] = (reached.count(ell) * channels, channels)
    for ell in sorted(skipped):
        shapes[f"{name}.skip.{ell}"] = (channels, n_species, channels)
    if "Density" in kind:
        shapes[f"{name}.density"] = (arch.num_bessel, 1)
    return shapes


def _product(arch, layer) -> dict[str, Shape]:
    channels, n_species = arch.channels, len(arch.atomic_numbers)
    dimension = (arch.max_ell + 1) ** 2
    shapes: dict[str, Shape] = {}
    for ell in arch.hidden[layer]:
        for nu in range(1, arch.correlation[layer] + 1):
            path = f"products.{layer}.contraction.{ell}.{nu}"
            shapes[f"weights.{path}"] = (n_species, None, channels)
            matrix = (2 * ell + 1, *(dimension,) * nu, None)
            shapes[f"constants.products.{layer}.{ell}.{nu}"] = matrix
        shapes[f"weights.products.{layer}.linear.{ell}"] = (channels, channels)
    return shapes


def _readout(arch, layer) -> dict[str, Shape]:
    n_heads, n_layers = len(arch.heads), len(arch.interactions)
    name = f"weights.readouts.{layer}"
    if n_layers == 1 or layer < n_layers - 1:
        return {f"{name}.linear": (arch.channels, n_heads)}
    width = n_heads * arch.mlp_channels
    return {
        f"{name}.linear_1": (arch.channels, width),
        f"{name}.linear_2": (width, n_heads),
    }
