"""LAMMPS text dumps (`dump custom` and `dump atom`), read frame by frame.

https://docs.lammps.org/dump.html: atoms in any order, sorted by id here. Positions are from
the corner of the box.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from jaxdiff.io import trajectory_source as source
from jaxdiff.io.lammps_head import Head, read_blocks
from jaxdiff.io.lines import Lines, columns_of, whole_number

_COORDINATES = (  # columns, scaled by the cell, continuous; the first that are there
    (("xu", "yu", "zu"), False, True),
    (("xsu", "ysu", "zsu"), True, True),
    (("x", "y", "z"), False, False),
    (("xs", "ys", "zs"), True, False),
)
_IMAGES = ("ix", "iy", "iz")


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Which columns are read, and how."""

    columns: tuple[str, ...]
    coordinates: tuple[int, ...]
    scaled: bool
    images: tuple[int, ...]
    exact: bool
    unwrapping: str
    kind: int


@dataclasses.dataclass(frozen=True)
class _Atoms:
    """Identity of the atoms: the same in every frame."""

    identifier: Integer[np.ndarray, " atoms"]
    kind: list[bytes]


def open_lammps_dump(path: Path, given: source.Given) -> source.Source:
    """Read the first frame, and say how the others will be read."""
    source.refuse_cell(path, given)
    species = given.species
    with Lines(path) as lines:
        first = next(read_blocks(path, lines, source.Tally()), None)
    if first is None:
        raise source.no_complete_frame(path)
    head, text = first
    layout = _layout(head, species)
    order = _Order()
    tokens = _tokens(head, text)
    atoms = _Atoms(*order.sorted(tokens, layout, head))
    number = _atomic_number(head, layout, atoms, tokens, species)

    def frames(tally: source.Tally) -> Iterator[source.RawFrame]:
        order = _Order()
        with Lines(path) as lines:
            for head, text in read_blocks(path, lines, tally):
                yield _raw_frame(head, text, layout, order, atoms)

    return source.Source(
        format="lammps",
        atomic_number=number,
        periodic=head.periodic,
        unwrapping=layout.unwrapping,
        exact=layout.exact,
        time_stated=head.time_stated,
        frames=frames,
    )


def _raw_frame(
    head: Head, text: bytes, layout: _Layout, order: "_Order", atoms: _Atoms
) -> source.RawFrame:
    def load() -> source.Placement:
        if head.columns != layout.columns:
            raise ValueError(
                f"{head.where} has the columns {' '.join(head.columns)}, the first frame "
                f"{' '.join(layout.columns)}; read them as two files."
            )
        if head.n_atoms != len(atoms.identifier):
            raise ValueError(
                f"{head.where} has {head.n_atoms} atoms, the first frame "
                f"{len(atoms.identifier)}; dump the same atoms in every frame."
            )
        tokens = _tokens(head, text)
        identifier, kind = order.sorted(tokens, layout, head)
        if not np.array_equal(identifier, atoms.identifier):
            raise ValueError(
                f"{head.where} has other atom ids than the first frame; dump the same "
                "atoms in every frame."
            )
        if kind != atoms.kind:
            raise ValueError(
                f"{head.where} has atoms of another {layout.columns[layout.kind]} than the "
                "first frame; the species of an atom may not change."
            )
        return _place(tokens, layout, head)[order.order], head.cell

    return source.RawFrame(head.step, head.time, load)


def _place(
    tokens: list[bytes], layout: _Layout, head: Head
) -> Float[np.ndarray, "atoms 3"]:
    """Positions from the corner of the box, Å, in the order of the file."""
    width = len(layout.columns)
    position = columns_of(tokens, layout.coordinates, width, head.where)
    position = position @ head.cell if layout.scaled else position - head.origin
    if layout.images:
        image = columns_of(tokens, layout.images, width, head.where)
        position = position + (image * head.periodic) @ head.cell
    return position


