"""The crystals whose sites and jumps are known: a new one is a file, and a line here."""

from collections.abc import Mapping

from jaxdiff.lattice.network import SiteNetwork
from jaxdiff.lattice.rock_salt import ROCK_SALT

NETWORKS: Mapping[str, SiteNetwork] = {"rock-salt": ROCK_SALT}


def find(name: str) -> SiteNetwork:
    """The network of a name of the table."""
    if name not in NETWORKS:
        raise ValueError(
            f"the network {name!r} is not known; give one of {', '.join(NETWORKS)}."
        )
    return NETWORKS[name]
