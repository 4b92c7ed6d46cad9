"""Defects from changes of site made by hand, without noise; 3x3x3 cells unless said."""

import itertools

import numpy as np
import pytest
from quarters import QuarterHistory, quarters, sites

from jaxdiff.analysis.history import Changes, read_history
from jaxdiff.lattice.jumps import INTERSTITIAL
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell

CLASSES, N_HOP_CLASSES = ROCK_SALT.classes, ROCK_SALT.n_hop_classes

NEAR = [(2, 2, 0), (2, 0, 2), (0, 2, 2)]
BESIDE = np.array(list(itertools.product((-1, 1), repeat=3)))


class Crystal:
    """Sites of the cations of a cubic cell, changed by hand and told to a history."""

    def __init__(self, interstitials=(), vacancies=(), cells=3):
        self.edge = 4 * cells
        box = itertools.product(range(0, self.edge, 2), repeat=3)
        lattice = [s for s in box if sum(s) % 4 == 0 and s not in vacancies]
        self.site = [*lattice, *interstitials]
        self.first = list(self.site)
        self.history = QuarterHistory(Supercell.of(ROCK_SALT, cells), np.array(self.site))

    def on(self, place):
        """The cation on a place; there must be one."""
        (cation,) = [
            i
            for i, s in enumerate(self.site)
            if not (np.subtract(s, place) % self.edge).any()
        ]
        return cation

    def plan(self, *paths):
        """From places and steps to the cations and their new sites, all at once."""
        cations = [(self.on(place), step) for place, step in paths]
        return [(c, tuple(np.add(self.site[c], step).tolist())) for c, step in cations]

    def tell(self, frame, changes):
        for cation, site in changes:
            self.site[cation] = site
        self.history.change(frame, changes)

    def move(self, frame, *paths):
        self.tell(frame, self.plan(*paths))

    def seen(self, n_frames=100):
        """All events after so many frames, as (frame, class, defect, jump, cations)."""
        self.history.finish(n_frames)
        return [
            (
                e.frame,
                CLASSES[e.kind],
                e.defect,
                tuple(np.subtract(e.end, e.start).tolist()),
                len(e.moves),
            )
            for e in self.history.events
        ]

    def alive(self):
        return [d for d in self.history.defects if d.end is None]

    def assert_consistent(self):
        """Settled: defects are what the sites show; steps add up to displacements."""
        folded = [tuple((np.array(s) % self.edge).tolist()) for s in self.site]
        box = itertools.product(range(0, self.edge, 2), repeat=3)
        vacant = {s for s in box if sum(s) % 4 == 0} - set(folded)
        wanted = {(1, s) for s in folded if s[0] % 2} | {(-1, s) for s in vacant}
        alive = self.alive()
        assert {
            (d.sign, tuple(np.mod(quarters(d.place), self.edge).tolist())) for d in alive
        } == wanted
        assert len(alive) == len(wanted)
        for d in alive:
            assert not (np.subtract(d.path, quarters(d.place)) % self.edge).any()
        moved = np.zeros((len(self.site), 3))
        for event in self.history.events:
            for cation, step in event.moves:
                moved[cation] += step
        np.testing.assert_array_equal(moved, np.subtract(self.site, self.first))


def both_orders(paths):
    return itertools.permutations(paths) if len(paths) < 4 else [paths, paths[::-1]]


HOPS = {
    "collinear": ([((1, 1, 1), (1, 1, -1)), ((2, 2, 0), (1, 1, -1))], (2, 2, -2)),
    "noncollinear_1": ([((1, 1, 1), (1, 1, -1)), ((2, 2, 0), (1, 1, 1))], (2, 2, 0)),
    "noncollinear_2": ([((1, 1, 1), (1, 1, -1)), ((2, 2, 0), (1, -1, 1))], (2, 0, 0)),
    "direct": ([((1, 1, 1), (0, 0, 2))], (0, 0, 2)),
    "concerted": (
        [((1, 1, 1), (1, 1, -1)), ((2, 2, 0), (2, 2, 0)), ((4, 4, 0), (1, 1, 1))],
        (4, 4, 0),
    ),
    "concerted ": (  # five cations
        [
            ((1, 1, 1), (1, 1, -1)),
            *(((n, n, 0), (2, 2, 0)) for n in (2, 4, 6)),
            ((8, 8, 0), (1, 1, 1)),
        ],
        (8, 8, 0),
    ),
}


