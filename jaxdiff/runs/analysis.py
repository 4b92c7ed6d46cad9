"""What `jaxdiff analyze` looks for: hops where the sites are known, else displacements."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdiff.io.trajectory import Trajectory
from jaxdiff.lattice.networks import NETWORKS
from jaxdiff.runs.displacements import WITHOUT, Displacements
from jaxdiff.runs.sites import MAXIMA
from jaxdiff.runs.trajectories import Analysis, OtherCrystal

DEFAULT = "rock-salt"


def choose(
    trajectories: Sequence[Trajectory], asked: Mapping[str, Any]
) -> Analysis | Displacements:
    """As --network says; without it hops in rock salt, and displacements elsewhere."""
    network = asked["network"]
    if network == WITHOUT:
        return Displacements.of(trajectories, asked, "--network none was asked for")
    if network == MAXIMA or (
        network and network not in NETWORKS and Path(network).exists()
    ):
        return Displacements.of(trajectories, asked, "")
    if network and network not in NETWORKS:
        raise ValueError(
            f"--network {network} is no file; give one of {', '.join(NETWORKS)}, "
            f"{WITHOUT}, {MAXIMA}, or a structure file (CIF, POSCAR, extxyz)."
        )
    named = network or asked["supercell"]
    try:
        found = Analysis.of(trajectories, {**asked, "network": network or DEFAULT})
        found.require_crystal()
    except OtherCrystal as other:
        if named:
            raise
        return Displacements.of(trajectories, asked, other.seen)
    if asked["charge"] is not None:
        raise ValueError(
            "--charge is for the conductivity, which displacements give: add --network "
            "none, or leave --charge out."
        )
    return found
