"""From logs on the device to the file, and back as events."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.analysis import load_series
from jaxdiff.io.series import SeriesWriter
from jaxdiff.io.site_log import SiteLog
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.observables import SiteSettings, initialize, observe

CLASSES = ROCK_SALT.classes
LATTICE, CELLS = 4.0, 2  # Å; a/4 is 1 Å
SYSTEM = rock_salt_interstitial(CELLS, LATTICE)
LITHIUM = SYSTEM.atomic_number == 3
SETTINGS = SiteSettings(core_radius=0.6, dwell_frames=2, log_capacity=6)
INTERSTITIAL = 32  # index of its row; it hops along x from one 8c site to the next
N_FRAMES, REPLICAS = 12, 2


def write(path, settings=SETTINGS, chunk=3, hops=((2, 5, 8), (4,))):
    """Replicas whose interstitial hops in given frames, written chunk by chunk."""
    position = np.broadcast_to(SYSTEM.position, (N_FRAMES, REPLICAS, 65, 3)).copy()
    for replica, frames in enumerate(hops):
        for frame in frames:
            position[frame - 1 :, replica, INTERSTITIAL, 0] += LATTICE / 2
    supercell = Supercell.of(ROCK_SALT, CELLS)
    start = initialize(
        settings, supercell, SYSTEM.cell, jnp.asarray(SYSTEM.position), LITHIUM
    )
    state = jax.tree.map(lambda leaf: jnp.stack([leaf] * REPLICAS), start)
    see = jax.jit(jax.vmap(lambda s, x, f: observe(settings, s, x, f), (0, 0, None)))
    series = SeriesWriter(
        path.parent,
        temperature=np.full(REPLICAS, 500.0),
        seed_index=np.arange(REPLICAS),
        lattice_constant=np.full(REPLICAS, LATTICE),
        cell=np.stack([SYSTEM.cell] * REPLICAS),
        is_mobile=LITHIUM,
        attributes={
            "run_file": "",
            "frame_ps": 0.02,
            "dwell_frames": settings.dwell_frames,
            "core_radius_angstrom": settings.core_radius,
            "lattice_constant_angstrom": LATTICE,
            "cell_angstrom": SYSTEM.cell,
            "network": ROCK_SALT.to_json(),
            "mobile": "Li",
            "formula": "LiF",
            "supercell": supercell.matrix,
            "n_mobile": 33,
            "n_anion": 32,
        },
        provenance={},
    )
    log = SiteLog.start(series, state)
    for frame in range(1, N_FRAMES + 1):
        state = see(state, jnp.asarray(position[frame - 1]), frame)
        if frame % chunk == 0:
            log.write(state)
            series.flush()
    log.write(state)
    series.finish("complete")
    return load_series(path)


@pytest.mark.parametrize("chunk", [1, 3, 5, 12])
def test_hops_come_back_whatever_the_chunks(tmp_path, chunk):
    """A hop counts in the second frame at the new site."""
    series = write(tmp_path / "series.h5", chunk=chunk)
    events = series.events
    np.testing.assert_array_equal(events.replica, [0, 0, 0, 1])
    np.testing.assert_array_equal(events.frame + 1, [3, 6, 9, 5])
    assert [CLASSES[k] for k in events.kind] == ["direct"] * 4
    np.testing.assert_array_equal(events.jump, [[2, 0, 0]] * 4)
    np.testing.assert_array_equal(series.hop_count, [3, 1])
    np.testing.assert_allclose(series.exposure_ps, [0.24, 0.24])
    np.testing.assert_array_equal(series.lost_frame, [-1, -1])


def test_what_a_full_log_lost_is_not_used(tmp_path):
    """Three hops in one chunk, two places: nothing after the start of it counts."""
    small = SiteSettings(core_radius=0.6, dwell_frames=2, log_capacity=2)
    series = write(tmp_path / "series.h5", small, chunk=12)
    np.testing.assert_array_equal(series.lost_frame, [1, -1])
    np.testing.assert_array_equal(series.hop_count, [0, 1])
    np.testing.assert_allclose(series.exposure_ps, [0.0, 0.24])


def test_frames_at_crossings_are_written(tmp_path):
    import h5py

    keep = SiteSettings(
        core_radius=0.6, dwell_frames=2, log_capacity=6, crossing_capacity=4
    )
    write(tmp_path / "series.h5", keep)
    with h5py.File(tmp_path / "series.h5") as file:
        assert file["crossings/position"].shape == (4, 65, 3)
        np.testing.assert_array_equal(np.sort(file["crossings/replica"]), [0, 0, 0, 1])
        np.testing.assert_array_equal(file["crossings/cation"], [INTERSTITIAL] * 4)
