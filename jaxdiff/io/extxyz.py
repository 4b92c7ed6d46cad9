"""Extended XYZ, read frame by frame: comment line by ASE, columns in bulk.

Time is `time_ps`, `time_fs` or `time` (taken as ps) of the comment line. Positions are
`unwrapped_position` where there are such columns (GPUMD), else `pos`.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.io import trajectory_source as source


@dataclasses.dataclass(frozen=True)
class _Comment:
    """What the comment line says."""

    cell: np.ndarray
    periodic: tuple[bool, bool, bool]
    time_ps: float | None
    time_stated: bool
    width: int
    position: int
    species: int
    exact: bool


def open_extxyz(path: Path) -> source.Source:
    """Read the first frame, and say how the others will be read."""
    with source.Lines(path) as lines:
        block = next(_blocks(path, lines, source.Tally()), None)
    if block is None:
        raise source.no_complete_frame(path)
    where, comment_line, text = block
    comment = _comment(comment_line, where)
    symbols = _tokens(text, comment, where)[comment.species :: comment.width]
    table = {word: _element(word, where) for word in set(symbols)}

    def frames(tally: source.Tally) -> Iterator[source.RawFrame]:
        with source.Lines(path) as lines:
            for where, comment_line, text in _blocks(path, lines, tally):
                yield _raw_frame(where, _comment(comment_line, where), text, symbols)

    return source.Source(
        format="extxyz",
        atomic_number=np.array([table[word] for word in symbols], dtype=np.int32),
        periodic=comment.periodic,
        unwrapping="column unwrapped_position"
        if comment.exact
        else "minimum image between frames",
        exact=comment.exact,
        time_stated=comment.time_stated,
        frames=frames,
    )


def _raw_frame(
    where: str, comment: _Comment, text: bytes, symbols: list[bytes]
) -> source.RawFrame:
    def load() -> source.Placement:
        tokens = _tokens(text, comment, where)
        seen = tokens[comment.species :: comment.width]
        if len(seen) != len(symbols):
            raise ValueError(
                f"{where} has {len(seen)} atoms, the first frame {len(symbols)}; all "
                "frames must have the same atoms."
            )
        if seen != symbols:
            raise ValueError(
                f"{where} has atoms of another species than the first frame; all frames "
                "must have the same atoms in the same order."
            )
        columns = (comment.position, comment.position + 1, comment.position + 2)
        return source.columns_of(tokens, columns, comment.width, where), comment.cell

    return source.RawFrame(None, comment.time_ps, load)


def _blocks(
    path: Path, lines: source.Lines, tally: source.Tally
) -> Iterator[tuple[str, bytes, bytes]]:
    """Name, comment line and atom lines of every complete frame."""
    index = 0
    while line := lines.line():
        if not line.strip():  # blank lines between frames
            continue
        where = f"{path}, frame {index}"
        if not line.endswith(b"\n"):
            tally.incomplete += 1
            return
        n_atoms = source.whole_number(line, f"{where}: the number of atoms")
        if n_atoms < 1:
            raise ValueError(f"{where} has {n_atoms} atoms; at least one is needed.")
        comment, text = lines.line(), lines.take(n_atoms)
        if text is None:
            tally.incomplete += 1
            return
        yield where, comment, text
        index += 1


def _comment(line: bytes, where: str) -> _Comment:
    from ase.io.extxyz import key_val_str_to_dict

    try:
        info: dict[str, Any] = key_val_str_to_dict(line.decode().strip())
        cell = np.asarray(info["Lattice"], dtype=float).T  # ASE gives columns
    except KeyError:
        raise ValueError(
            f"{where} has no Lattice in its comment line, so its cell is unknown; write "
            "extended XYZ."
        ) from None
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{where}: the comment {source.excerpt(line)} is not extended XYZ ({error})."
        ) from None
    if cell.shape != (3, 3):
        raise ValueError(f"{where}: Lattice should have 9 numbers, got {cell.size}.")
    flags = np.broadcast_to(np.asarray(info.get("pbc", True)), (3,)).tolist()
    width, columns = _columns(str(info.get("Properties", "species:S:1:pos:R:3")), where)
    exact = "unwrapped_position" in columns
    position = columns.get("unwrapped_position", columns.get("pos"))
    species = columns.get("species", columns.get("Z"))
    if position is None or species is None:
        raise ValueError(
            f"{where} has the columns {', '.join(columns)}; species and pos are needed."
        )
    time_ps, stated = time_of(info, where)
    x, y, z = (bool(flag) for flag in flags)
    return _Comment(cell, (x, y, z), time_ps, stated, width, position, species, exact)


def time_of(info: dict[str, Any], where: str) -> tuple[float | None, bool]:
    """Time of a frame, ps, from ASE's info, and whether its unit is stated."""
    for key, factor in (("time_ps", 1.0), ("time_fs", 1e-3), ("time", 1.0)):
        if key in info:
            try:
                return factor * float(info[key]), key != "time"
            except (TypeError, ValueError):
                raise ValueError(
                    f"{where}: {key} should be a number, got {str(info[key])[:40]!r}."
                ) from None
    return None, False


def _columns(properties: str, where: str) -> tuple[int, dict[str, int]]:
    """Number of columns, and the first column of every property."""
    parts = properties.split(":")
    columns: dict[str, int] = {}
    width = 0
    for name, _, count in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        columns[name] = width
        width += source.whole_number(count.encode(), f"{where}: a count in Properties")
    return width, columns


def _tokens(text: bytes, comment: _Comment, where: str) -> list[bytes]:
    tokens, n_lines = text.split(), text.count(b"\n")
    if len(tokens) != n_lines * comment.width:
        raise ValueError(
            f"{where} has {len(tokens)} words for {n_lines} atoms of {comment.width} "
            "columns; the file is damaged there."
        )
    return tokens


def _element(word: bytes, where: str) -> int:
    text = word.decode("ascii", "replace")
    return int(text) if text.isdigit() else source.element(text, where)
