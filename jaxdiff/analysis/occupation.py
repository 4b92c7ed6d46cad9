"""Which mobile atom is where: now, and in the reference, the last settled arrangement."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jaxdiff.lattice.jumps import Vector, difference
from jaxdiff.lattice.network import Site
from jaxdiff.lattice.supercell import Supercell


class Occupation:
    """The mobile atoms of one replica on the sites of its supercell.

    - `site`, `place`: of each atom, unwrapped and folded; `settled_site`, `settled_place`:
      the same in the reference.
    - `atoms`: those on each place; `occupant`: the one of the reference on each place.
    - `moved`: atoms on another site than in the reference.
    """

    def __init__(self, supercell: Supercell, site: Int[np.ndarray, "mobile 4"]) -> None:
        """Atoms on these sites; nothing is settled."""
        self.supercell, self.network = supercell, supercell.network
        self.site: list[Site] = [(n, i, j, k) for n, i, j, k in site.tolist()]
        self.place = [supercell.fold(s) for s in self.site]
        self.atoms: dict[Site, set[int]] = {}
        for atom, place in enumerate(self.place):
            self.atoms.setdefault(place, set()).add(atom)
        self.settled_site, self.settled_place = list(self.site), list(self.place)
        self.occupant: dict[Site, int] = {}
        self.moved: set[int] = set()

    def move(self, atom: int, site: Site) -> None:
        """An atom arrives at a site."""
        place = self.supercell.fold(site)
        others = self.atoms[self.place[atom]]
        others.discard(atom)
        if not others:
            del self.atoms[self.place[atom]]
        self.atoms.setdefault(place, set()).add(atom)
        self.site[atom], self.place[atom] = site, place
        if site == self.settled_site[atom]:
            self.moved.discard(atom)
        else:
            self.moved.add(atom)

    def settle(self, group: set[int]) -> None:
        """What these atoms did becomes part of the reference."""
        for atom in group:
            self.occupant.pop(self.settled_place[atom], None)
        for atom in group:
            self.occupant[self.place[atom]] = atom
            self.settled_site[atom] = self.site[atom]
            self.settled_place[atom] = self.place[atom]
        self.moved -= group

    def groups(self) -> list[set[int]]:
        """Atoms that have moved, joined by common places."""
        groups: list[tuple[set[Site], set[int]]] = []
        for atom in sorted(self.moved):
            places, members = {self.settled_place[atom], self.place[atom]}, {atom}
            rest = []
            for other in groups:
                if places & other[0]:
                    places, members = places | other[0], members | other[1]
                else:
                    rest.append(other)
            groups = [*rest, (places, members)]
        return [members for _, members in groups]

    def places(self, group: set[int]) -> set[Site]:
        """Where the atoms of a group are, and were in the reference."""
        return {self.place[a] for a in group} | {self.settled_place[a] for a in group}

    def beside(self, vacant: Site) -> bool:
        """Whether an interstitial is beside a vacant lattice place."""
        around = self.network.beside(vacant)
        return any(self.supercell.fold(s) in self.atoms for s in around)

    def forward(self, place: Site, left: set[int]) -> tuple[list[int], Site]:
        """The atoms that pushed one another on from a place, and the place at the end.

        Atoms of a chain are taken out of `left`.
        """
        chain: list[int] = []
        while place in self.occupant:
            atom = self.occupant[place]
            if atom not in left:
                break
            chain.append(atom)
            left.discard(atom)
            place = self.place[atom]
            if not self.network.is_lattice(place):
                break
        return chain, place

    def backward(self, place: Site, left: set[int]) -> tuple[list[int], Site]:
        """The atoms that followed one another to a place, and the place left vacant."""
        chain: list[int] = []
        while place in self.atoms:
            (atom,) = self.atoms[place]
            chain.append(atom)
            left.discard(atom)
            place = self.settled_place[atom]
        return chain, place

    def ring(self, first: int, left: set[int]) -> list[int]:
        """The atoms that moved round, from one on; or one that moved a whole supercell."""
        chain, place = [], self.settled_place[first]
        while self.occupant[place] in left:
            atom = self.occupant[place]
            chain.append(atom)
            left.discard(atom)
            place = self.place[atom]
        return chain

    def moves(self, chain: Sequence[int]) -> tuple[tuple[int, Vector], ...]:
        """(atom, step since the reference, network units) of each."""
        at = self.network.position
        return tuple(
            (a, difference(at(self.site[a]), at(self.settled_site[a]))) for a in chain
        )
