"""Synthetic trajectories of rock salt with one interstitial and known hops."""

import dataclasses

import numpy as np

LATTICE = 4.083428  # Å
CELLS = (3, 3, 3)
PUSH = 0.55  # Å, of one lattice neighbour away from the interstitial


@dataclasses.dataclass
class Trajectory:
    """Unwrapped positions [F, N, 3], Å, and the hops put in (class, frame of the end)."""

    position: np.ndarray
    is_mobile: np.ndarray
    kind: list[str]
    frame: np.ndarray
    jump: np.ndarray  # a/4


def perfect_sites():
    """Cation and anion sites, a/4."""
    grid = np.stack(np.meshgrid(*(np.arange(2 * n) for n in CELLS), indexing="ij"), -1)
    grid = grid.reshape(-1, 3)
    even = grid.sum(1) % 2 == 0
    return 2 * grid[even], 2 * grid[~even]


def same_place(a, b):
    return np.all((a - b) % (4 * np.array(CELLS)) == 0, axis=-1)


def occupied_neighbours(site, interstitial):
    """Index of the four lattice cations around the interstitial and the vectors to them."""
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    found = []
    for corner in corners:
        for j in np.flatnonzero(same_place(site, site[interstitial] + corner)):
            found.append((int(j), corner))
    assert len(found) == 4
    return found


def hop(site, interstitial, kind, rng):
    """New sites and interstitial after one hop of the class wanted."""
    site = site.copy()
    if kind == "direct":
        step = np.zeros(3, int)
        step[rng.integers(3)] = 2 * rng.choice([-1, 1])
        site[interstitial] += step
        return site, interstitial, step
    j, corner = occupied_neighbours(site, interstitial)[rng.integers(4)]
    axis = rng.integers(3)
    flip = {
        "collinear": np.ones(3, int),
        "noncollinear_1": 1 - 2 * np.eye(3, dtype=int)[axis],
        "noncollinear_2": 2 * np.eye(3, dtype=int)[axis] - 1,
    }[kind]
    site[interstitial] += corner
    site[j] += corner * flip
    return site, j, corner + corner * flip


def correlated_noise(shape, amplitude, rng, frames=4.0):
    """AR(1) noise over the first axis with s.d. `amplitude` and decay time `frames`."""
    memory = np.exp(-1 / frames)
    white = rng.normal(size=shape) * amplitude
    noise = np.empty(shape)
    noise[0] = white[0]
    for t in range(1, shape[0]):
        noise[t] = memory * noise[t - 1] + np.sqrt(1 - memory**2) * white[t]
    return noise


def with_push(site, interstitial, rng):
    """Positions, Å, with one neighbour of the interstitial pushed outward."""
    place = site * LATTICE / 4
    j, corner = occupied_neighbours(site, interstitial)[rng.integers(4)]
    place[j] += PUSH * corner / np.sqrt(3)
    return place


def make(kinds, noise, seed, residence=40, transit=6, drift=0.004, origin=(0.7, -1.3, 0.4)):
    """The hops `kinds`, at least 25 frames apart; then `residence` frames of rest."""
    rng = np.random.default_rng(seed)
    cation, anion = perfect_sites()
    site = np.concatenate([cation, np.array([[5, 7, 3]])])
    interstitial = len(site) - 1
    place = with_push(site, interstitial, rng)
    cations, ends, jumps, frame = [], [], [], 0
    for kind in [*kinds, None]:
        stay = residence if kind is None else 25 + int(rng.exponential(residence - 25))
        cations += [place] * stay
        frame += stay
        if kind is None:
            break
        site, interstitial, jump = hop(site, interstitial, kind, rng)
        after = with_push(site, interstitial, rng)
        weight = np.arange(1, transit + 1)[:, None, None] / (transit + 1)
        cations += list(place + weight * (after - place))
        place, frame = after, frame + transit
        ends.append(frame)
        jumps.append(jump)
    still = np.broadcast_to(anion * LATTICE / 4, (frame, *anion.shape))
    position = np.concatenate([still, np.array(cations)], axis=1)
    position = position + correlated_noise(position.shape, noise, rng)
    edge = LATTICE * np.array(CELLS)
    wrap = -edge * np.floor(
        (position[:1] + np.array(origin)) / edge
    )  # as written to a file
    time = np.arange(frame)[:, None, None]
    position = (
        position + np.array(origin) + wrap + drift * time * np.array([1.0, -0.6, 0.3])
    )
    is_mobile = np.arange(position.shape[1]) >= len(anion)
    return Trajectory(position, is_mobile, list(kinds), np.array(ends), np.array(jumps))
