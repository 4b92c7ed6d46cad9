"""Published foundation models by name: a checked download, and what vouches for it."""

from pathlib import Path

from jaxdiff.checkpoints.cache import (
    cache_directory,
    claimed,
    is_there,
    record,
    recorded,
    require_hash,
    require_own,
)
from jaxdiff.checkpoints.download import Progress, download
from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.unpickle import Inert, read
from jaxdiff.io import digest, durable
from jaxdiff.published import ASL, FOUNDATIONS, PINNED, Foundation


def cached(name: str, *, cache: str | Path | None = None) -> Path | None:
    """The fetched file of a named model, its hash checked; None when it is not there."""
    path = _path(name, cache)
    if not is_there(path):
        return None
    require_hash(path, recorded(path)[0])
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

    Its SHA-256 is compared with `sha256`, when given, with the one in `PINNED`, and with
    that recorded at the first download. An interrupted download is taken up again where the
    server allows it; another process that downloads the same file is waited for.
    """
    foundation = _foundation(name)
    if foundation.license == ASL and not accept_asl:
        raise CheckpointError(
            f"{name} is under the Academic Software License, for academic non-commercial "
            "use only. Pass accept_asl=True (--accept-asl) if that is your use."
        )
    path = _path(name, cache)
    expected = (sha256, PINNED.get(path.name))
    if not is_there(path):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with claimed(part):
            if not is_there(path):
                _download(foundation.url, path, part, expected, progress)
            part.unlink(missing_ok=True)
        return path
    known, by_hand = recorded(path)
    for one in (*expected, known):
        require_hash(path, one)
    if known is None:
        _require_model(path)
        record(path, digest.of_file(path), by_hand=by_hand)
    return path


def is_published(name: str, path: Path) -> bool:
    """Whether a file in the cache is known to be the model of that name.

    It is where this program downloaded it, or where its SHA-256 is pinned and right.
    """
    if path.name in PINNED:
        return digest.of_file(path) == PINNED[path.name]
    return not recorded(path)[1]


def warrant(name: str, path: Path) -> str:
    """Who vouches for a fetched file, where that is nobody; else empty."""
    if path.name in PINNED:
        return ""
    if not is_published(name, path):
        return f"{path} was put there by hand; nothing says that it is {name}."
    return (
        f"Nothing vouches for {path.name}: no SHA-256 of it is published. That of the "
        f"first download, {recorded(path)[0]}, is kept, and compared with each time."
    )


def _path(name: str, cache: str | Path | None) -> Path:
    foundation, directory = _foundation(name), cache_directory(cache)
    require_own(directory)
    return directory / foundation.file_name


def _foundation(name: str) -> Foundation:
    if name not in FOUNDATIONS:
        raise ValueError(
            f"no model is named {name!r}; the names are {', '.join(FOUNDATIONS)}."
        )
    return FOUNDATIONS[name]


def _download(
    url: str,
    path: Path,
    part: Path,
    expected: tuple[str | None, ...],
    progress: Progress | None,
) -> None:
    """The file in its place, read and recorded; nothing is left of one that is wrong."""
    download(url, path, part, progress)
    try:
        for sha256 in expected:
            require_hash(part, sha256)
        _require_model(part)
        record(path, digest.of_file(part))
    except CheckpointError:
        part.unlink()
        raise
    durable.rename(part, path)


def _require_model(path: Path) -> None:
    """An error unless the file can be read, and holds an object and not numbers alone."""
    tree = read(path)
    tree = tree.get("model", tree) if isinstance(tree, dict) else tree
    if not isinstance(tree, Inert):
        raise CheckpointError(
            f"{path.name.removesuffix('.part')} holds a {type(tree).__name__} and no "
            "model. Download it by hand from where upstream says."
        )
