"""Files that are there whole or not at all, and safe on the disk before they count."""

import errno
import os
from pathlib import Path

import pytest

from jaxdiff.io import durable


@pytest.fixture
def calls(monkeypatch):
    """What is asked of the system, in order: names of what is synced and renamed."""
    found, names = [], {}
    real_open, real_fsync, real_replace = os.open, os.fsync, Path.replace

    def opened(path, *arguments, **more):
        descriptor = real_open(path, *arguments, **more)
        names[descriptor] = Path(path).name
        return descriptor

    def fsync(descriptor):
        found.append(("fsync", names[descriptor]))
        real_fsync(descriptor)

    def replace(self, target):
        found.append(("rename", Path(target).name))
        return real_replace(self, target)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    return found


def test_the_file_is_synced_then_renamed_then_its_folder_synced(tmp_path, calls):
    durable.write_text(tmp_path / "a.json", "Å")
    assert (tmp_path / "a.json").read_bytes() == "Å".encode()
    assert calls == [
        ("fsync", f".a.json.{os.getpid()}.partial"),
        ("rename", "a.json"),
        ("fsync", tmp_path.name),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_new_line_is_synced_and_so_is_the_name_of_a_new_file(tmp_path, calls):
    durable.append_line(tmp_path / "m.jsonl", "one")
    durable.append_line(tmp_path / "m.jsonl", "two")
    assert (tmp_path / "m.jsonl").read_text() == "one\ntwo\n"
    assert calls == [("fsync", "m.jsonl"), ("fsync", tmp_path.name), ("fsync", "m.jsonl")]


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_the_old_content_and_a_sentence(tmp_path, monkeypatch, step):
    (tmp_path / "a").write_text("old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    where = {"write": (Path, "write_bytes"), "fsync": (os, "fsync")}
    with monkeypatch.context() as patch:
        patch.setattr(*where.get(step, (Path, "replace")), full)
        said = r"a cannot be written \(No space left on device\); make room"
        with pytest.raises(OSError, match=said):
            durable.write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_error_of_the_writer_is_its_own_and_changes_nothing(tmp_path):
    (tmp_path / "a").write_text("old")

    def written_half():
        with durable.replacing(tmp_path / "a") as path:
            path.write_text("half")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        written_half()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_folders_that_cannot_be_synced(tmp_path, monkeypatch, number, passes):
    """Some file systems have no such thing; any other fault is one."""
    real = os.fsync

    def fsync(descriptor):
        if os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            raise OSError(number, "as it is called")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if passes:
        durable.write_text(tmp_path / "a", "new")
    else:
        with pytest.raises(OSError, match="a cannot be written .as it is called"):
            durable.write_text(tmp_path / "a", "new")


def test_what_a_process_that_died_left_is_known_and_removed(tmp_path):
    for name in (".a.b.17.partial", ".a.b.partial", "a.b", ".hidden"):
        (tmp_path / name).touch()
    found = {path.name: durable.whole_name(path) for path in tmp_path.iterdir()}
    assert found == {
        ".a.b.17.partial": "a.b", ".a.b.partial": "a.b", "a.b": "a.b", ".hidden": ".hidden"
    }  # fmt: skip
    durable.remove_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.b", ".hidden"}
