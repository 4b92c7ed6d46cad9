"""What the architecture in a file must be to be believed: every number in its range."""

from jaxdiff.checkpoints import ranges
from jaxdiff.checkpoints.ranges import (
    DEGREE,
    NAME,
    SWITCH,
    Rule,
    distinct,
    number,
    several,
    whole,
)
from jaxdiff.models.mace.architecture import INTERACTIONS, Architecture

RULES: dict[str, Rule] = {
    "scale_shift": SWITCH,
    "atomic_numbers": distinct(
        several(whole(1, 118), "atomic numbers from 1 to 118, each once", most=118)
    ),
    "heads": distinct(several(NAME, "names, each once", most=1000)),
    "cutoff": number(100.0),
    "num_bessel": whole(1, 1000),
    "cutoff_power": whole(1, 1000),
    "max_ell": DEGREE,
    "channels": whole(1, 65536),
    "hidden": several(
        distinct(several(DEGREE, "degrees")), "degrees from 0 to 8, each once, per layer"
    ),
    "correlation": several(whole(1, 3), "an order from 1 to 3 per layer"),
    "interactions": several(
        (lambda name: name in INTERACTIONS, "a block"), f"one of {INTERACTIONS} per layer"
    ),
    "radial_mlp": several(whole(1, 65536), "widths from 1 to 65536", least=0),
    "mlp_channels": whole(0, 65536),
    "agnesi": SWITCH,
    "zbl_power": (
        lambda n: n is None or whole(1, 1000)[0](n),
        "none or a whole number from 1 to 1000",
    ),
    "average_neighbors": number(1e6),
}


def fault(architecture: Architecture) -> str:
    """What no model has, and what is allowed in its place; empty where all is well."""
    return ranges.fault(architecture, RULES, ("hidden", "correlation", "interactions"))
