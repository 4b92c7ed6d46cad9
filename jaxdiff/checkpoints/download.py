"""One file from a server: taken up again where it broke off, nothing taken on trust."""

import http.client
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from jaxdiff.checkpoints.cache import is_there
from jaxdiff.checkpoints.errors import CheckpointError

TIMEOUT_S = 60
BLOCK = 1 << 18  # bytes read at a time
MOST_BYTES = 1 << 33  # of one model

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the bytes expected (None when unknown)."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to where a download may go: not from https to anything else."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """The next request; an error for another scheme."""
        schemes = ("https:",) if req.full_url.startswith("https:") else ("https:", "http:")
        if not newurl.lower().startswith(schemes):
            raise urllib.error.URLError(f"it refers to {newurl[:100]!r}, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, path: Path, part: Path, progress: Progress | None) -> None:
    """Complete the partial file of `path`.

    Raises `CheckpointError` where the server does not give all of a zip archive.
    """
    tag = part.with_name(part.name + ".etag")
    is_there(tag)
    try:
        received, expected = _transfer(url, part, tag, progress)
    except urllib.error.HTTPError as error:
        raise CheckpointError(
            f"the server answers {error.code} ({error.reason}) for {url}. "
            f"Download it by hand and put it at {path}."
        ) from None
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise CheckpointError(
            f"cannot reach {url} ({reason}). Try again, or download it on another machine "
            f"and put it at {path}."
        ) from None
    if expected is not None and received != expected:
        raise CheckpointError(
            f"the transfer of {url} stopped at {received} of {expected} bytes. "
            "Try again; it goes on from there where the server allows it."
        )
    tag.unlink(missing_ok=True)
    if not zipfile.is_zipfile(part):
        part.unlink()
        raise CheckpointError(
            f"{url} did not give a model file but something else, perhaps a log-in page. "
            f"Download it by hand and put it at {path}."
        )


def _transfer(
    url: str, part: Path, tag: Path, progress: Progress | None
) -> tuple[int, int | None]:
    """Append to or begin the partial file: bytes now in it, and bytes expected."""
    start = part.stat().st_size if tag.is_file() else 0
    known = re.sub(r"[^\x21-\x7e]", "", tag.read_text(errors="replace")) if start else ""
    request = urllib.request.Request(url)
    if start and known:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", known)  # a changed file begins anew
    opener = urllib.request.build_opener(_Redirects)
    try:
        response = opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise
        return _anew(url, part, tag, progress)
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        given = response.headers.get("Content-Range")
        if resumed and (not start or (given and not given.startswith(f"bytes {start}-"))):
            return _anew(url, part, tag, progress)
        received = start if resumed else 0
        expected = _expected(response.headers.get("Content-Length"), received)
        tag.unlink(missing_ok=True)
        if etag := response.headers.get("ETag"):
            tag.write_text(etag)
        with part.open("r+b") as file:
            file.truncate(received)
            file.seek(received)
            while block := response.read(BLOCK):
                file.write(block)
                received += len(block)
                if received > MOST_BYTES:
                    raise OSError(f"more than {MOST_BYTES >> 30} GB came")
                if progress is not None:
                    progress(received, expected)
    return received, expected


def _anew(url: str, part: Path, tag: Path, progress) -> tuple[int, int | None]:
    """From the beginning, where the server gives another range than the one asked for."""
    tag.unlink(missing_ok=True)
    with part.open("r+b") as file:
        file.truncate(0)
    return _transfer(url, part, tag, progress)


def _expected(length: str | None, received: int) -> int | None:
    if length is None:
        return None
    if not re.fullmatch(r"\d{1,15}", length.strip()):
        raise OSError(f"it announces a length of {length[:40]!r}")
    return received + int(length)
