"""Activation energies from the literature, by crystal and defect."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxdiff.analysis.series import Series
from jaxdiff.lattice.jumps import INTERSTITIAL


@dataclasses.dataclass(frozen=True)
class Published:
    """Point values, eV, by the model that they were computed with.

    - `lattice_constant_angstrom`, `temperatures_kelvin` (from, to): what they are of.
    """

    energies_ev: Mapping[str, float]
    source: str
    lattice_constant_angstrom: float
    temperatures_kelvin: tuple[float, float]

    def differences(self, series: Series) -> list[str]:
        """How a run is of another system than the values; empty if it is of the same."""
        found = []
        constant, (cold, hot) = series.lattice_constant, self.temperatures_kelvin
        if np.any(abs(constant - self.lattice_constant_angstrom) > _SAME_ANGSTROM):
            found.append(
                f"a = {constant.min():.4f} to {constant.max():.4f} Å, not "
                f"{self.lattice_constant_angstrom:.4f} Å"
            )
        low, high = series.temperature.min(), series.temperature.max()
        if low > hot or high < cold:
            found.append(f"{low:.0f} to {high:.0f} K, not {cold:.0f} to {hot:.0f} K")
        return found


_SAME_ANGSTROM = 0.002  # changes a barrier by less than 1 meV


_KNOWN = {
    ("LiF", "Li", "rock salt", INTERSTITIAL): Published(
        {"DeePMD": 0.24, "MACE-MPA-0": 0.22, "MACE-MPA-0 fine-tuned": 0.20},
        "doi:10.1088/2515-7655/ae6c5a",
        lattice_constant_angstrom=4.083428,
        temperatures_kelvin=(300.0, 500.0),
    )
}


def find(series: Series) -> Published | None:
    """What is published for the defects of a run; None where nothing is known of it."""
    key = (series.formula, series.mobile, series.network.title, series.sign)
    return _KNOWN.get(key)
