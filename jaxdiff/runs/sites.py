"""Sites for `jaxdiff analyze`: of a structure file, or where atoms are most often."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.analysis.density import density_maxima, stability
from jaxdiff.analysis.site_study import SiteStudy, study_sites
from jaxdiff.analysis.transport import Transport
from jaxdiff.analysis.visits import Hops, find_hops
from jaxdiff.io.structure_sites import origin, sites_of_structure
from jaxdiff.lattice.sites import Sites
from jaxdiff.runs.read import Read

DWELL_PS = 0.06
"""A mobile atom must stay in a new core this long, and for one frame at least."""

MAXIMA = "maxima"


def look(
    several: Sequence[Sequence[Read]],
    motions: Sequence[Transport],
    asked: Mapping[str, Any],
) -> SiteStudy:
    """Hops of trajectories, given by temperature, between the sites of --network."""
    every = [one for group in several for one in group]
    frame_ps = every[0].paths.frame_ps
    dwell = asked["dwell_frames"] or max(1, round(DWELL_PS / frame_ps))
    core = asked["core_radius_angstrom"]
    halves = None
    if asked["network"] == MAXIMA:
        halves = stability(every[0].fraction(mobile=True), every[0].cell)
        common = _maxima(every)
        sites = [_moved(common, every[0], one) for one in every]
    else:
        path, element = Path(asked["network"]), asked["mobile"]
        sites = [
            sites_of_structure(path, element, one.cell, one.host, one.host_number)
            for one in every
        ]
    known = dict(zip(map(id, every), sites, strict=True))

    def found(one: Read) -> tuple[Sites, Hops, float]:
        mine, place = known[id(one)], one.fraction(mobile=True)
        hops = find_hops(mine, place, core_radius=core, dwell_frames=dwell)
        return mine, hops, one.paths.frame_ps

    return study_sites(
        [(m, [found(one) for one in g]) for m, g in zip(motions, several, strict=True)],
        halves=halves,
        core_radius=core,
        dwell_ps=dwell * frame_ps,
    )


def _maxima(every: Sequence[Read]) -> Sites:
    """Of all trajectories together, in the place of the first."""
    first = every[0]
    if any(len(one.host) != len(first.host) for one in every):
        raise ValueError(
            "--network maxima needs trajectories of one cell, with as many atoms in each; "
            "analyze them apart, or give a structure file."
        )
    places = [one.fraction(mobile=True) - _shift(first, one) for one in every]
    return density_maxima(np.concatenate(places), first.cell)


def _moved(sites: Sites, first: Read, one: Read) -> Sites:
    """In the cell of another trajectory."""
    place = sites.fraction + _shift(first, one)
    return dataclasses.replace(sites, fraction=place, cell=one.cell)


def _shift(first: Read, one: Read) -> np.ndarray:
    """Fractions, from the framework of one trajectory to that of another."""
    if one is first:
        return np.zeros(3)
    return origin("the first trajectory", first.host, first.host_number, one.host,
                  one.host_number, one.cell)  # fmt: skip
