"""Fetching by name, from a server on the loopback interface."""

import hashlib
import http.server
import io
import socket
import threading
import types
import zipfile

import numpy as np
import pytest

from jaxdiff.checkpoints import CheckpointError, download, registry
from jaxdiff.checkpoints.registry import FOUNDATIONS, Foundation, cached, fetch


def model_file():
    """A zip archive of one megabyte with an object in it, which is what fetching reads."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02cmace.modules.models\nMACE\n)R.")
        file.writestr("archive/data/0", np.random.default_rng(0).bytes(1_000_000))
    return buffer.getvalue()


CONTENT = model_file()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT under /model, honours ranges, and misbehaves on request."""

    def do_GET(self):
        site = self.server.site
        site.requests.append(dict(self.headers))
        if self.path != "/some/where/test.model":
            self.send_error(404)
            return
        start, body = 0, site.content
        asked = self.headers.get("Range")
        unchanged = self.headers.get("If-Range", site.etag) == site.etag
        if site.ranges and asked and unchanged:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
        site.starts.append(start)
        self.send_response(206 if start else 200)
        if start and site.says_range:
            self.send_header("Content-Range", site.says_range)
            start = 0
        if site.announce:
            self.send_header("Content-Length", str(len(body) - start))
        if site.etag:
            self.send_header("ETag", site.etag)
        self.end_headers()
        stop = len(body) if site.stop_at is None else site.stop_at
        self.wfile.write(body[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    """The server; its attributes say how it behaves."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    settings = dict(
        says_range="",
        content=CONTENT,
        ranges=True,
        etag='"v1"',
        announce=True,
        stop_at=None,
    )
    server.site = types.SimpleNamespace(requests=[], starts=[], **settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.site.url = f"http://127.0.0.1:{server.server_port}/some/where/test.model"
    table = {
        "test": Foundation(server.site.url, "MIT", "nothing"),
        "academic": Foundation(server.site.url, "ASL", "nothing"),
        "absent": Foundation(server.site.url + ".gone", "MIT", "nothing"),
    }
    monkeypatch.setattr(registry, "FOUNDATIONS", table)
    yield server.site
    server.shutdown()
    server.server_close()
    thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fetch_stores_the_file_and_its_hash(site, tmp_path):
    seen = []
    path = fetch("test", cache=tmp_path / "new", progress=lambda *n: seen.append(n))
    assert path == tmp_path / "new" / "test.model"
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["test.model", "test.model.sha256"]
    assert (path.parent / "test.model.sha256").read_text() == f"{DIGEST}  test.model\n"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_the_second_time_nothing_is_transferred(site, tmp_path):
    fetch("test", cache=tmp_path)
    assert fetch("test", cache=tmp_path, sha256=DIGEST.upper()).is_file()
    assert cached("test", cache=tmp_path) == tmp_path / "test.model"
    assert len(site.requests) == 1


def test_cache_is_found_by_environment(site, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDIFF_CACHE", str(tmp_path / "here"))
    assert cached("test") is None
    assert fetch("test").parent == tmp_path / "here"
    monkeypatch.delenv("JAXDIFF_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert registry.cache_directory() == tmp_path / "home" / ".cache" / "jaxdiff"


def test_truncated_transfer_is_taken_up_again(site, tmp_path):
    site.stop_at = 600_000
    with pytest.raises(CheckpointError, match=r"stopped at 600000 of 1000\d+ bytes"):
        fetch("test", cache=tmp_path)
    assert "test.model" not in names(tmp_path)
    site.stop_at = None
    assert fetch("test", cache=tmp_path, sha256=DIGEST).read_bytes() == CONTENT
    assert site.starts == [0, 600_000]
    assert names(tmp_path) == ["test.model", "test.model.sha256"]


@pytest.mark.parametrize("change", [{"ranges": False}, {"etag": '"v2"'}, {"etag": None}])
def test_begins_anew_where_it_cannot_go_on(site, tmp_path, change):
    """No ranges, a file changed on the server, or a server that does not tell."""
    site.stop_at = 600_000
    if change == {"etag": None}:
        site.etag = None
    with pytest.raises(CheckpointError, match="Try again"):
        fetch("test", cache=tmp_path)
    vars(site).update(change, stop_at=None)
    assert fetch("test", cache=tmp_path, sha256=DIGEST).read_bytes() == CONTENT
    assert site.starts == [0, 0]


def test_partial_file_that_is_too_long_is_dropped(site, tmp_path):
    (tmp_path / "test.model.part").write_bytes(CONTENT + b"more")
    (tmp_path / "test.model.part.etag").write_text('"v1"')
    assert fetch("test", cache=tmp_path, sha256=DIGEST).read_bytes() == CONTENT


def test_another_range_than_asked_for_is_not_appended(site, tmp_path):
    site.stop_at = 600_000
    with pytest.raises(CheckpointError, match="Try again"):
        fetch("test", cache=tmp_path)
    vars(site).update(stop_at=None, says_range="bytes 0-1000/1000")
    assert fetch("test", cache=tmp_path).read_bytes() == CONTENT
    assert site.starts == [0, 600_000, 0]


def test_a_zip_archive_of_something_else_is_refused(site, tmp_path):
    junk = io.BytesIO()
    with zipfile.ZipFile(junk, "w") as file:
        file.writestr("hello.txt", "hi")
    site.content = junk.getvalue()
    with pytest.raises(CheckpointError, match="zip archive without data.pkl"):
        fetch("test", cache=tmp_path)
    assert names(tmp_path) == []
    (tmp_path / "test.model").write_bytes(junk.getvalue())
    with pytest.raises(CheckpointError, match="zip archive without data.pkl"):
        fetch("test", cache=tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"0" * 63])
def test_a_damaged_record_is_a_sentence(site, tmp_path, content):
    fetch("test", cache=tmp_path)
    (tmp_path / "test.model.sha256").write_bytes(content)
    for use in (fetch, cached):
        with pytest.raises(CheckpointError, match="should hold the SHA-256 of test.model"):
            use("test", cache=tmp_path)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_cache_that_others_can_write_to_is_refused(site, tmp_path, mode):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    for use in (fetch, cached):
        with pytest.raises(CheckpointError, match="can be written by others.*chmod go-w"):
            use("test", cache=folder)
    folder.chmod(0o755)
    tmp_path.chmod(0o777)  # whoever can rename the folder has it as well
    with pytest.raises(CheckpointError, match="can be written by others"):
        fetch("test", cache=folder)
    tmp_path.chmod(0o700)
    assert site.requests == []


@pytest.mark.parametrize("name", ["", ".part", ".sha256", ".part.etag"])
def test_no_link_is_followed(site, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"test.model{name}").symlink_to(victim)
    with pytest.raises(CheckpointError, match="is a symbolic link, which is not followed"):
        fetch("test", cache=tmp_path / "cache")
    assert victim.read_text() == "precious"


def test_two_at_once_wait_for_each_other(site, tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch("test", cache=tmp_path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "test.model"] * 4
    assert found[0].read_bytes() == CONTENT
    assert len(site.requests) == 1
    assert names(tmp_path) == ["test.model", "test.model.sha256"]


def test_a_pinned_hash_is_compared(site, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "PINNED", {"test.model": "0" * 64})
    with pytest.raises(CheckpointError, match=f"has SHA-256 {DIGEST}, expected 0000"):
        fetch("test", cache=tmp_path)
    assert names(tmp_path) == []
    monkeypatch.setattr(registry, "PINNED", {"test.model": DIGEST})
    path = fetch("test", cache=tmp_path)
    assert registry.warrant("test", path) == ""
    assert registry.is_published("test", path)


def test_what_nobody_vouches_for_is_said(site, tmp_path):
    path = fetch("test", cache=tmp_path / "fetched")
    note = registry.warrant("test", path)
    assert note.startswith("Nothing vouches for test.model: no SHA-256")
    assert DIGEST in note
    assert registry.is_published("test", path)
    (tmp_path / "hand").mkdir()
    by_hand = tmp_path / "hand" / "test.model"
    by_hand.write_bytes(CONTENT)
    for _ in range(2):
        assert not registry.is_published("test", by_hand)
        assert "was put there by hand; nothing says" in registry.warrant("test", by_hand)
        fetch("test", cache=tmp_path / "hand")


@pytest.mark.parametrize("length", ["abc", "-5", "1" * 400])
def test_a_length_that_is_none_is_a_sentence(length):
    with pytest.raises(OSError, match="announces a length of"):
        download._expected(length, 0)


def test_length_may_be_unknown(site, tmp_path):
    site.announce = False
    totals = set()
    fetch("test", cache=tmp_path, progress=lambda _, total: totals.add(total))
    assert totals == {None}
    assert (tmp_path / "test.model").read_bytes() == CONTENT


def test_wrong_hash_keeps_nothing(site, tmp_path):
    with pytest.raises(
        CheckpointError, match=f"test.model has SHA-256 {DIGEST}, expected 00"
    ):
        fetch("test", cache=tmp_path, sha256="00")
    assert names(tmp_path) == []


def test_changed_file_in_the_cache_is_found(site, tmp_path):
    path = fetch("test", cache=tmp_path)
    path.write_bytes(CONTENT[:-1] + b"x")
    for use in (fetch, cached):
        with pytest.raises(CheckpointError, match=f"expected {DIGEST}: it is damaged"):
            use("test", cache=tmp_path)


def test_cached_file_is_compared_with_the_users_hash(site, tmp_path):
    fetch("test", cache=tmp_path)
    with pytest.raises(CheckpointError, match="expected 00: .* fetch it again"):
        fetch("test", cache=tmp_path, sha256="00")


def test_file_put_there_by_hand_is_recorded(site, tmp_path):
    (tmp_path / "test.model").write_bytes(CONTENT)
    fetch("test", cache=tmp_path)
    assert (tmp_path / "test.model.sha256").read_text().startswith(DIGEST)
    assert site.requests == []


def test_academic_licence_needs_consent(site, tmp_path):
    with pytest.raises(
        CheckpointError, match="academic is under the Academic .*--accept-asl"
    ):
        fetch("academic", cache=tmp_path)
    assert site.requests == []
    assert fetch("academic", cache=tmp_path, accept_asl=True).is_file()


def test_offline_says_what_to_download_and_where_to_put_it(monkeypatch, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/test.model"
    table = {"test": Foundation(url, "MIT", "nothing")}
    monkeypatch.setattr(registry, "FOUNDATIONS", table)
    with pytest.raises(
        CheckpointError, match="cannot reach http://127.* put it at"
    ) as caught:
        fetch("test", cache=tmp_path)
    assert url in str(caught.value)
    assert str(tmp_path / "test.model") in str(caught.value)


def test_file_that_has_moved(site, tmp_path):
    with pytest.raises(
        CheckpointError, match=r"answers 404 .* put it at .*test\.model\.gone"
    ):
        fetch("absent", cache=tmp_path)


def test_a_log_in_page_is_no_model(site, tmp_path):
    site.content = b"<html>Log in</html>"
    with pytest.raises(
        CheckpointError, match="did not give a model file but something else"
    ):
        fetch("test", cache=tmp_path)
    assert names(tmp_path) == []


def test_unknown_name():
    with pytest.raises(
        ValueError, match="no model is named 'mace'; the names are mace-mpa-0"
    ):
        fetch("mace")


def test_table_of_published_models():
    assert next(iter(FOUNDATIONS)) == "mace-mpa-0-medium"
    files = [foundation.file_name for foundation in FOUNDATIONS.values()]
    assert len(set(files)) == len(files)
    for name, foundation in FOUNDATIONS.items():
        free = name.startswith(("mace-mp", "mace-ani"))
        assert foundation.license == ("MIT" if free else "ASL")
        assert "github" in foundation.url.split("/ACEsuit/")[0]
        assert foundation.url.endswith(".model")
    with pytest.raises(TypeError):
        FOUNDATIONS["mine"] = FOUNDATIONS["mace-mpa-0-medium"]


@pytest.mark.oracle
def test_addresses_are_upstreams(upstream):
    from mace.calculators import foundations_models as upstreams

    ours = {known.upstream: known.url for known in FOUNDATIONS.values()}
    ours.pop(None)  # of other functions
    assert ours.items() <= upstreams.mace_mp_urls.items()
    for size, url in upstreams.mace_off_urls.items():
        assert FOUNDATIONS[f"mace-off23-{size}"].url == url
