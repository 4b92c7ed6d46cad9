"""Defects of one replica, followed through the changes of site of its mobile atoms.

The *reference* is the last settled arrangement: it says where every defect is, an
interstitial (a mobile atom on no lattice site) or a vacancy (an empty lattice site). Atoms
that have left their site of the reference form groups, joined where one went to the place
of another. A group is *settled* when none of its lattice places is doubly occupied and none
of its vacancies has an interstitial beside it, on a neighbouring site; then it becomes part
of the reference and what happened is one event per defect: chains of atoms, each in the
place of the next, lead from the old place of an interstitial to the new one, or from a
vacancy backwards. So groups far apart do not disturb one another, each defect keeps its
number, and jumps are exact sums of steps, without minimum images.

An unsettled group is *in transit* if a vacancy has an interstitial beside it (one atom has
pushed the other out and has not taken its place yet), or if a defect's own atom went to a
place that is not free yet; otherwise it is undefined. What returns is no event.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int

from jaxdiff.analysis.occupation import Occupation
from jaxdiff.lattice.jumps import INTERSTITIAL, VACANCY, Vector, squared, total
from jaxdiff.lattice.network import Site
from jaxdiff.lattice.supercell import Supercell

_STILL = 1e-12  # squared, network units: so short a jump is none


@dataclasses.dataclass(frozen=True)
class Event:
    """What happened to one defect, or among lattice cations, in one settled change.

    - `frame`: in which it settled. `kind`: index into the classes of the network.
    - `defect`: its number; -1 for an exchange. `start`, `end`: on its path, unwrapped,
      network units. `moves`: (cation, step) of each cation that moved.
    """

    frame: int
    kind: int
    defect: int
    start: Vector
    end: Vector
    moves: tuple[tuple[int, Vector], ...]


@dataclasses.dataclass
class Defect:
    """An interstitial (+1) or a vacancy (-1): its place and the time it is there for.

    - `place`: folded. `path`: unwrapped, network units. `first`, `end`: frames at which it
      was first known, and at which it was gone (None while it lives). `born`: by a Frenkel
      event, not before.
    """

    number: int
    sign: int
    place: Site
    path: Vector
    first: int
    born: bool
    end: int | None = None


@dataclasses.dataclass
class FrameCounts:
    """Frames by what was known in them.

    - `frames`: all. `exposure`: from the first settled one on. `undefined`: those in which
      some group was not settled, and before the first settled one; of these `transit`: all
      such groups were in transit. `frenkel`: with more defects than the composition needs.
    - `interstitial`, `vacancy`: summed over the defects alive: the denominator of rates.
    """

    frames: int = 0
    exposure: int = 0
    undefined: int = 0
    transit: int = 0
    frenkel: int = 0
    interstitial: int = 0
    vacancy: int = 0


class DefectHistory:
    """The defects of one replica so far; `change` takes it on.

    - `events`: in order of time. `defects`: by number, the dead ones too.
    - `counts`: of the frames accounted for, by `change` and `finish`.
    """

    def __init__(self, supercell: Supercell, site: Int[np.ndarray, "mobile 4"]) -> None:
        """Start from the sites before frame 0."""
        self._supercell, self._network = supercell, supercell.network
        self._net = len(site) - supercell.n_lattice
        self._now = Occupation(supercell, site)
        self._alive: dict[Site, Defect] = {}
        self._known, self._unsettled, self._in_transit = False, True, False
        self.events: list[Event] = []
        self.defects: list[Defect] = []
        self.counts = FrameCounts()
        self._try_to_know(0)

    def change(self, frame: int, changes: Iterable[tuple[int, Site]]) -> None:
        """Mobile atoms arrive at new sites in a frame; frames must not go back."""
        self._pass_time(frame)
        for atom, site in changes:
            self._now.move(atom, site)
        if self._known:
            self._settle(frame)
        else:
            self._try_to_know(frame)

    def finish(self, n_frames: int) -> None:
        """Account for all frames up to the end of the run, `n_frames` of them."""
        self._pass_time(n_frames)

    def _pass_time(self, frame: int) -> None:
        counts, passed = self.counts, frame - self.counts.frames
        counts.frames += passed
        counts.undefined += passed * self._unsettled
        counts.transit += passed * (self._unsettled and self._in_transit)
        if self._known:
            n = sum(d.sign == INTERSTITIAL for d in self._alive.values())
            counts.exposure += passed
            counts.interstitial += passed * n
            counts.vacancy += passed * (len(self._alive) - n)
            counts.frenkel += passed * (len(self._alive) > abs(self._net))

    def _try_to_know(self, frame: int) -> None:
        """The first settled arrangement, of all sites, becomes the reference."""
        now, position = self._now, self._network.position
        vacant = [v for v in self._supercell.lattice_sites if v not in now.atoms]
        doubled = any(len(c) > 1 for c in now.atoms.values())
        close = any(now.beside(v) for v in vacant)
        self._unsettled, self._in_transit = doubled or close, close and not doubled
        if self._unsettled:
            return
        self._known = True
        now.settle(set(range(len(now.site))))
        for place, site in zip(now.place, now.site, strict=True):
            if not self._network.is_lattice(place):
                self._add(INTERSTITIAL, place, position(site), frame, born=False)
        for place in vacant:
            self._add(VACANCY, place, position(place), frame, born=False)

    def _settle(self, frame: int) -> None:
        """Make events of the groups that are settled."""
        self._unsettled, self._in_transit = False, True
        for group in self._now.groups():
            doubled, close = self._state(group)
            if not (doubled or close):
                self._commit(frame, group)
            else:
                self._unsettled = True
                self._in_transit &= close or self._leads_into_defect(group)

    def _state(self, group: set[int]) -> tuple[bool, bool]:
        """Whether a place of the group is doubly occupied; a vacancy beside an atom."""
        now, is_lattice = self._now, self._network.is_lattice
        places = now.places(group)
        doubled = any(len(now.atoms.get(p, ())) > 1 for p in places)
        # vacancies that no atom has left or reached are looked at from the other side
        around = {
            self._supercell.fold(s)
            for p in places
            if not is_lattice(p) and p in now.atoms
            for s in self._network.beside(p)
        }
        vacant = [
            p
            for p in places | (around & self._alive.keys())
            if is_lattice(p) and p not in now.atoms
        ]
        return doubled, any(now.beside(p) for p in vacant)

    def _leads_into_defect(self, group: set[int]) -> bool:
        """Whether a defect's own atom has gone to a place that is not free yet."""
        return any(self._now.settled_place[c] in self._alive for c in group)

    def _commit(self, frame: int, group: set[int]) -> None:
        """Events of a settled group, which becomes part of the reference."""
        now, left = self._now, set(group)
        places = sorted(now.places(group), key=self._network.position)
        here = [self._alive[p] for p in places if p in self._alive]
        for defect in [d for d in here if d.sign == INTERSTITIAL]:
            self._interstitial(frame, defect, left)
        for defect in [d for d in here if d.sign == VACANCY and d.end is None]:
            self._transport(frame, defect, *now.backward(defect.place, left))
        for place in places:  # what was full and is vacant now, by no vacancy's doing
            vacated = now.occupant.get(place) in left and place not in now.atoms
            if vacated and self._network.is_lattice(place):
                self._create(frame, place, left)
        while left:
            self._exchange(frame, left)
        now.settle(group)

    def _interstitial(self, frame: int, defect: Defect, left: set[int]) -> None:
        """Follow the chain from an interstitial to its new place, or into a vacancy."""
        chain, place = self._now.forward(defect.place, left)
        if self._network.is_lattice(place):  # it was vacant
            self._remove(self._alive[place], frame)
            self._remove(defect, frame)
            moves = self._now.moves(chain)
            end = total([defect.path, *(s for _, s in moves)])
            self._event(frame, "recombination", defect.number, defect.path, end, moves)
        else:
            self._transport(frame, defect, chain, place)

    def _transport(self, frame: int, defect: Defect, chain: list[int], place: Site) -> None:
        """A chain of atoms took the defect to a place: along with them, or backwards."""
        if not chain:
            return
        moves = self._now.moves(chain)
        steps = [step for _, step in moves]
        x, y, z = (defect.sign * n for n in total(steps))
        kinds = self._network.kind
        jump = (x, y, z) if squared((x, y, z)) > _STILL else (0.0, 0.0, 0.0)
        ends = kinds[defect.place[0]], kinds[place[0]]
        kind = self._network.classify(defect.sign, ends, jump, steps)
        end = total([defect.path, jump])
        number = defect.number if any(jump) else -1
        self.events.append(Event(frame, kind, number, defect.path, end, moves))
        self._leave(defect)
        defect.place, defect.path = place, end
        self._alive[place] = defect

    def _create(self, frame: int, vacant: Site, left: set[int]) -> None:
        """A Frenkel pair: a vacancy, and an interstitial at the end of the chain."""
        now, position = self._now, self._network.position
        chain, place = now.forward(vacant, left)
        site = position(now.site[chain[-1]])
        start = position(now.settled_site[chain[0]])
        self._add(VACANCY, vacant, start, frame, born=True)
        defect = self._add(INTERSTITIAL, place, site, frame, born=True)
        moves = now.moves(chain)
        self._event(frame, "frenkel_creation", defect.number, start, site, moves)

    def _exchange(self, frame: int, left: set[int]) -> None:
        """A ring of atoms that moved round; or one that moved by a whole supercell."""
        first = min(left)
        moves = self._now.moves(self._now.ring(first, left))
        start = self._network.position(self._now.settled_site[first])
        self._event(frame, "exchange", -1, start, start, moves)

    def _event(
        self,
        frame: int,
        name: str,
        defect: int,
        start: Vector,
        end: Vector,
        moves: tuple[tuple[int, Vector], ...],
    ) -> None:
        kind = self._network.classes.index(name)
        self.events.append(Event(frame, kind, defect, start, end, moves))

    def _add(
        self, sign: int, place: Site, path: Vector, frame: int, *, born: bool
    ) -> Defect:
        defect = Defect(len(self.defects), sign, place, path, frame, born)
        self.defects.append(defect)
        self._alive[place] = defect
        return defect

    def _remove(self, defect: Defect, frame: int) -> None:
        defect.end = frame
        self._leave(defect)

    def _leave(self, defect: Defect) -> None:
        """Its place is free, unless another one has come to it in the same change."""
        if self._alive.get(defect.place) is defect:
            del self._alive[defect.place]
