"""Names and shapes of the arrays, from the architecture alone."""

from collections.abc import Sequence

from jaxdiff.models.contract import Shape
from jaxdiff.models.mace.architecture import tensor_product_paths
from jaxdiff.models.mace.gated.architecture import Architecture, gate_channels
from jaxdiff.models.mace.layout import constants_of


def layout(architecture: Architecture) -> dict[str, Shape]:
    """Dotted name -> shape of every array that a model of this architecture has."""
    arch = architecture
    shapes: dict[str, Shape] = {
        "weights.embedding": (len(arch.atomic_numbers), arch.channels)
    }
    for layer in range(len(arch.hidden)):
        shapes |= _interaction(arch, layer) | _product(arch, layer)
    for number, kind in enumerate(arch.readouts):
        shapes |= _readout(arch, number, kind)
    shapes |= _structure(arch)

    shapes |= {f"constants.gate.{name}": () for name in ("scalar", "gate")}
    return shapes | constants_of(arch)


def _interaction(arch: Architecture, layer: int) -> dict[str, Shape]:
    name, channels = f"weights.interactions.{layer}", arch.channels
    given, sent = arch.degrees_in(layer), arch.edge_degrees[layer]
    edge, n_species = arch.edge_channels[layer], len(arch.atomic_numbers)
    reached = [l3 for *_, l3 in tensor_product_paths(sent, arch.max_ell)]
    shapes: dict[str, Shape] = {f"{name}.{end}": (n_species, channels) for end in _ENDS}
    width = arch.num_bessel + 2 * channels
    for network, hidden, out in (
        ("radial", arch.radial_mlp, len(reached) * edge),
        ("density", arch.density_mlp, 1),
    ):
        shapes |= _network(f"{name}.{network}", (width, *hidden, out))
    shapes |= {f"{name}.linear_up.{ell}": (channels, edge) for ell in sent}
    shapes |= {f"{name}.residual.{ell}": (edge, gate_channels(arch, ell)) for ell in sent}
    for ell in sorted(set(reached)):
        width = reached.count(ell) * edge
        shapes[f"{name}.linear_1.{ell}"] = (width, gate_channels(arch, ell))
        shapes[f"{name}.linear_2.{ell}"] = (channels, channels)
    for ell in sorted(set(given) & set(arch.hidden[layer])):
        shapes[f"{name}.skip.{ell}"] = (channels, channels)
    return shapes | {f"{name}.alpha": (), f"{name}.beta": ()}


_ENDS = ("source", "target")


def _network(name: str, widths: Sequence[int]) -> dict[str, Shape]:
    """A layer each with weight and bias; all but the last with a norm."""
    shapes: dict[str, Shape] = {}
    for n in range(len(widths) - 1):
        out = widths[n + 1]
        shapes |= {f"{name}.{n}.weight": (widths[n], out), f"{name}.{n}.bias": (out,)}
        if n < len(widths) - 2:
            shapes |= {f"{name}.{n}.scale": (out,), f"{name}.{n}.offset": (out,)}
    return shapes


def _product(arch: Architecture, layer: int) -> dict[str, Shape]:
    dimension = (arch.max_ell + 1) ** 2
    shapes: dict[str, Shape] = {}
    for ell in arch.hidden[layer]:
        for nu in range(1, arch.correlation[layer] + 1):
            path = f"products.{layer}.contraction.{ell}.{nu}"
            shapes[f"weights.{path}"] = (1, None, arch.channels)
            matrix = (2 * ell + 1, *(dimension,) * nu, None)
            shapes[f"constants.products.{layer}.{ell}.{nu}"] = matrix
        linear = f"weights.products.{layer}.linear.{ell}"
        shapes[linear] = (arch.channels, arch.channels)
    return shapes


def _readout(arch: Architecture, number: int, kind: str) -> dict[str, Shape]:
    n_heads, name = len(arch.heads), f"weights.readouts.{number}"
    if kind == "linear":
        return {f"{name}.linear": (arch.channels, n_heads)}
    width = n_heads * arch.mlp_channels
    shapes: dict[str, Shape] = {
        f"{name}.linear_1": (arch.channels, width),
        f"{name}.linear_2": (width, n_heads),
    }
    if kind == "bias":
        shapes |= {f"{name}.middle": (width, width), f"{name}.middle_bias": (width,)}
        shapes[f"{name}.bias"] = (n_heads,)
    return shapes


def _structure(arch: Architecture) -> dict[str, Shape]:
    if not arch.embedded:
        return {}
    shapes: dict[str, Shape] = {
        f"weights.structure.{name}": (rows, width) for name, rows, _, width in arch.embedded
    }
    widths = sum(width for *_, width in arch.embedded)
    shapes["weights.structure.project"] = (widths, arch.channels)
    shapes["weights.structure.readout"] = (arch.channels, len(arch.heads))
    return shapes