@pytest.mark.parametrize("name", HOPS)
def test_an_interstitial_hop_of_each_class(name):
    paths, jump = HOPS[name]
    for order in both_orders(paths):
        crystal = Crystal([(1, 1, 1)])
        crystal.move(10, *order)
        assert crystal.seen() == [(10, name.strip(), 0, jump, len(paths))]
        assert crystal.history.counts.undefined == 0
        crystal.assert_consistent()


@pytest.mark.parametrize("name", list(HOPS)[:5])  # five, slowly: a far Frenkel pair
def test_a_hop_is_in_transit_until_its_last_cation_arrives(name):
    """One frame after the other, the defect's own cation first or last."""
    paths, jump = HOPS[name]
    for order in (paths, paths[::-1]):
        crystal = Crystal([(1, 1, 1)])
        changes = crystal.plan(*order)
        for k, change in enumerate(changes):
            crystal.tell(10 + 3 * k, [change])
        end = 10 + 3 * (len(paths) - 1)
        assert crystal.seen() == [(end, name.strip(), 0, jump, len(paths))]
        counts = crystal.history.counts
        assert counts.undefined == end - 10
        # that cations follow from behind is known only when the defect's own has gone
        assert counts.transit == end - 10 or (len(paths) > 2 and order is not paths)
        assert (counts.exposure, counts.interstitial) == (100, 100)


@pytest.mark.parametrize("step", NEAR)
def test_a_vacancy_moves_against_the_cation(step):
    crystal = Crystal(vacancies=[(4, 4, 4)])
    crystal.move(10, (np.add((4, 4, 4), step), tuple(-n for n in step)))
    assert crystal.seen() == [(10, "vacancy", 0, step, 1)]
    assert crystal.alive()[0].sign == -1
    assert (crystal.history.counts.vacancy, crystal.history.counts.interstitial) == (100, 0)
    crystal.assert_consistent()


def test_two_cations_in_a_row_into_a_vacancy_are_concerted():
    crystal = Crystal(vacancies=[(0, 0, 0)])
    crystal.move(10, ((2, 2, 0), (-2, -2, 0)), ((4, 4, 0), (-2, -2, 0)))
    assert crystal.seen() == [(10, "concerted", 0, (4, 4, 0), 2)]
    crystal.assert_consistent()


RING = [(2, -2, 0), (2, 0, -2), (0, 2, -2), (-2, 2, 0), (-2, 0, 2), (0, -2, 2)]


def test_a_ring_of_six_is_an_exchange():
    """Neighbours at a/√2 move round; in time one by one the ring is undefined."""
    paths = [
        (p, tuple(np.subtract(q, p)))
        for p, q in zip(RING, RING[1:] + RING[:1], strict=True)
    ]
    crystal = Crystal([(5, 5, 5)])
    crystal.move(10, *paths)
    assert crystal.seen() == [(10, "exchange", -1, (0, 0, 0), 6)]
    crystal.assert_consistent()
    slow = Crystal([(5, 5, 5)])
    for k, change in enumerate(slow.plan(*paths)):
        slow.tell(10 + k, [change])
    assert slow.seen() == [(15, "exchange", -1, (0, 0, 0), 6)]
    assert (slow.history.counts.undefined, slow.history.counts.transit) == (5, 0)


def test_the_interstitial_and_a_neighbour_change_places():
    """The defect did not move: an exchange of two, no hop."""
    crystal = Crystal([(1, 1, 1)])
    crystal.move(10, ((1, 1, 1), (1, 1, -1)), ((2, 2, 0), (-1, -1, 1)))
    assert crystal.seen() == [(10, "exchange", -1, (0, 0, 0), 2)]
    crystal.assert_consistent()


