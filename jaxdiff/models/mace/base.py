"""What all kinds of MACE answer in the same way, from their constants and architecture."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import ase.data
from flax import struct
from jaxtyping import Float

from jaxdiff.models.contract import Model

M = TypeVar("M", bound="Built")


@struct.dataclass
class Built(Model):
    """A model of trainable `weights`, fixed `constants` and a static `architecture`."""

    constants: dict[str, Any]
    architecture: Any = struct.field(pytree_node=False)

    @property
    def cutoff(self) -> float:
        """r_max, Å."""
        return self.architecture.cutoff

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers, in the order of the species table."""
        return self.architecture.atomic_numbers

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the readout heads."""
        return self.architecture.heads

    @property
    def isolated(self) -> Float[Any, "heads species"]:
        """Energies of isolated atoms, eV, float64."""
        return self.constants["atomic_energies"]

    def with_isolated(self: M, energies: Float[Any, "heads species"]) -> M:
        """The same model with other energies of isolated atoms, eV."""
        return replace(self, constants=self.constants | {"atomic_energies": energies})

    def describe(self) -> dict[str, str]:
        """Property -> text."""
        arch = self.architecture
        elements = " ".join(ase.data.chemical_symbols[z] for z in arch.atomic_numbers)
        transform = ", Agnesi transform" if arch.agnesi else ""
        return {
            "class": "ScaleShiftMACE" if arch.scale_shift else "MACE",
            "elements": f"{len(arch.atomic_numbers)}: {elements}",
            "cutoff": f"{arch.cutoff:g} Å",
            "radial": f"{arch.num_bessel} Bessel functions, envelope power "
            f"{arch.cutoff_power}{transform}",
            "repulsion": "none" if arch.zbl_power is None else "ZBL",
            "harmonics": f"l <= {arch.max_ell}",
        }


def irreps(channels: int, degrees: Sequence[int]) -> str:
    """In words: so many channels of each degree, of natural parity."""
    return " + ".join(f"{channels}x{ell}{'eo'[ell % 2]}" for ell in degrees)
