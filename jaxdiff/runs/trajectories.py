"""`jaxdiff analyze`: the tracker of sites over trajectories that exist already."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxdiff.io.config import table_to_toml
from jaxdiff.io.provenance import provenance, sha256
from jaxdiff.io.series import CHANGES, SeriesWriter
from jaxdiff.io.trajectory import Trajectory
from jaxdiff.lattice import networks
from jaxdiff.lattice.network import SiteNetwork
from jaxdiff.lattice.species import species
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.observables import SiteSettings
from jaxdiff.observables.replay import Replay, replay
from jaxdiff.observables.tracker import initialize
from jaxdiff.runs.displacements import temperatures
from jaxdiff.runs.read import mobile_atoms
from jaxdiff.runs.sites import DWELL_PS

_CHUNK_FRAMES = 256
_OWN_SITE = 0.9  # least part of the framework atoms with a host site of their own


class OtherCrystal(ValueError):
    """A trajectory is of another crystal than the network; `seen`: by what that is seen."""

    def __init__(self, seen: str) -> None:
        """The sentence that a user of --network is told."""
        self.seen = seen
        super().__init__(
            f"{seen}, so this is another crystal; hops are counted in "
            f"{', '.join(networks.NETWORKS)} (--network). Without --network, or with "
            "--network none, diffusivity and conductivity are had from displacements."
        )


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Trajectories of the same atoms, each a replica, and how hops are looked for in them.

    - `asked`: the options of the command by name; what is not said here is in it.
    - `temperature`, K: of each trajectory. `frame_ps`: between frames, the same in all.
    """

    trajectories: Sequence[Trajectory]
    asked: Mapping[str, Any]
    temperature: list[float]
    frame_ps: float
    settings: SiteSettings
    supercell: Supercell
    is_mobile: Bool[np.ndarray, " atoms"]

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory], asked: Mapping[str, Any]) -> "Analysis":
        """As the options ask. Raises `ValueError` where they or the files do not fit."""
        temperature = temperatures(asked["temperature_kelvin"], len(trajectories))
        first = trajectories[0]
        if first.frame_ps is None:
            raise ValueError(
                f"{first.path} has one frame; hops need a trajectory of several."
            )
        is_mobile = mobile_atoms(first, asked["mobile"])
        settings = SiteSettings(
            core_radius=asked["core_radius_angstrom"],
            dwell_frames=asked["dwell_frames"] or max(1, round(DWELL_PS / first.frame_ps)),
            log_capacity=16 * _CHUNK_FRAMES,
        )
        network = networks.find(asked["network"])
        supercell = _supercell(network, asked["supercell"], first, int((~is_mobile).sum()))
        _check_alike(trajectories)
        return cls(
            trajectories, asked, temperature, first.frame_ps, settings, supercell, is_mobile
        )

    def require_crystal(self) -> None:
        """Raise `OtherCrystal` where atoms do not stand on the sites of the network."""
        for one in self.trajectories:
            self._require_crystal(one)

    def write_series(self, folder: Path) -> None:
        """Run the tracker over each trajectory; what it saw becomes one series.

        Raises `OtherCrystal` where atoms do not stand on the sites of the network.
        """
        self.require_crystal()
        keepers = [_Keeper(self.asked["keep_frames"]) for _ in self.trajectories]
        seen = [
            replay(self.settings, self.supercell, _chunks(one, keeper), self.is_mobile)
            for one, keeper in zip(self.trajectories, keepers, strict=True)
        ]
        series = SeriesWriter(
            folder,
            temperature=np.array(self.temperature),
            seed_index=np.arange(len(seen)),
            lattice_constant=np.array([r.lattice_constant for r in seen]),
            cell=np.stack([r.cell for r in seen]),
            is_mobile=self.is_mobile,
            attributes=self._attributes(),
            provenance=_provenance(self.trajectories, seen),
        )
        _write_sites(series, seen)
        if self.asked["keep_frames"]:
            series.append_positions(*_together(keepers, self.frame_ps))
        series.finish("complete")

    def _require_crystal(self, one: Trajectory) -> None:
        """Most atoms are on sites of their own at the start, or it is another crystal."""
        frame, network = next(one.chunks(1)), self.supercell.network
        first = frame.cell[0], jnp.asarray(frame.position[0])
        state = initialize(self.settings, self.supercell, *first, self.is_mobile)
        kind = np.array(network.kind)[network.sites(np.asarray(state.site))[:, 0]]
        n_there, n = int(np.isin(kind, network.lattice).sum()), len(kind)
        if 2 * n_there < n:
            raise OtherCrystal(
                f"{one.path}: {n_there} of {n} {self.asked['mobile']} atoms stand on "
                f"lattice sites of {network.title} in the first frame"
            )
        if 2 * n_there < self.supercell.n_lattice:
            raise OtherCrystal(
                f"{one.path}: {self.asked['mobile']} atoms are on {n_there} of "
                f"{self.supercell.n_lattice} lattice sites of {network.title} in the first "
                "frame"
            )
        host = network.sites(np.asarray(state.anion_site)).tolist()
        n_own = len({self.supercell.fold((n, i, j, k)) for n, i, j, k in host})
        if n_own < _OWN_SITE * len(host):
            raise OtherCrystal(
                f"{one.path}: {len(host)} framework atoms stand on {n_own} host sites of "
                f"{network.title} in the first frame"
            )

    def _attributes(self) -> dict[str, Any]:
        number = self.trajectories[0].atomic_number
        return {
            **species(self.supercell, number, self.is_mobile),
            "run_file": table_to_toml({"analyze": self.asked}),
            "frame_ps": self.frame_ps,
            "dwell_frames": self.settings.dwell_frames,
            "core_radius_angstrom": self.settings.core_radius,
            "network": self.supercell.network.to_json(),
            "supercell": self.supercell.matrix,
            "n_mobile": int(self.is_mobile.sum()),
            "n_anion": int((~self.is_mobile).sum()),
        }


