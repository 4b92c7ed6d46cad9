"""Defects of one replica, followed through the changes of site of its cations.

The *reference* is the last settled arrangement: it says where every defect is, an
interstitial (a cation on 8c) or a vacancy (an empty 4a site). Cations that have left their
site of the reference form groups, joined where one went to the place of another. A group is
*settled* when none of its 4a places is doubly occupied and none of its vacancies has an
interstitial beside it, √3a/4 away; then it becomes part of the reference and what happened
is one event per defect: chains of cations, each in the place of the next, lead from the old
place of an interstitial to the new one, or from a vacancy backwards. So groups far apart do
not disturb one another, each defect keeps its number, and jumps are exact sums of steps,
without minimum images.

An unsettled group is *in transit* if a vacancy has an interstitial beside it (one cation
has pushed the other out and has not taken its place yet), or if a defect's own cation went
to a place that is not free yet; otherwise it is undefined. What returns is no event.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

from jaxdiff.observables.supercell import Supercell

INTERSTITIAL, VACANCY = 1, -1

CLASSES: tuple[str, ...] = (
    "collinear",
    "noncollinear_1",
    "noncollinear_2",
    "direct",
    "vacancy",
    "concerted",
    "exchange",
    "frenkel_creation",
    "recombination",
)
"""Classes of events. Interstitials: |jump| = √3a/2, a/√2 and a/2 with two cations moved by
√3a/4 each; a/2 with one cation moved. Vacancies: a/√2 with one. Concerted: any other jump,
of more cations, or two merged by the dwell. Exchange: cations changed places and no defect
moved (rings). The last two make and unmake a vacancy with an interstitial."""

N_HOP_CLASSES = 6
"""The first so many classes are hops: a defect moved."""

SQUARED_JUMP = (12, 8, 4, 4, 8)
"""Squared displacement of the defect in the first five classes, (a/4)^2."""

SQUARED_STEPS = (6, 6, 6, 4, 8)
"""Squared displacement summed over the cations moved, (a/4)^2."""

_CATIONS_MOVED = (2, 2, 2, 1, 1)
_KNOWN = {
    (sign, jump, moved, steps): kind
    for kind, (sign, jump, moved, steps) in enumerate(
        zip(
            (INTERSTITIAL,) * 4 + (VACANCY,),
            SQUARED_JUMP,
            _CATIONS_MOVED,
            SQUARED_STEPS,
            strict=True,
        )
    )
}

Site = tuple[int, int, int]
_BESIDE: list[Site] = [(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]


@dataclasses.dataclass(frozen=True)
class Event:
    """What happened to one defect, or among lattice cations, in one settled change.

    - `frame`: in which it settled. `kind`: index into `CLASSES`.
    - `defect`: its number; -1 for an exchange. `start`, `end`: on its path, unwrapped a/4.
    - `moves`: (cation, step in a/4) of each cation that moved.
    """

    frame: int
    kind: int
    defect: int
    start: Site
    end: Site
    moves: tuple[tuple[int, Site], ...]


@dataclasses.dataclass
class Defect:
    """An interstitial (+1) or a vacancy (-1): its place and the time it is there for.

    - `path`: unwrapped, a/4. `first`, `end`: frames at which it was first known, and at
      which it was gone (None while it lives). `born`: by a Frenkel event, not before.
    """

    number: int
    sign: int
    place: Site
    path: Site
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

    def __init__(self, supercell: Supercell, site: Int[np.ndarray, "mobile 3"]) -> None:
        """Start from the sites before frame 0."""
        self._supercell = supercell
        self._net = len(site) - supercell.n_sites
        self._site = [_site(s) for s in site.tolist()]
        self._place = [supercell.fold(s) for s in self._site]
        self._cations: dict[Site, set[int]] = {}
        for cation, place in enumerate(self._place):
            self._cations.setdefault(place, set()).add(cation)
        self._settled_site: list[Site] = list(self._site)
        self._settled_place: list[Site] = list(self._place)
        self._occupant: dict[Site, int] = {}
        self._moved: set[int] = set()
        self._alive: dict[Site, Defect] = {}
        self._known, self._unsettled, self._in_transit = False, True, False
        self.events: list[Event] = []
        self.defects: list[Defect] = []
        self.counts = FrameCounts()
        self._try_to_know(0)

    def change(self, frame: int, changes: Iterable[tuple[int, Site]]) -> None:
        """Cations arrive at new sites in a frame; frames must not go back."""
        self._pass_time(frame)
        for cation, site in changes:
            self._move(cation, site)
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

    def _move(self, cation: int, site: Site) -> None:
        place = self._supercell.fold(site)
        occupants = self._cations[self._place[cation]]
        occupants.discard(cation)
        if not occupants:
            del self._cations[self._place[cation]]
        self._cations.setdefault(place, set()).add(cation)
        self._site[cation], self._place[cation] = site, place
        if site == self._settled_site[cation]:
            self._moved.discard(cation)
        else:
            self._moved.add(cation)

    def _try_to_know(self, frame: int) -> None:
        """The first settled arrangement, of all sites, becomes the reference."""
        vacant = [v for v in self._supercell.cation_sites() if v not in self._cations]
        doubled = any(len(c) > 1 for c in self._cations.values())
        close = any(self._beside(v) for v in vacant)
        self._unsettled, self._in_transit = doubled or close, close and not doubled
        if self._unsettled:
            return
        self._known = True
        self._moved.clear()
        self._settled_site, self._settled_place = list(self._site), list(self._place)
        self._occupant = {place: next(iter(c)) for place, c in self._cations.items()}
        for cation, place in enumerate(self._place):
            if _is_tetrahedral(place):
                self._add(INTERSTITIAL, place, self._site[cation], frame, born=False)
        for place in vacant:
            self._add(VACANCY, place, place, frame, born=False)

    def _settle(self, frame: int) -> None:
        """Make events of the groups that are settled."""
        self._unsettled, self._in_transit = False, True
        for group in self._groups():
            doubled, close = self._state(group)
            if not (doubled or close):
                self._commit(frame, group)
            else:
                self._unsettled = True
                self._in_transit &= close or self._leads_into_defect(group)

    def _groups(self) -> list[set[int]]:
        """Cations that have moved, joined by common places."""
        groups: list[tuple[set[Site], set[int]]] = []
        for cation in sorted(self._moved):
            places, members = {self._settled_place[cation], self._place[cation]}, {cation}
            rest = []
            for other in groups:
                if places & other[0]:
                    places, members = places | other[0], members | other[1]
                else:
                    rest.append(other)
            groups = [*rest, (places, members)]
        return [members for _, members in groups]

    def _state(self, group: set[int]) -> tuple[bool, bool]:
        """Whether a place of the group is doubly occupied; a vacancy beside a cation."""
        places = {self._place[c] for c in group} | {self._settled_place[c] for c in group}
        doubled = any(len(self._cations.get(p, ())) > 1 for p in places)
        # vacancies that no cation has left or reached are looked at from the 8c side
        around = {
            self._supercell.fold(_sum(p, b))
            for p in places
            if _is_tetrahedral(p) and p in self._cations
            for b in _BESIDE
        }
        vacant = [
            p
            for p in places | (around & self._alive.keys())
            if not _is_tetrahedral(p) and p not in self._cations
        ]
        return doubled, any(self._beside(p) for p in vacant)

    def _beside(self, vacant: Site) -> bool:
        """Whether an interstitial is beside a vacant 4a place."""
        beside = (self._supercell.fold(_sum(vacant, b)) for b in _BESIDE)
        return any(p in self._cations for p in beside)

    def _leads_into_defect(self, group: set[int]) -> bool:
        """Whether a defect's own cation has gone to a place that is not free yet."""
        return any(self._settled_place[c] in self._alive for c in group)

    def _commit(self, frame: int, group: set[int]) -> None:
        """Events of a settled group, which becomes part of the reference."""
        left = set(group)
        places = sorted({self._settled_place[c] for c in group} | self._arrivals(group))
        here = [self._alive[p] for p in places if p in self._alive]
        for defect in [d for d in here if d.sign == INTERSTITIAL]:
            self._interstitial(frame, defect, left)
        for defect in [d for d in here if d.sign == VACANCY and d.end is None]:
            self._vacancy(frame, defect, left)
        for place in places:  # what was full and is vacant now, by no vacancy's doing
            cation = self._occupant.get(place)
            if cation in left and place not in self._cations and not _is_tetrahedral(place):
                self._create(frame, place, left)
        while left:
            self._exchange(frame, left)
        for cation in group:
            self._occupant.pop(self._settled_place[cation], None)
        for cation in group:
            self._occupant[self._place[cation]] = cation
            self._settled_site[cation] = self._site[cation]
            self._settled_place[cation] = self._place[cation]
        self._moved -= group

    def _arrivals(self, group: set[int]) -> set[Site]:
        return {self._place[c] for c in group}

    def _interstitial(self, frame: int, defect: Defect, left: set[int]) -> None:
        """Follow the chain from an interstitial to its new place, or into a vacancy."""
        chain, place = self._forward(defect.place, left)
        if not _is_tetrahedral(place):  # it was vacant
            vacancy = self._alive[place]
            self._remove(vacancy, frame)
            self._remove(defect, frame)
            moves = self._moves(chain)
            end = _sum(defect.path, *(s for _, s in moves))
            kind = CLASSES.index("recombination")
            self.events.append(Event(frame, kind, defect.number, defect.path, end, moves))
        else:
            self._transport(frame, defect, place, chain)

    def _vacancy(self, frame: int, defect: Defect, left: set[int]) -> None:
        """Follow a vacancy backwards: who is in its place left another one."""
        chain, place = [], defect.place
        while place in self._cations:
            (cation,) = self._cations[place]
            chain.append(cation)
            left.discard(cation)
            place = self._settled_place[cation]
        self._transport(frame, defect, place, chain)

    def _forward(self, place: Site, left: set[int]) -> tuple[list[int], Site]:
        """The cations that pushed one another on from a place, and the place at the end."""
        chain: list[int] = []
        while place in self._occupant:
            cation = self._occupant[place]
            if cation not in left:
                break
            chain.append(cation)
            left.discard(cation)
            place = self._place[cation]
            if _is_tetrahedral(place):
                break
        return chain, place

    def _transport(self, frame: int, defect: Defect, place: Site, chain: list[int]) -> None:
        if not chain:
            return
        moves = self._moves(chain)
        step = _sum((0, 0, 0), *(s for _, s in moves))
        jump = _site([defect.sign * n for n in step])
        kind = _classify(defect.sign, jump, moves)
        end = _sum(defect.path, jump)
        number = defect.number if any(jump) else -1
        self.events.append(Event(frame, kind, number, defect.path, end, moves))
        self._leave(defect)
        defect.place, defect.path = place, end
        self._alive[place] = defect

    def _create(self, frame: int, vacant: Site, left: set[int]) -> None:
        """A Frenkel pair: a vacancy, and an interstitial at the end of the chain."""
        chain, place = self._forward(vacant, left)
        moves = self._moves(chain)
        site = self._site[chain[-1]]
        start = self._settled_site[chain[0]]
        self._add(VACANCY, vacant, start, frame, born=True)
        defect = self._add(INTERSTITIAL, place, site, frame, born=True)
        kind = CLASSES.index("frenkel_creation")
        self.events.append(Event(frame, kind, defect.number, start, site, moves))

    def _exchange(self, frame: int, left: set[int]) -> None:
        """A ring of cations that moved round; or one that moved by a whole supercell."""
        first = min(left)
        chain, place = [], self._settled_place[first]
        while self._occupant[place] in left:
            cation = self._occupant[place]
            chain.append(cation)
            left.discard(cation)
            place = self._place[cation]
        start = self._settled_site[first]
        kind = CLASSES.index("exchange")
        self.events.append(Event(frame, kind, -1, start, start, self._moves(chain)))

    def _moves(self, chain: Sequence[int]) -> tuple[tuple[int, Site], ...]:
        return tuple((c, _difference(self._site[c], self._settled_site[c])) for c in chain)

    def _add(self, sign: int, place: Site, path: Site, frame: int, *, born: bool) -> Defect:
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


def _classify(sign: int, jump: Site, moves: Sequence[tuple[int, Site]]) -> int:
    """Index into `CLASSES`."""
    if not any(jump):
        return CLASSES.index("exchange")
    steps = sum(_square(step) for _, step in moves)
    return _KNOWN.get((sign, _square(jump), len(moves), steps), CLASSES.index("concerted"))


def _is_tetrahedral(place: Site) -> bool:
    return place[0] % 2 == 1


def _sum(first: Site, *others: Site) -> Site:
    x, y, z = first
    for u, v, w in others:
        x, y, z = x + u, y + v, z + w
    return x, y, z


def _difference(a: Site, b: Site) -> Site:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _square(v: Site) -> int:
    return v[0] ** 2 + v[1] ** 2 + v[2] ** 2


def _site(values: Sequence[int]) -> Site:
    x, y, z = values
    return x, y, z
