"""Trajectories of any crystal: displacements, and hops where sites are given."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula
from jaxtyping import Integer

from jaxdiff.analysis.transport_study import TransportStudy, study_transport
from jaxdiff.io.provenance import provenance, sha256
from jaxdiff.io.trajectory import Trajectory
from jaxdiff.lattice.charges import charge
from jaxdiff.runs.read import Read, read
from jaxdiff.runs.sites import look

WITHOUT = "none"
"""The name of no network: displacements alone."""


def temperatures(given: list[float], n: int) -> list[float]:
    """Of each trajectory in turn, K."""
    if len(given) not in (1, n):
        raise ValueError(
            f"{len(given)} temperatures for {n} trajectories; give one for all, or --"
            "temperature-kelvin once for each, in the same order."
        )
    for kelvin in given:
        if not 0 < kelvin <= 5000:
            raise ValueError(f"--temperature-kelvin {kelvin} is outside 0 to 5000 K.")
    return given if len(given) == n else given * n


@dataclasses.dataclass(frozen=True)
class Displacements:
    """Trajectories of one crystal, to be looked at without a list of its sites.

    - `asked`: the options of the command by name. `why`: why hops are not counted.
    - `temperature`, K: of each trajectory. `charge`: of a mobile ion.
    """

    trajectories: Sequence[Trajectory]
    asked: Mapping[str, Any]
    temperature: Sequence[float]
    charge: float
    why: str

    @classmethod
    def of(
        cls, trajectories: Sequence[Trajectory], asked: Mapping[str, Any], why: str
    ) -> "Displacements":
        """As the options ask. Raises `ValueError` where they or the files do not fit."""
        kelvin = temperatures(asked["temperature_kelvin"], len(trajectories))
        composition = [_composition(one.atomic_number) for one in trajectories]
        for one, other in zip(trajectories, composition, strict=True):
            if other != composition[0]:
                raise ValueError(
                    f"{one.path} is {_formula(other)} and {trajectories[0].path} "
                    f"{_formula(composition[0])}; analyze them apart."
                )
        ion = charge(asked["mobile"], asked["charge"])
        return cls(trajectories, asked, kelvin, ion, why)

    def study(self) -> tuple[TransportStudy, dict[str, Any]]:
        """Results, and where they are from."""
        found, several = self.results()
        return found, self._provenance(several)

    def results(self) -> tuple[TransportStudy, Sequence[Read]]:
        """Results, and the trajectories as they were read."""
        mobile = self.asked["mobile"]
        several = [
            read(one, mobile, kelvin)
            for one, kelvin in zip(self.trajectories, self.temperature, strict=True)
        ]
        kelvin = sorted(set(self.temperature))
        given = self.asked["charge"] is not None
        groups = [[r for r in several if r.paths.temperature == t] for t in kelvin]
        found = study_transport(
            [[one.paths for one in group] for group in groups],
            mobile=mobile,
            formula=_formula(_composition(self.trajectories[0].atomic_number)),
            charge=self.charge,
            charge_from="as given" if given else "the common oxidation state",
            why=self.why,
        )
        if self.asked["network"] not in (None, WITHOUT):
            motions = [row.motion for row in found.rows]
            found = dataclasses.replace(found, sites=look(groups, motions, self.asked))
        return found, several

    def _provenance(self, several: Sequence[Read]) -> dict[str, Any]:
        return provenance(
            trajectories=[
                {
                    "path": str(one.path),
                    "sha256": sha256(one.path),
                    "format": one.format,
                    "unwrapping": one.unwrapping,
                    "temperature_kelvin": seen.paths.temperature,
                    "frames": seen.n_frames,
                    "every_frame_kept": seen.stride,
                    "frame_ps": seen.paths.frame_ps / seen.stride,
                    "volume_angstrom3": seen.paths.volume,
                    "volume_varies_by": seen.variation,
                    "left_out": one.note,
                }
                for one, seen in zip(self.trajectories, several, strict=True)
            ]
        )


def _composition(atomic_number: Integer[np.ndarray, " atoms"]) -> dict[str, int]:
    """Atoms of each element, by symbol, in the smallest whole numbers."""
    number, count = np.unique(atomic_number, return_counts=True)
    common = int(np.gcd.reduce(count))
    return {
        chemical_symbols[z]: int(n) // common for z, n in zip(number, count, strict=True)
    }


def _formula(composition: Mapping[str, int]) -> str:
    return Formula.from_dict(dict(composition)).format("metal")
