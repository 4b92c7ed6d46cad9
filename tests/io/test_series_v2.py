"""Series of format 2, in which sites were integers in a/4: one is frozen in tests/data.

`series-v2.h5.gz` was written by jaxdiff of commit 116ad0c from the walk of
tests/report/conftest.py in a cell of 2x2x2;
`series-v2.json` is what that version read in it and reported.
"""

import gzip
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from jaxdiff.analysis import load_series, summarize
from jaxdiff.analysis.record import plain
from jaxdiff.io.series import SeriesWriter
from jaxdiff.report.published import find

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def old(tmp_path):
    """The folder of a run of that version."""
    content = gzip.decompress((DATA / "series-v2.h5.gz").read_bytes())
    (tmp_path / "series.h5").write_bytes(content)
    return tmp_path


def assert_read(path):
    """Events, and what a report counts in them: the same bits as then."""
    expected = json.loads((DATA / "series-v2.json").read_text())
    series = load_series(path)
    events = series.events
    for name, values in (
        *(("kind", events.kind), ("frame", events.frame), ("start", events.start)),
        *(("end", events.end), ("steps", events.move_step)),
    ):
        np.testing.assert_array_equal(values, expected[name], err_msg=name)
    for row, known in zip(summarize(series).rows, expected["rows"], strict=True):
        for short, name in (
            *(("exposure_ps", "exposure_ps"), ("events_by_class", "events_by_class")),
            ("residence", "residence"),
        ):
            assert plain(getattr(row, name)) == known[short], name
        assert row.defect_diffusivity.value == known["defect"]["value"]
        assert row.tracer_diffusivity_by_class.value == known["tracer"]["value"]
    return series


def test_it_is_read_as_it_was(old):
    series = assert_read(old / "series.h5")
    assert (series.mobile, series.formula, series.network.title) == (
        "Li",
        "LiF",
        "rock salt",
    )
    assert find(series) is not None


def test_a_run_that_began_in_it_goes_on_in_the_format_of_today(old):
    """A part of then, one of today: joined, every site is (index, image)."""
    (old / "parts").mkdir()
    (old / "series.h5").rename(old / "parts/000000.h5")
    part = h5py.File(old / "parts/000000.h5")
    sites = {n: part[f"{n}"][...] for n in ("sites/initial", "crossings/site")}
    more = SeriesWriter(
        old,
        temperature=part["temperature_kelvin"][...],
        seed_index=np.arange(4),
        lattice_constant=part["lattice_constant_angstrom"][...],
        cell=part["cell_angstrom"][...],
        is_mobile=part["positions/is_mobile"][...],
        attributes=series_attributes(part),
        provenance={},
        n_parts=1,
    )
    counts = {n: part[f"sites/{n}"][...] for n in ("frames", "lost_frame")}
    none = {n: np.zeros(0, int) for n in ("replica", "frame", "cation")}
    more.append_sites(
        none | {"site": np.zeros((0, 4), int)},
        counts | {"anion_displaced_frames": np.zeros(4, int)},
    )
    more.finish("complete")
    with h5py.File(old / "series.h5") as file:
        assert file.attrs["format_version"] == 3
        cell, fraction = np.array([[0, 2, 2], [2, 0, 2], [2, 2, 0]]), [0, 1, 3, 2]
        for name, quarters in sites.items():
            index, image = file[name][..., 0], file[name][..., 1:]
            place = np.array(fraction)[index][..., None] + image @ cell
            np.testing.assert_array_equal(place, quarters)
    assert_read(old / "series.h5")


def series_attributes(part):
    """What a run of today writes beside."""
    from jaxdiff.lattice.rock_salt import ROCK_SALT

    kept = ("run_file", "frame_ps", "dwell_frames", "core_radius_angstrom", "supercell")
    return {n: part.attrs[n] for n in (*kept, "n_mobile", "n_anion")} | {
        "network": ROCK_SALT.to_json(),
        "mobile": "Li",
        "formula": "LiF",
    }


def test_what_a_file_does_not_say_is_not_claimed(old):
    with h5py.File(old / "series.h5", "r+") as file:
        file.attrs["run_file"] = '[system]\nstructure_files = ["NaCl.extxyz"]\n'
    series = load_series(old / "series.h5")
    assert (series.mobile, series.formula) == ("Li", "")
    assert find(series) is None
    with h5py.File(old / "series.h5", "r+") as file:
        file.attrs["run_file"] = '{"mobile": "Na"}'
    assert load_series(old / "series.h5").mobile == "Na"
