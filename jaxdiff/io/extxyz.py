"""XYZ and extended XYZ, read frame by frame: comment line by ASE, columns in bulk.

Positions are `unwrapped_position` where there are such columns (GPUMD), else `pos`. Atoms
are sorted by `id` where there is one.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from jaxdiff.io import trajectory_source as source
from jaxdiff.io.lines import Lines, columns_of, whole_number
from jaxdiff.io.xyz_comment import Comment, read_comment

_IDENTIFIERS = ("id", "atom_id", "particle_id", "particle_identifier")
_POSITIONS = ("unwrapped_position", "pos", "position", "positions")
_NUMBERS = ("z", "numbers", "atomic_numbers")
_SPECIES = ("species", "element", "type", "particle_type")


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Which columns are read; `numbered`: species are atomic numbers."""

    width: int
    position: int
    species: int
    identifier: int | None
    exact: bool
    numbered: bool


@dataclasses.dataclass(frozen=True)
class _Atoms:
    """Ids and species of the first frame, ascending in id."""

    identifier: Integer[np.ndarray, " atoms"] | None
    species: list[bytes]


def open_extxyz(path: Path, given: source.Given) -> source.Source:
    """Read the first frame, and say how the others will be read."""
    with Lines(path) as lines:
        block = next(_blocks(path, lines, source.Tally()), None)
    if block is None:
        raise source.no_complete_frame(path)
    where, comment_line, text = block
    comment = read_comment(comment_line, where)
    columns = _columns(comment.properties, where)
    atoms, _ = _sorted(_tokens(text, columns, where), columns, where)
    _cell(comment, given, where)
    if comment.cell is not None:
        source.refuse_cell(path, given)

    def frames(tally: source.Tally) -> Iterator[source.RawFrame]:
        with Lines(path) as lines:
            for where, comment_line, text in _blocks(path, lines, tally):
                comment = read_comment(comment_line, where)
                load = _loader(where, comment, text, atoms, given)
                yield source.RawFrame(comment.step, comment.time, load)

    return source.Source(
        format="extxyz",
        atomic_number=_atomic_number(atoms.species, columns, given, where),
        periodic=comment.periodic,
        unwrapping="column unwrapped_position" if columns.exact else source.NEAREST,
        exact=columns.exact,
        time_stated=comment.time_stated,
        frames=frames,
    )


def _loader(
    where: str, comment: Comment, text: bytes, first: _Atoms, given: source.Given
) -> Callable[[], source.Placement]:
    def load() -> source.Placement:
        columns = _columns(comment.properties, where)
        tokens = _tokens(text, columns, where)
        atoms, order = _sorted(tokens, columns, where)
        if len(atoms.species) != len(first.species):
            raise ValueError(
                f"{where} has {len(atoms.species)} atoms, the first frame "
                f"{len(first.species)}; all frames must have the same atoms."
            )
        if not _same(atoms.identifier, first.identifier):
            raise ValueError(
                f"{where} has other atom ids than the first frame; all frames must have "
                "the same atoms."
            )
        if atoms.species != first.species:
            raise ValueError(
                f"{where} has atoms of another species than the first frame; all frames "
                "must have the same atoms in the same order, or ids."
            )
        axes = (columns.position, columns.position + 1, columns.position + 2)
        position = columns_of(tokens, axes, columns.width, where) - comment.origin
        return position[order], _cell(comment, given, where)

    return load


def _cell(comment: Comment, given: source.Given, where: str) -> np.ndarray:
    cell = given.cell if comment.cell is None else comment.cell
    if cell is None:
        raise source.Missing(
            "cell",
            f"{where} has no Lattice in its comment line, so its cell is unknown; give it, "
            "such as --cell-angstrom 20.3,20.3,20.3, or write extended XYZ.",
        )
    return cell


def _blocks(
    path: Path, lines: Lines, tally: source.Tally
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
        n_atoms = whole_number(line, f"{where}: the number of atoms")
        if n_atoms < 1:
            raise ValueError(f"{where} has {n_atoms} atoms; at least one is needed.")
        comment, text = lines.line(), lines.rows(n_atoms)
        if text is None:
            tally.incomplete += 1
            return
        yield where, comment, text
        index += 1


def _columns(properties: str, where: str) -> _Columns:
    """Number of columns, and the first column of every property that is read."""
    parts = properties.split(":")
    columns: dict[str, int] = {}
    width = 0
    for name, _, count in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        columns[name.lower()] = width
        width += whole_number(count.encode(), f"{where}: a count in Properties")
    position, species = _first(columns, _POSITIONS), _first(columns, _SPECIES)
    number = _first(columns, _NUMBERS)
    kind = number if species is None else species
    if position is None or kind is None:
        raise ValueError(
            f"{where} has the columns {', '.join(columns)}; species and pos are needed."
        )
    return _Columns(
        width=width,
        position=position,
        species=kind,
        identifier=_first(columns, _IDENTIFIERS),
        exact="unwrapped_position" in columns,
        numbered=species is None,
    )


def _first(columns: dict[str, int], names: tuple[str, ...]) -> int | None:
    return next((columns[name] for name in names if name in columns), None)


def _tokens(text: bytes, columns: _Columns, where: str) -> list[bytes]:
    tokens, n_lines = text.split(), text.count(b"\n")
    if len(tokens) != n_lines * columns.width:
        raise ValueError(
            f"{where} has {len(tokens)} words for {n_lines} atoms of {columns.width} "
            "columns; the file is damaged there."
        )
    return tokens


def _sorted(
    tokens: list[bytes], columns: _Columns, where: str
) -> tuple[_Atoms, slice | Integer[np.ndarray, " atoms"]]:
    """Atoms ascending in id, and the order that makes them so."""
    species = tokens[columns.species :: columns.width]
    if columns.identifier is None:
        return _Atoms(None, species), slice(None)
    words = tokens[columns.identifier :: columns.width]
    identifier = np.array([whole_number(word, f"{where}: an id") for word in words])
    order = np.argsort(identifier, kind="stable")
    if len(set(words)) != len(words):
        raise ValueError(f"{where} has an atom id twice; the file is damaged.")
    return _Atoms(identifier[order], [species[k] for k in order]), order


def _same(one: np.ndarray | None, two: np.ndarray | None) -> bool:
    if one is None or two is None:
        return one is two
    return np.array_equal(one, two)


def _atomic_number(
    species: list[bytes], columns: _Columns, given: source.Given, where: str
) -> Integer[np.ndarray, " atoms"]:
    """By symbol, by atomic number, or by type as the user names it."""
    if all(word.isdigit() for word in set(species)):
        kinds = np.array([int(word) for word in species], np.int32)
        if columns.numbered:
            return kinds
        return source.elements_of_numbers(kinds, given.species, where)
    table = {
        word: source.element(word.decode("ascii", "replace"), where)
        for word in set(species)
    }
    return np.array([table[word] for word in species], dtype=np.int32)
