"""Which file may import which: the order of layers, and families behind their contract."""

import ast
import functools
from pathlib import Path

import jaxdiff

ROOT = Path(jaxdiff.__file__).parent

LAYERS = (
    "published", "units", "stop", "devices", "system", "neighbor_cells", "neighbors",
    "lattice", "observables", "md", "io", "dft", "models", "checkpoints", "potential",
    "calculator", "descriptors", "jaxmd", "lammps", "analysis", "objectives", "finetune",
    "report", "runs", "cli", "__main__",
)  # fmt: skip
"""Files and folders of the library: each imports only from those before it."""

TABLE = "checkpoints/families.py"
"""What may know every family of models: the table that names them."""

FAMILIES = sorted(path.parent.name for path in ROOT.glob("models/*/__init__.py"))
"""Folders of models/, each of which has one of the same name in checkpoints/."""

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


@functools.cache
def nodes(file):
    return list(ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))))


def imports(file):
    """Modules of the library that a file imports, also within functions."""
    for node in nodes(file):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def own(file):
    return [name for name in imports(file) if name.startswith("jaxdiff.")]


def test_imports_point_downward():
    wrong = []
    for file in FILES:
        here = Path(file).parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        assert here in LAYERS, f"{file} is in no layer; add {here} to LAYERS"
        for name in own(file):
            there = name.split(".")[1]
            if there in LAYERS and LAYERS.index(there) > LAYERS.index(here):
                wrong.append(f"{file} imports {name}")
    assert not wrong


def inner(file):
    """Where a file reads an entry or attribute that only a family knows."""
    for node in nodes(file):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
            named = isinstance(getattr(node.slice, "value", None), str)
            if named and node.value.attr in ("weights", "constants"):
                yield f"{file}:{node.lineno} looks into .{node.value.attr}"
        elif isinstance(node, ast.Attribute) and node.attr == "constants":
            yield f"{file}:{node.lineno} reads .constants"


def test_nothing_outside_a_family_looks_into_its_models():
    wrong = []
    for file in FILES:
        family = file.split("/")[1] if file.count("/") > 1 else None
        for name in own(file):
            of = name.split(".")[2] if name.startswith("jaxdiff.models.") else None
            if of in FAMILIES and of != family and file != TABLE:
                wrong.append(f"{file} imports {name}")
        if family not in FAMILIES:
            wrong += inner(file)
    assert not wrong
    assert len(FAMILIES) > 1
    assert list(inner("models/mace/layers.py"))  # it would be seen
