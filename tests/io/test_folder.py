"""Who may write into the folder of a run, and whether it holds the same run."""

import pytest

from jaxdiff.io import folder
from jaxdiff.io.folder import RunFolder, differences

RUN = {"seed": 1, "model": {"name": "a", "head": None}, "stage": {"epochs": 2}}


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        ({}, {}),
        ({"seed": 2}, {"seed": (1, 2)}),
        ({"model": {"name": "b"}}, {"model.name": ("a", "b")}),
        ({"model": {"name": "a", "head": "x"}}, {"model.head": ("unset", "x")}),
        ({"stage": {"epochs": 3, "rate": 1.0}}, {}),  # free, as is all that is in it
        ({"stage": None}, {}),
        ({"stages": {"epochs": None}}, {"stages": ("unset", "given")}),
    ],
)
def test_what_differs_between_two_runs(change, differ):
    assert differences(RUN, RUN | change, ("stage",)) == differ
    back = {name: values[::-1] for name, values in differ.items()}
    assert differences(RUN | change, RUN, ("stage",)) == back


def test_another_run_is_told_with_its_first_key_and_those_that_may_change(tmp_path):
    own = RunFolder(tmp_path, "directory", ("stage.epochs", "directory"))
    own.require_same(RUN, RUN | {"stage": {"epochs": 9}, "directory": "b"})
    with pytest.raises(ValueError, match="holds a run") as told:
        own.require_same(RUN, {"seed": 2, "model": {"name": "b"}, "stage": None})
    assert str(told.value) == (
        f"{tmp_path} holds a run with model.name = a, not b, and 2 more differ; give "
        "another folder (--set directory=...), or the run file as it was. Only "
        "stage.epochs, directory may change."
    )


def test_one_process_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "PATIENCE_S", 0.0)
    own = RunFolder(tmp_path / "new")
    assert not own.is_claimed()
    with own.claimed():
        assert own.is_claimed()
        with (
            pytest.raises(ValueError, match="another process .*--set output.directory="),
            own.claimed(),
        ):
            pass
    assert not own.is_claimed()


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / ".000001.h5.17.partial").touch()
    with RunFolder(tmp_path).claimed():
        assert not list((tmp_path / "parts").iterdir())


@pytest.mark.parametrize(("key", "way"), [("--out", "--out DIR"), ("a.b", "--set a.b=")])
def test_a_folder_with_other_files_is_refused(tmp_path, key, way):
    own = RunFolder(tmp_path, key)
    for name in ("lock", "mine", ".mine.3.partial"):
        (tmp_path / name).touch()
        own.require_empty(["mine"])
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=f"overwrites nothing .it has notes.txt.*{way}"):
        own.require_empty(["mine"])
    RunFolder(tmp_path / "none").require_empty()


def test_progress_comes_back_and_a_damaged_one_is_none(tmp_path):
    own = RunFolder(tmp_path)
    assert own.progress() == {}
    own.write_progress({"phase": "production"})
    assert own.progress() == {"phase": "production"}
    for text in ("{", "[]", "1"):
        (tmp_path / folder.PROGRESS).write_text(text)
        assert own.progress() == {}
