"""Sites of a crystal and the jumps between them; rock salt is one such network."""

from jaxdiff.lattice.jumps import INTERSTITIAL, VACANCY, Jump, Vector
from jaxdiff.lattice.network import Site, SiteNetwork
from jaxdiff.lattice.supercell import Supercell

__all__ = ["INTERSTITIAL", "VACANCY", "Jump", "Site", "SiteNetwork", "Supercell", "Vector"]