@pytest.mark.parametrize(
    ("paths", "end"),
    [
        ([((0, 0, 0), (3, 1, 1))], (3, 1, 1)),
        ([((0, 0, 0), (2, 2, 0)), ((2, 2, 0), (1, 1, 1))], (3, 3, 1)),
        (
            [((0, 0, 0), (2, 2, 0)), ((2, 2, 0), (2, 2, 0)), ((4, 4, 0), (1, 1, 1))],
            (5, 5, 1),
        ),
    ],
)
def test_frenkel_creation_and_recombination(paths, end):
    """By one cation or a chain, and back: exposures are those of the lives."""
    for order in both_orders(paths):
        crystal = Crystal()
        crystal.move(10, *order)
        assert {(d.sign, quarters(d.place), d.first, d.born) for d in crystal.alive()} == {
            (-1, (0, 0, 0), 10, True),
            (1, end, 10, True),
        }
        crystal.assert_consistent()
        back = [(np.add(p, s), tuple(-n for n in s)) for p, s in order]
        crystal.move(40, *back)
        found = crystal.seen()
        assert [f[:2] for f in found] == [(10, "frenkel_creation"), (40, "recombination")]
        assert found[1][3] == tuple(-n for n in end)
        assert [f[4] for f in found] == [len(paths)] * 2
        assert [(d.first, d.end) for d in crystal.history.defects] == [(10, 40)] * 2
        counts = crystal.history.counts
        assert (counts.interstitial, counts.vacancy, counts.frenkel) == (30, 30, 30)
        assert (counts.frames, counts.exposure, counts.undefined) == (100, 100, 0)
        crystal.assert_consistent()


def test_a_close_pair_is_no_pair_until_it_parts():
    crystal = Crystal()
    crystal.move(10, ((0, 0, 0), (1, 1, 1)))
    crystal.move(30, ((1, 1, 1), (2, 0, 0)))
    assert crystal.seen() == [(30, "frenkel_creation", 1, (3, 1, 1), 1)]
    assert (crystal.history.counts.undefined, crystal.history.counts.transit) == (20, 20)
    assert crystal.history.counts.interstitial == 70


def test_an_interstitial_fills_a_vacancy_that_was_there():
    """Directly, next to it, and by pushing a lattice cation into it."""
    crystal = Crystal([(1, 1, 1)], [(4, 4, 0)])
    crystal.move(20, ((1, 1, 1), (1, 1, -1)), ((2, 2, 0), (2, 2, 0)))
    found = crystal.seen()
    assert [f[:2] + f[4:] for f in found] == [(20, "recombination", 2)]
    assert crystal.alive() == []
    counts = crystal.history.counts
    assert (counts.interstitial, counts.vacancy, counts.frenkel) == (20, 20, 20)
    crystal.assert_consistent()


def test_another_interstitial_recombines_and_the_first_stays():
    crystal = Crystal([(1, 1, 1), (7, 7, 7)], [(4, 4, 0)])
    crystal.move(20, ((1, 1, 1), (2, 2, 0)))  # beside the vacancy: in transit
    crystal.move(30, ((3, 3, 1), (1, 1, -1)))
    found = crystal.seen()
    assert [f[:2] for f in found] == [(30, "recombination")]
    assert [d.number for d in crystal.alive()] == [1]
    counts = crystal.history.counts
    assert (counts.undefined, counts.transit) == (10, 10)
    assert (counts.interstitial, counts.vacancy) == (30 * 2 + 70, 30)
    crystal.assert_consistent()


@pytest.mark.parametrize(
    "failed",
    [
        [((2, 2, 0), (1, 1, -1))],  # pushed out, and back
        [((1, 1, 1), (1, 1, -1))],  # went in, and back
    ],
)
def test_failed_attempts_are_no_events(failed):
    crystal = Crystal([(1, 1, 1)])
    changes = crystal.plan(*failed)
    old = [(c, crystal.site[c]) for c, _ in changes]
    for start in (10, 40):
        crystal.tell(start, changes)
        crystal.tell(start + 7, old)
    assert crystal.seen() == []
    assert (crystal.history.counts.undefined, crystal.history.counts.transit) == (14, 14)
    assert crystal.history.counts.exposure == 100


