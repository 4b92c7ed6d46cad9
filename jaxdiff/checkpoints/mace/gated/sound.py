"""What the architecture in a file must be to be believed: every number in its range."""

from jaxdiff.checkpoints import ranges
from jaxdiff.checkpoints.mace import sound as mace
from jaxdiff.checkpoints.ranges import Rule, several, whole
from jaxdiff.models.mace.gated.architecture import READOUTS, Architecture

_WIDTHS = several(whole(1, 65536), "widths from 1 to 65536")
_NAMES = ("total_charge", "total_spin")


def _is_embedded(entry: object) -> bool:
    if not (isinstance(entry, tuple) and len(entry) == 4 and entry[0] in _NAMES):
        return False
    _, rows, zero, width = entry
    number = whole(1, 65536)[0]
    return number(rows) and number(width) and whole(0, rows - 1)[0](zero)


RULES: dict[str, Rule] = {
    name: rule
    for name, rule in mace.RULES.items()
    if name not in ("interactions", "average_neighbors")
} | {
    "edge_channels": _WIDTHS,
    "edge_degrees": mace.RULES["hidden"],
    "radial_mlp": _WIDTHS,
    "density_mlp": _WIDTHS,
    "readouts": several((lambda kind: kind in READOUTS, ""), f"of the kinds {READOUTS}"),
    "embedded": several((_is_embedded, ""), "charge and spin with their rows", least=0),
    "charge": whole(-(10**4), 10**4),
    "multiplicity": whole(0, 10**4),
}


def fault(architecture: Architecture) -> str:
    """What no model has, and what is allowed in its place; empty where all is well."""
    arch = architecture
    layered = ("hidden", "correlation", "edge_channels", "edge_degrees")
    if found := ranges.fault(arch, RULES, layered):
        return found
    layers = len(arch.hidden)
    if len(arch.readouts) not in (1, layers):
        return (
            f"it has {len(arch.readouts)} readouts for {layers} layers, not one or as many"
        )
    for layer, sent in enumerate(arch.edge_degrees):
        if not set(sent) <= set(arch.degrees_in(layer)):
            return f"atoms of layer {layer} send degrees {sent} that they have not"
    names = [name for name, *_ in arch.embedded]
    return "it embeds a number twice" if len(set(names)) < len(names) else ""