class _Keeper:
    """Every so many-th frame of a stream of unknown length, at most `n` to `2 n`."""

    def __init__(self, n: int) -> None:
        self.n, self.stride, self._count = n, 1, 0
        self.frames: list[np.ndarray] = []

    def add(self, position: Float[np.ndarray, "frames atoms 3"]) -> None:
        """Take what is due from a chunk."""
        for i in range(len(position) if self.n else 0):
            if self._count % self.stride == 0:
                self.frames.append(position[i].astype("f4"))
            self._count += 1
            if len(self.frames) >= 2 * self.n:
                self.thin(2 * self.stride)

    def thin(self, stride: int) -> None:
        """Keep only multiples of a stride."""
        self.frames, self.stride = self.frames[:: stride // self.stride], stride


def _chunks(one: Trajectory, keeper: _Keeper) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for frames in one.chunks(_CHUNK_FRAMES):
        keeper.add(frames.position)
        yield frames.position, frames.cell


def _together(
    kept: Sequence[_Keeper], frame_ps: float
) -> tuple[Float[np.ndarray, " kept"], Float[np.ndarray, "replicas kept atoms 3"]]:
    """Times, ps, and positions at which all trajectories have a frame."""
    stride = max(keeper.stride for keeper in kept)
    for keeper in kept:
        keeper.thin(stride)
    n = min(len(keeper.frames) for keeper in kept)
    return np.arange(n) * stride * frame_ps, np.stack([k.frames[:n] for k in kept])


def _write_sites(series: SeriesWriter, seen: Sequence[Replay]) -> None:
    series.start_sites(np.stack([r.initial_site for r in seen]))
    names = [name for name in CHANGES if name != "replica"]
    changes = {n: np.concatenate([getattr(r, n) for r in seen]) for n in names}
    changes["replica"] = np.repeat(np.arange(len(seen)), [len(r.frame) for r in seen])
    counts = {
        "frames": np.array([r.n_frames for r in seen]),
        "anion_displaced_frames": np.array([r.anion_displaced_frames for r in seen]),
        "lost_frame": np.array([r.lost_frame for r in seen]),
    }
    series.append_sites(changes, counts)


def _check_alike(trajectories: Sequence[Trajectory]) -> None:
    first = trajectories[0]
    for other in trajectories[1:]:
        if not np.array_equal(first.atomic_number, other.atomic_number):
            raise ValueError(
                f"{other.path} does not have the same atoms in the same order as "
                f"{first.path}; analyze them apart."
            )
        if not math.isclose(other.frame_ps or 0, first.frame_ps or 0, rel_tol=1e-6):
            raise ValueError(
                f"{other.path} has a frame every {other.frame_ps} ps, {first.path} every "
                f"{first.frame_ps} ps; analyze them apart, or make them alike by --stride."
            )


def _supercell(
    network: SiteNetwork, text: str | None, trajectory: Trajectory, n_host: int
) -> Supercell:
    """As given in conventional cells, or else from the first cell."""
    if text is None:
        cell = next(trajectory.chunks(1)).cell[0]
        try:
            return Supercell.guess(network, cell, n_host)
        except ValueError as error:
            edges = ", ".join(f"{edge:.2f}" for edge in np.linalg.norm(cell, axis=1))
            raise OtherCrystal(
                f"{trajectory.path}: {n_host} framework atoms in a cell of edges {edges} Å "
                f"are no supercell of {network.title} along its axes"
            ) from error
    try:
        numbers = [float(part) for part in text.replace(";", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3, 9):
        raise ValueError(
            f"--supercell {text} must be one number, three, or nine, separated by commas."
        )
    shape = {1: (), 3: (3,), 9: (3, 3)}[len(numbers)]
    return Supercell.of(network, np.reshape(numbers, shape))


def _provenance(
    trajectories: Sequence[Trajectory], seen: Sequence[Replay]
) -> dict[str, Any]:
    return provenance(
        trajectories=[
            {
                "path": str(one.path),
                "sha256": sha256(one.path),
                "format": one.format,
                "unwrapping": one.unwrapping,
                "frames": replay.n_frames,
                "lattice_constant_angstrom": replay.lattice_constant,
                "left_out": one.note,
            }
            for one, replay in zip(trajectories, seen, strict=True)
        ]
    )