def test_frames_with_two_unsettled_groups_are_counted_once():
    """In transit only as long as both are."""
    crystal = Crystal([(1, 1, 1)], cells=4)
    doubled, pushed = crystal.plan(((8, 8, 8), (2, 2, 0)), ((2, 2, 0), (1, 1, -1)))
    old = [(c, crystal.site[c]) for c, _ in (doubled, pushed)]
    crystal.tell(10, [doubled])
    crystal.tell(20, [pushed])
    crystal.tell(35, [old[0]])
    crystal.tell(41, [old[1]])
    assert crystal.seen() == []
    assert (crystal.history.counts.undefined, crystal.history.counts.transit) == (31, 6)


def test_identities_when_hops_overlap_in_time():
    crystal = Crystal([(1, 1, 1), (9, 9, 9)], cells=4)
    slow = crystal.plan(((1, 1, 1), (1, 1, -1)), ((2, 2, 0), (1, 1, -1)))
    fast = crystal.plan(((9, 9, 9), (1, 1, -1)), ((10, 10, 8), (1, 1, 1)))
    for frame, change in zip((10, 12, 15, 40), (slow[1], *fast, slow[0]), strict=True):
        crystal.tell(frame, [change])
    assert crystal.seen() == [
        (15, "noncollinear_1", 1, (2, 2, 0), 2),
        (40, "collinear", 0, (2, 2, -2), 2),
    ]
    assert crystal.history.counts.interstitial == 200
    assert crystal.history.counts.undefined == crystal.history.counts.transit == 30
    crystal.assert_consistent()


@pytest.mark.parametrize("first", [(1, 1, 1), (3, 1, 1)])
@pytest.mark.parametrize("swap", [False, True])
def test_an_interstitial_takes_the_place_another_one_leaves(first, swap):
    """In one frame, whichever place sorts first; two may even change places."""
    other = ({(1, 1, 1), (3, 1, 1)} - {first}).pop()
    step = tuple(np.subtract(other, first).tolist())
    away = tuple(-n for n in step) if swap else (0, 0, 2)
    crystal = Crystal([first, other])
    crystal.move(10, (first, step), (other, away))
    assert sorted(crystal.seen(), key=lambda e: e[2]) == [
        (10, "direct", 0, step, 1),
        (10, "direct", 1, away, 1),
    ]
    assert [d.number for d in crystal.alive()] == [0, 1]
    crystal.assert_consistent()
    crystal.move(200, (other, (0, 2, 0)))  # and both go on as themselves
    assert crystal.seen(300)[-1][2] == 0
    crystal.assert_consistent()


def test_one_interstitial_recombines_and_another_takes_its_place():
    crystal = Crystal([(1, 1, 1), (3, 1, 1)], [(6, 2, 0)])
    paths = [((1, 1, 1), (2, 0, 0)), ((3, 1, 1), (1, 1, 1)), ((4, 2, 2), (2, 0, -2))]
    crystal.move(10, *paths)
    assert sorted(e[1] for e in crystal.seen()) == ["direct", "recombination"]
    assert [(d.number, quarters(d.place)) for d in crystal.alive()] == [(0, (3, 1, 1))]
    crystal.assert_consistent()


def test_jumps_across_the_boundary_are_not_folded():
    """Eight collinear hops along +x +y, up and down z: further than the cell."""
    crystal, place = Crystal([(1, 1, 1)]), np.array([1, 1, 1])
    jumps = [(2, 2, -2), (2, 2, 2)] * 4
    for k, jump in enumerate(jumps):
        step = np.array(jump) // 2
        crystal.move(10 * k, (place, tuple(step)), (place + step, tuple(step)))
        place = place + jump
    assert [f[1:4] for f in crystal.seen()] == [("collinear", 0, j) for j in jumps]
    (defect,) = crystal.alive()
    assert defect.path == (17, 17, 1)
    assert quarters(defect.place) == (5, 5, 1)
    crystal.assert_consistent()


def test_an_unsettled_start_is_not_exposure():
    """Begun in the middle of a hop: known from the frame on in which it ends."""
    crystal = Crystal([(1, 1, 1), (3, 3, -1)], [(2, 2, 0)])
    assert crystal.history.defects == []
    crystal.move(7, ((1, 1, 1), (1, 1, -1)))
    assert crystal.seen() == []
    (defect,) = crystal.alive()
    assert (defect.sign, defect.path, defect.first, defect.born) == (
        1,
        (3, 3, -1),
        7,
        False,
    )
    counts = crystal.history.counts
    assert (counts.frames, counts.undefined, counts.transit) == (100, 7, 7)
    assert counts.exposure == counts.interstitial == 93


