"""Visits of given sites, as the package site-analysis sees them."""

from collections import Counter
from itertools import pairwise

import pytest

from jaxdiff.analysis.visits import find_hops
from jaxdiff.io.structure_sites import sites_of_structure
from jaxdiff.io.trajectory import open_trajectory
from jaxdiff.runs.read import read

CORE, N_FRAMES = 0.77, 40  # Å; it takes its time
CIF = """
data_Li6PS5Cl
_cell_length_a 9.859
_cell_length_b 9.859
_cell_length_c 9.859
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F -4 3 m'
_space_group_IT_number 216
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Li1 Li 0.3103 0.0233 0.6897 0.5
P1 P 0 0 0.5 1
S1 S 0.1192 -0.1192 0.6192 1
S2 S 0.25 0.25 0.75 1
Cl1 Cl 0 0 0 1
"""


@pytest.mark.slow
def test_hops_in_the_argyrodite(shared, tmp_path):
    """From every site to every other the same number, of 192 Li.

    Its own table leaves out a hop with a frame between the sites; its trajectories have it.
    """
    pytest.importorskip("site_analysis")
    from pymatgen.core import Lattice, Structure
    from site_analysis.atom import Atom
    from site_analysis.spherical_site import SphericalSite
    from site_analysis.trajectory import Trajectory

    path = shared / "data" / "trajectories" / "li6ps5cl_XDATCAR.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    (tmp_path / "sites.cif").write_text(CIF)
    seen = read(open_trajectory(path, frame_ps=0.1), "Li", 600.0)
    given = (seen.cell, seen.host, seen.host_number)
    sites = sites_of_structure(tmp_path / "sites.cif", "Li", *given)
    place = seen.fraction(mobile=True)[:N_FRAMES]
    hops = find_hops(sites, place, core_radius=CORE, dwell_frames=1)

    peers = [SphericalSite(frac_coords=f % 1.0, rcut=CORE) for f in sites.fraction]
    trajectory = Trajectory(peers, [Atom(index=k) for k in range(place.shape[1])])
    lattice = Lattice(seen.cell)
    for number, frame in enumerate(place):
        structure = Structure(lattice, ["Li"] * len(frame), frame % 1.0)
        trajectory.append_timestep(structure, t=number)
    index = {site.index: k for k, site in enumerate(peers)}
    theirs = Counter()
    for atom in trajectory.atoms:
        visits = [index[site] for site in atom.trajectory if site is not None]
        theirs.update((a, b) for a, b in pairwise(visits) if a != b)
    assert theirs == Counter(zip(hops.start.tolist(), hops.end.tolist(), strict=True))
    assert sum(theirs.values()) > 200
