"""Published foundation models: where they are, their licences, and a checked download."""

import dataclasses
import hashlib
import http.client
import os
import types
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxdiff.checkpoints.errors import CheckpointError

ASL = "ASL"
TIMEOUT_S = 60
BLOCK = 1 << 18  # bytes read at a time


@dataclasses.dataclass(frozen=True)
class Foundation:
    """One published model: `url` of its .model file, `license` (MIT or ASL), training data.

    ASL is the Academic Software License: academic, non-commercial use only.
    """

    url: str
    license: str
    trained_on: str

    @property
    def file_name(self) -> str:
        """Name of the file, upstream's own."""
        return self.url.rpartition("/")[2]


_MP = "https://github.com/ACEsuit/mace-mp/releases/download"
_FOUNDATIONS = "https://github.com/ACEsuit/mace-foundations/releases/download"
_MPTRJ = "MPtrj (PBE+U)"

FOUNDATIONS: Mapping[str, Foundation] = types.MappingProxyType(
    {
        "mace-mpa-0-medium": Foundation(
            f"{_MP}/mace_mpa_0/mace-mpa-0-medium.model", "MIT", "MPtrj + sAlex (PBE+U)"
        ),
        "mace-mp-0a-small": Foundation(
            f"{_MP}/mace_mp_0/2023-12-10-mace-128-L0_energy_epoch-249.model", "MIT", _MPTRJ
        ),
        "mace-mp-0a-medium": Foundation(
            f"{_MP}/mace_mp_0/2023-12-03-mace-128-L1_epoch-199.model", "MIT", _MPTRJ
        ),
        "mace-mp-0a-large": Foundation(
            f"{_MP}/mace_mp_0/MACE_MPtrj_2022.9.model", "MIT", _MPTRJ
        ),
        "mace-mp-0b-small": Foundation(
            f"{_MP}/mace_mp_0b/mace_agnesi_small.model", "MIT", _MPTRJ
        ),
        "mace-mp-0b-medium": Foundation(
            f"{_MP}/mace_mp_0b/mace_agnesi_medium.model", "MIT", _MPTRJ
        ),
        "mace-mp-0b2-small": Foundation(
            f"{_MP}/mace_mp_0b2/mace-small-density-agnesi-stress.model", "MIT", _MPTRJ
        ),
        "mace-mp-0b2-medium": Foundation(
            f"{_MP}/mace_mp_0b2/mace-medium-density-agnesi-stress.model", "MIT", _MPTRJ
        ),
        "mace-mp-0b2-large": Foundation(
            f"{_MP}/mace_mp_0b2/mace-large-density-agnesi-stress.model", "MIT", _MPTRJ
        ),
        "mace-mp-0b3-medium": Foundation(
            f"{_MP}/mace_mp_0b3/mace-mp-0b3-medium.model", "MIT", _MPTRJ
        ),
        "mace-omat-0-small": Foundation(
            f"{_MP}/mace_omat_0/mace-omat-0-small.model", ASL, "OMat24 (PBE+U)"
        ),
        "mace-omat-0-medium": Foundation(
            f"{_MP}/mace_omat_0/mace-omat-0-medium.model", ASL, "OMat24 (PBE+U)"
        ),
        "mace-matpes-pbe-0": Foundation(
            f"{_FOUNDATIONS}/mace_matpes_0/MACE-matpes-pbe-omat-ft.model",
            ASL,
            "OMat24, then MatPES (PBE)",
        ),
        "mace-matpes-r2scan-0": Foundation(
            f"{_FOUNDATIONS}/mace_matpes_0/MACE-matpes-r2scan-omat-ft.model",
            ASL,
            "OMat24, then MatPES (r2SCAN)",
        ),
    }
)
"""The models that can be fetched by name."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the bytes expected (None when unknown)."""


def cache_directory(cache: str | Path | None = None) -> Path:
    """Where fetched files are: `cache`, or $JAXDIFF_CACHE, or ~/.cache/jaxdiff."""
    return Path(cache or os.environ.get("JAXDIFF_CACHE") or "~/.cache/jaxdiff").expanduser()


def cached(name: str, *, cache: str | Path | None = None) -> Path | None:
    """The fetched file of a named model, its hash checked; None when it is not there."""
    path = cache_directory(cache) / _foundation(name).file_name
    if not path.is_file():
        return None
    _require_hash(path, _recorded_hash(path))
    return path


def fetch(
    name: str,
    *,
    cache: str | Path | None = None,
    sha256: str | None = None,
    accept_asl: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The file of a named model, downloaded when it is not in the cache yet.

    Its SHA-256 is compared with `sha256`, when given, and with the one recorded at the
    first download. An interrupted download is taken up again where the server allows it.
    """
    foundation = _foundation(name)
    if foundation.license == ASL and not accept_asl:
        raise CheckpointError(
            f"{name} is under the Academic Software License, for academic non-commercial "
            "use only. Pass accept_asl=True (--accept-asl) if that is your use."
        )
    path = cache_directory(cache) / foundation.file_name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _download(foundation.url, path, progress)
        try:
            _require_hash(part, sha256)
        except CheckpointError:
            part.unlink()
            raise
        _record_hash(path, _hash(part))
        os.replace(part, path)
        return path
    _require_hash(path, sha256)
    recorded = _recorded_hash(path)
    _require_hash(path, recorded)
    if recorded is None:  # put there by hand
        _record_hash(path, _hash(path))
    return path


def _foundation(name: str) -> Foundation:
    if name not in FOUNDATIONS:
        raise ValueError(
            f"no model is named {name!r}; the names are {', '.join(FOUNDATIONS)}."
        )
    return FOUNDATIONS[name]


def _download(url: str, path: Path, progress: Progress | None) -> Path:
    """The complete file under a temporary name next to `path`."""
    part, tag = (
        path.with_name(path.name + ".part"),
        path.with_name(path.name + ".part.etag"),
    )
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
    return part


def _transfer(
    url: str, part: Path, tag: Path, progress: Progress | None
) -> tuple[int, int | None]:
    """Append to or begin the partial file: bytes now in it, and bytes expected."""
    start = part.stat().st_size if part.is_file() and tag.is_file() else 0
    request = urllib.request.Request(url)
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", tag.read_text())  # a changed file begins anew
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise
        part.unlink()
        return _transfer(url, part, tag, progress)
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        received = start if resumed else 0
        length = response.headers.get("Content-Length")
        expected = None if length is None else received + int(length)
        tag.unlink(missing_ok=True)
        if etag := response.headers.get("ETag"):
            tag.write_text(etag)
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                received += len(block)
                if progress is not None:
                    progress(received, expected)
    return received, expected


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _record_hash(path: Path, digest: str) -> None:
    _hash_file(path).write_text(f"{digest}  {path.name}\n")


def _recorded_hash(path: Path) -> str | None:
    record = _hash_file(path)
    return record.read_text().split()[0] if record.is_file() else None


def _require_hash(path: Path, expected: str | None) -> None:
    if expected is None:
        return
    found, expected = _hash(path), expected.strip().lower()
    if found != expected:
        final = path.with_name(path.name.removesuffix(".part"))
        raise CheckpointError(
            f"{final.name} has SHA-256 {found}, expected {expected}: it is damaged or "
            f"another file. Delete {final} if it is there, and fetch it again."
        )