def random_hop(crystal, defect, rng):
    """Places and steps of a hop of one defect, and its jump."""
    place = np.array(quarters(defect.place))
    if defect.sign < 0:
        step = rng.permutation(np.array([2, 2, 0]) * rng.choice([-1, 1], 3))
        return [(place + step, tuple(-step))], step
    if rng.random() < 0.2:
        step = rng.permutation([2 * rng.choice([-1, 1]), 0, 0])
        return [(place, tuple(step))], step
    corners = [b for b in BESIDE if (place + b).sum() % 4 == 0]
    first = corners[rng.integers(4)]
    second = first * rng.choice([-1, 1], 3)
    if not (first + second).any():
        second = first
    return [(place, tuple(first)), (place + first, tuple(second))], first + second


def free_of_conflict(crystal, hops):
    """No place is touched by two hops, and no interstitial is beside a vacancy after."""
    touched, after = [], []
    for defect, paths, jump in hops:
        places = {tuple(np.mod(p, crystal.edge)) for p, _ in paths}
        places |= {tuple(np.mod(np.add(p, s), crystal.edge)) for p, s in paths}
        touched.append(places)
        after.append((defect.sign, np.add(quarters(defect.place), jump)))
    if any(a & b for a, b in itertools.combinations(touched, 2)):
        return False
    for (s, a), (t, b) in itertools.combinations(after, 2):
        apart = (a - b + crystal.edge // 2) % crystal.edge - crystal.edge // 2
        if s != t and np.abs(apart).max() == 1:
            return False
    return True


@pytest.mark.statistics
@pytest.mark.parametrize("seed", range(4))
def test_random_walks_of_several_defects(seed):
    """300 rounds: three interstitials and a vacancy hop at once, their cations in any
    order in time. Paths, classes, places and steps are those put in."""
    rng = np.random.default_rng(seed)
    crystal = Crystal([(1, 1, 1), (9, 9, 9), (1, 9, 5)], [(6, 6, 0)], cells=4)
    frame, jumps, n_hops = 0, np.zeros((4, 3), int), 0
    for _ in range(300):
        still = [(d, [], np.zeros(3, int)) for d in crystal.alive()]
        hops = [
            (d, *random_hop(crystal, d, rng)) if rng.random() < 0.6 else s
            for s in still
            for d in s[:1]
        ]
        occupied = [
            {tuple(np.mod(quarters(d.place), crystal.edge))} for d, p, _ in hops if not p
        ]
        ends = [
            tuple(np.mod(np.add(p, s), crystal.edge))
            for _, paths, _ in hops
            for p, s in paths
        ]
        vacant = {
            tuple(np.mod(quarters(d.place), crystal.edge)) for d, *_ in hops if d.sign < 0
        }
        starts = {tuple(np.mod(p, crystal.edge)) for _, paths, _ in hops for p, _ in paths}
        if starts & vacant or any(o & {*ends} for o in occupied):
            continue
        if not free_of_conflict(crystal, hops):
            continue
        changes = crystal.plan(*(path for _, paths, _ in hops for path in paths))
        for k in rng.permutation(len(changes)):
            frame += int(rng.integers(0, 3))
            crystal.tell(frame, [changes[k]])
        for defect, paths, jump in hops:
            jumps[defect.number] += jump
            n_hops += bool(paths)
        frame += 1
    crystal.seen(frame)
    assert n_hops > 200
    assert [CLASSES[e.kind] for e in crystal.history.events].count("concerted") == 0
    assert sum(e.kind < N_HOP_CLASSES for e in crystal.history.events) == n_hops
    start = np.array([(1, 1, 1), (9, 9, 9), (1, 9, 5), (6, 6, 0)])
    path = {d.number: d.path for d in crystal.alive()}
    np.testing.assert_array_equal([path[n] for n in range(4)], start + jumps)
    crystal.assert_consistent()
    counts = crystal.history.counts
    assert (counts.interstitial, counts.vacancy) == (3 * frame, frame)
    assert sum(d.sign == INTERSTITIAL for d in crystal.alive()) == 3


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_cations_do_the_books_balance(seed):
    """Random changes in the smallest cell: rings, pairs, recombination, chains, wraps.

    Whenever all is settled, defects are those of the sites, steps are displacements; the
    order of the changes within a frame does not matter.
    """
    rng = np.random.default_rng(100 + seed)
    crystals = [Crystal([(1, 1, 1), (5, 5, 5)], cells=2) for _ in range(2)]
    crystal, n_settled, frame = crystals[0], 0, 0
    for frame in range(1, 400):
        changes = {}
        for _ in range(rng.choice([1, 1, 2])):
            changes |= dict([random_change(crystal, rng)])
        pairs = list(changes.items())
        crystal.tell(frame, pairs)
        crystals[1].tell(frame, pairs[::-1])
        undefined = crystal.history.counts.undefined
        crystal.history.finish(frame + 1)
        if crystal.history.counts.undefined == undefined:
            n_settled += 1
            crystal.assert_consistent()
    crystals[1].history.finish(frame + 1)
    a, b = (c.history for c in crystals)
    assert (a.events, a.defects, a.counts) == (b.events, b.defects, b.counts)
    assert n_settled > 5
    lives = [(d.end or frame + 1) - d.first for d in a.defects]
    assert a.counts.interstitial + a.counts.vacancy == sum(lives)


def folded_twice(crystal, site):
    """Whether there are two cations on the place of a site."""
    return (np.mod(np.subtract(crystal.site, site), crystal.edge) == 0).all(1).sum() > 1


def random_change(crystal, rng):
    """A cation on 8c, or one of two on a place, prefers a vacant one; any may move."""
    folded = {
        tuple(np.mod(s, crystal.edge).tolist()): i for i, s in enumerate(crystal.site)
    }
    off = [i for i, s in enumerate(crystal.site) if s[0] % 2 or folded_twice(crystal, s)]
    cation = int(rng.choice(off)) if off and rng.random() < 0.97 else None
    cation = int(rng.integers(len(crystal.site))) if cation is None else cation
    site = np.array(crystal.site[cation])
    ends = [site + b for b in BESIDE]
    if site[0] % 2:
        ends = [e for e in ends if e.sum() % 4 == 0]
        vacant = [e for e in ends if tuple(np.mod(e, crystal.edge).tolist()) not in folded]
        if vacant and rng.random() < 0.9:
            ends = vacant
        elif rng.random() < 0.7:
            ends = [site + 2 * rng.permutation([rng.choice([-1, 1]), 0, 0])]
    return cation, tuple(ends[rng.integers(len(ends))].tolist())


def test_tables_of_two_replicas_up_to_a_frame():
    """The second hop of replica 1 is after its last frame and is left out."""
    crystal = Crystal([(1, 1, 1)])
    start = sites([crystal.site] * 2)
    first = crystal.plan(((1, 1, 1), (1, 1, -1)), ((2, 2, 0), (1, 1, -1)))
    rows = [(r, 10 + 5 * r, c, *s) for r in range(2) for c, s in first]
    rows.append((1, 60, crystal.on((2, 2, 0)), 5, 3, -1))
    table = np.array(rows)
    changes = Changes(table[:, 0], table[:, 1], table[:, 2], sites(table[:, 3:]))
    read = read_history(Supercell.of(ROCK_SALT, 3), start, changes, np.array([100, 50]))
    events, defects, counts = read
    np.testing.assert_array_equal(events.replica, [0, 1])
    np.testing.assert_array_equal(events.frame, [10, 15])
    np.testing.assert_array_equal(events.jump, [[2, 2, -2]] * 2)
    np.testing.assert_array_equal(events.squared_jump, [12, 12])
    np.testing.assert_array_equal(events.squared_steps, [6, 6])
    assert events.hops(1).all()
    assert not events.hops(-1).any()
    np.testing.assert_array_equal(defects.end, [100, 50])
    assert not defects.died.any()
    np.testing.assert_array_equal(counts["exposure"], [100, 50])