class _Order:
    """Sorts atoms by id; the work is done only where the order differs from the last."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._words: list[bytes] = []
        self._kind_words: list[bytes] = []
        self._result: tuple[np.ndarray, list[bytes]]
        self.order = np.zeros(0, int)

    def sorted(
        self, tokens: list[bytes], layout: _Layout, head: Head
    ) -> tuple[np.ndarray, list[bytes]]:
        """Ids and kinds of the atoms, ascending in id."""
        column = layout.columns.index("id")
        words, kind = (
            tokens[column :: len(layout.columns)],
            tokens[layout.kind :: len(layout.columns)],
        )
        if words == self._words and kind == self._kind_words:
            return self._result
        try:
            identifier = np.array(list(map(int, words)))
        except (ValueError, OverflowError):
            raise ValueError(
                f"{head.where} has an atom id that is not a whole number; the file is "
                "damaged."
            ) from None
        self.order = np.argsort(identifier, kind="stable")
        identifier = identifier[self.order]
        twice = identifier[1:][identifier[1:] == identifier[:-1]]
        if len(twice):
            raise ValueError(
                f"{head.where} has atom id {twice[0]} twice; the file is damaged."
            )
        self._words, self._kind_words = words, kind
        self._result = identifier, [kind[i] for i in self.order]
        return self._result


def _tokens(head: Head, text: bytes) -> list[bytes]:
    tokens = text.split()
    if len(tokens) != head.n_atoms * len(head.columns):
        raise ValueError(
            f"{head.where} has {len(tokens)} words for {head.n_atoms} atoms of "
            f"{len(head.columns)} columns; the file is damaged there."
        )
    return tokens


def _layout(head: Head, species: dict[int, str] | None) -> _Layout:
    column = {name: k for k, name in enumerate(head.columns)}
    if "id" not in column:
        raise ValueError(
            f"{head.where} has no id column, so atoms cannot be followed from frame to "
            "frame; dump with id."
        )
    found = [row for row in _COORDINATES if all(name in column for name in row[0])]
    if not found:
        raise ValueError(
            f"{head.where} has the columns {' '.join(head.columns)}, but no coordinates; "
            "dump xu yu zu, x y z (with ix iy iz), xs ys zs or xsu ysu zsu."
        )
    names, scaled, continuous = found[0]
    imaged = not continuous and all(name in column for name in _IMAGES)
    read = " ".join(names)
    if continuous:
        unwrapping = f"unwrapped coordinates {read}"
    elif imaged:
        unwrapping = f"{read} with image flags {' '.join(_IMAGES)}"
    else:
        unwrapping = f"{read}, wrapped: minimum image between frames"
    return _Layout(
        columns=head.columns,
        coordinates=tuple(column[name] for name in names),
        scaled=scaled,
        images=tuple(column[name] for name in _IMAGES) if imaged else (),
        exact=continuous or imaged,
        unwrapping=unwrapping,
        kind=column[_kind_column(head, species)],
    )


def _kind_column(head: Head, species: dict[int, str] | None) -> str:
    if species is not None and "type" in head.columns:
        return "type"
    if "element" in head.columns:
        return "element"
    if "type" in head.columns:
        text = f"{head.where} gives atom types, not elements; {source.NAME_TYPES}."
        raise source.Missing("species", text)
    raise ValueError(
        f"{head.where} has neither an element nor a type column; dump one of them."
    )


def _atomic_number(
    head: Head,
    layout: _Layout,
    atoms: _Atoms,
    tokens: list[bytes],
    species: dict[int, str] | None,
) -> Integer[np.ndarray, " atoms"]:
    kinds = sorted(set(atoms.kind))
    if layout.columns[layout.kind] == "type":
        number = {k: whole_number(k, f"{head.where}: an atom type") for k in kinds}
        types = np.array([number[kind] for kind in atoms.kind])
        return source.elements_of_numbers(types, species, head.where)
    _check_names(head, kinds, tokens)
    table = {k: source.element(k.decode("ascii", "replace"), head.where) for k in kinds}
    return np.array([table[kind] for kind in atoms.kind], dtype=np.int32)


def _check_names(head: Head, kinds: list[bytes], tokens: list[bytes]) -> None:
    """LAMMPS's own names of elements that nobody named: C for all, or X."""
    typed = "type" in head.columns
    if b"X" in kinds:
        what = source.NAME_TYPES if typed else "name it (dump_modify element), or dump type"
        text = f"{head.where} has the element X, which stands for none; {what}."
        raise source.Missing("species", text) if typed else ValueError(text)
    if kinds == [b"C"] and typed:
        types = set(tokens[head.columns.index("type") :: len(head.columns)])
        if len(types) > 1:
            raise source.Missing(
                "species",
                f"{head.where} calls all {len(types)} atom types C, LAMMPS's default; "
                f"{source.NAME_TYPES}.",
            )
