"""LAMMPS text dumps (`dump custom` and `dump atom`, plain or gz), read frame by frame.

https://docs.lammps.org/dump.html: boxes orthogonal, restricted triclinic (bounds of the
bounding box) or general; atoms in any order, sorted by id here. Units are metal, or real
where the file says so (`dump_modify units yes`). Positions are from the corner of the box.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from jaxdiff.io import trajectory_source as source

_ITEM = b"ITEM:"
_TIME_PS = {"metal": 1.0, "real": 1e-3}

_COORDINATES = (  # columns, scaled by the cell, continuous; the first that are there
    (("xu", "yu", "zu"), False, True),
    (("xsu", "ysu", "zsu"), True, True),
    (("x", "y", "z"), False, False),
    (("xs", "ys", "zs"), True, False),
)
_IMAGES = ("ix", "iy", "iz")


@dataclasses.dataclass(frozen=True)
class _Head:
    """What a frame says before its atoms; `where` names the frame in errors."""

    where: str
    step: int
    time_ps: float | None
    n_atoms: int
    origin: np.ndarray
    cell: np.ndarray
    periodic: tuple[bool, bool, bool]
    columns: tuple[str, ...]


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


def open_lammps_dump(path: Path, species: dict[int, str] | None) -> source.Source:
    """Read the first frame, and say how the others will be read."""
    with source.Lines(path) as lines:
        first = next(_blocks(path, lines, source.Tally()), None)
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
        with source.Lines(path) as lines:
            for head, text in _blocks(path, lines, tally):
                yield _raw_frame(head, text, layout, order, atoms)

    return source.Source(
        format="lammps",
        atomic_number=number,
        periodic=head.periodic,
        unwrapping=layout.unwrapping,
        exact=layout.exact,
        time_stated=False,
        frames=frames,
    )


def _raw_frame(
    head: _Head, text: bytes, layout: _Layout, order: "_Order", atoms: _Atoms
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

    return source.RawFrame(head.step, head.time_ps, load)


def _place(
    tokens: list[bytes], layout: _Layout, head: _Head
) -> Float[np.ndarray, "atoms 3"]:
    """Positions from the corner of the box, Å, in the order of the file."""
    width = len(layout.columns)
    position = source.columns_of(tokens, layout.coordinates, width, head.where)
    position = position @ head.cell if layout.scaled else position - head.origin
    if layout.images:
        image = source.columns_of(tokens, layout.images, width, head.where)
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
        self, tokens: list[bytes], layout: _Layout, head: _Head
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


def _tokens(head: _Head, text: bytes) -> list[bytes]:
    tokens = text.split()
    if len(tokens) != head.n_atoms * len(head.columns):
        raise ValueError(
            f"{head.where} has {len(tokens)} words for {head.n_atoms} atoms of "
            f"{len(head.columns)} columns; the file is damaged there."
        )
    return tokens


def _layout(head: _Head, species: dict[int, str] | None) -> _Layout:
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


def _kind_column(head: _Head, species: dict[int, str] | None) -> str:
    if species is not None and "type" in head.columns:
        return "type"
    if "element" in head.columns:
        return "element"
    if "type" in head.columns:
        raise ValueError(
            f"{head.where} gives atom types, not elements; say which is which, such as "
            'species={1: "Li", 2: "F"}.'
        )
    raise ValueError(
        f"{head.where} has neither an element nor a type column; dump one of them."
    )


def _atomic_number(
    head: _Head,
    layout: _Layout,
    atoms: _Atoms,
    tokens: list[bytes],
    species: dict[int, str] | None,
) -> Integer[np.ndarray, " atoms"]:
    kinds = sorted(set(atoms.kind))
    if layout.columns[layout.kind] == "element":
        if kinds == [b"C"] and "type" in head.columns:
            types = set(tokens[head.columns.index("type") :: len(head.columns)])
            if len(types) > 1:
                raise ValueError(
                    f"{head.where} calls all {len(types)} atom types C, LAMMPS's default; "
                    'say which is which, such as species={1: "Li", 2: "F"}.'
                )
        table = {k: source.element(k.decode("ascii", "replace"), head.where) for k in kinds}
    else:
        known = source.elements_of_types(species or {}, "species")
        table = {}
        for kind in kinds:
            number = source.whole_number(kind, f"{head.where}: an atom type")
            if number not in known:
                raise ValueError(
                    f"{head.where} has atom type {number}, but species names only "
                    f"{', '.join(map(str, sorted(known)))}; add it."
                )
            table[kind] = known[number]
    return np.array([table[kind] for kind in atoms.kind], dtype=np.int32)


def _blocks(
    path: Path, lines: source.Lines, tally: source.Tally
) -> Iterator[tuple[_Head, bytes]]:
    """Head and atom lines of every complete frame; a frame that breaks off is counted.

    A run that was killed and restarted with append leaves its last frame cut short in the
    middle of the file, possibly within a line: reading goes on at the next frame.
    """
    index, units = 0, "metal"
    while line := lines.line():
        lines.back(len(line))
        items = _items(path, lines, index)
        if items is None:
            tally.incomplete += 1
            continue
        units = items.get("UNITS", units.encode()).decode("ascii", "replace").strip()
        head = _head(items, units, f"{path}, frame {index}")
        text = lines.take(head.n_atoms, _ITEM)
        if text is None:
            tally.incomplete += 1
            continue
        yield head, text
        index += 1


def _items(path: Path, lines: source.Lines, index: int) -> dict[str, bytes] | None:
    """The items of one frame up to the atoms' header; None if it breaks off before."""
    items: dict[str, bytes] = {}
    while line := lines.line():
        again = line.rfind(_ITEM)
        if again > 0 or (line.startswith(b"ITEM: TIMESTEP") and "TIMESTEP" in items):
            lines.back(len(line) - again)
            return None
        if not line.endswith(b"\n"):
            return None
        if again < 0:
            raise ValueError(
                f"{path}, frame {index}: a line with 'ITEM:' should come, got "
                f"{source.excerpt(line)}; this is no LAMMPS dump, or it is damaged."
            )
        name = line[len(_ITEM) :].decode("ascii", "replace").strip()
        if name.startswith("ATOMS"):
            items["ATOMS"] = name[len("ATOMS") :].encode()
            return items
        boxed = name.startswith("BOX BOUNDS")
        text = lines.take(3 if boxed else 1, _ITEM)
        if text is None:
            return None
        items["BOX BOUNDS" if boxed else name] = text
        if boxed:
            items["BOX STYLE"] = name[len("BOX BOUNDS") :].encode()
    return None


def _head(items: dict[str, bytes], units: str, where: str) -> _Head:
    for name in ("TIMESTEP", "NUMBER OF ATOMS", "BOX BOUNDS"):
        if name not in items:
            raise ValueError(f"{where} has no 'ITEM: {name}'; it is not a LAMMPS dump.")
    if units not in _TIME_PS:
        raise ValueError(
            f"{where} is in units {units[:20]!r}; only metal and real (Å) are read."
        )
    step = source.whole_number(items["TIMESTEP"], f"{where}: the time step")
    where = f"{where} (step {step})"
    n_atoms = source.whole_number(items["NUMBER OF ATOMS"], f"{where}: the number of atoms")
    if n_atoms < 1:
        raise ValueError(f"{where} has {n_atoms} atoms; at least one is needed.")
    time_ps = None
    if "TIME" in items:
        time = source.numbers(items["TIME"], f"{where}: the time")
        time_ps = time[0] * _TIME_PS[units] if len(time) == 1 else None
    style = items["BOX STYLE"].decode("ascii", "replace").split()
    origin, cell = _box(items["BOX BOUNDS"], style, where)
    flags = [word for word in style if len(word) == 2 and set(word) <= set("pfsm")]
    x, y, z = [flag == "pp" for flag in flags] if len(flags) == 3 else [True] * 3
    columns = tuple(items["ATOMS"].decode("ascii", "replace").split())
    if not columns:
        raise ValueError(f"{where} does not name its columns; dump style custom or atom.")
    return _Head(where, step, time_ps, n_atoms, origin, cell, (x, y, z), columns)


def _box(
    text: bytes, style: list[str], where: str
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, "3 3"]]:
    """Corner and rows of the box, Å (https://docs.lammps.org/Howto_triclinic.html)."""
    rows = [source.numbers(line, f"{where}: the box") for line in text.splitlines()]
    width = 4 if style[:1] == ["abc"] else 3 if style[:1] == ["xy"] else 2
    if [len(row) for row in rows] != [width] * 3:
        raise ValueError(
            f"{where}: the box should have 3 rows of {width} numbers, got {rows}."
        )
    table = np.array(rows)
    if width == 4:
        return table[:, 3], table[:, :3]
    low, high = table[:, 0].copy(), table[:, 1].copy()
    xy, xz, yz = table[:, 2] if width == 3 else (0.0, 0.0, 0.0)
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    edge = high - low
    return low, np.array([[edge[0], 0, 0], [xy, edge[1], 0], [xz, yz, edge[2]]])
