"""A pickled tree of PyTorch modules, read by dotted names, and the e3nn layers in it."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.unpickle import Inert, read
from jaxdiff.io.shown import shown

_MISSING = object()
_MOST = 1 << 20  # channels, or a degree: beyond it no model was ever made


@dataclasses.dataclass(frozen=True)
class Module:
    """One module of the tree: where it came from (`file`, `path`) and its record."""

    file: str
    path: str
    record: Inert

    @property
    def kind(self) -> str:
        """Name of the class, without its package."""
        return self.record.name.rpartition(".")[2]

    def fail(self, problem: str, remedy: str) -> NoReturn:
        """Raise the error that names the file, the module and the remedy."""
        place = f"{self.file}: {self.path}" if self.path else self.file
        raise CheckpointError(f"{place} {problem}. {remedy}")

    def unsupported(self, given: str, supported: str) -> NoReturn:
        """Raise the error for an architecture that the evaluator does not know."""
        self.fail(f"{given}, which is not supported", f"Supported: {supported}.")

    def require(self, package: str, *kinds: str, supported: str = "") -> None:
        """An error unless the class is one of `kinds` of `package`."""
        if self.record.name.split(".")[0] != package or self.kind not in kinds:
            self.unsupported(f"is a {self.record.name}", supported or " or ".join(kinds))

    def has(self, name: str) -> bool:
        """Whether there is an attribute, buffer, parameter or submodule of that name."""
        return self.record.get(name) is not None

    def attribute(self, name: str, default: Any = _MISSING) -> Any:
        """The raw value of an attribute; an error when it is absent without a default."""
        value = self.record.get(name, default)
        if value is _MISSING:
            self.fail(
                f"has no {name!r}",
                "The file is not a complete MACE model: save it again with mace-torch.",
            )
        return value

    def child(self, *names: str) -> "Module":
        """A submodule by its path."""
        module = self
        for name in names:
            record = module.attribute(name)
            path = f"{module.path}.{name}" if module.path else name
            if not isinstance(record, Inert):
                Module(self.file, path, Inert()).fail(
                    "is not a module", "Give a MACE model saved by torch.save(model, path)."
                )
            module = Module(self.file, path, record)
        return module

    def names(self, table: str = "_modules") -> list[str]:
        """The names of the submodules, or of another table, in order."""
        members = self.attribute(table)
        if not isinstance(members, dict) or not all(isinstance(k, str) for k in members):
            self.fail(f"has {table} that are no table of names", "Save the model again.")
        return list(members)

    def children(self, name: str) -> list["Module"]:
        """The members of a ModuleList, in order."""
        group = self.child(name)
        return [group.child(key) for key in group.names()]

    def array(self, name: str) -> np.ndarray:
        """A parameter or buffer."""
        value = self.attribute(name)
        if not isinstance(value, np.ndarray):
            self.fail(
                f"has no tensor {name!r}",
                "The file is not a complete MACE model: save it again with mace-torch.",
            )
        return value

    def scalar(self, name: str) -> float:
        """A number that is an attribute or a tensor with one element."""
        given = self.attribute(name)
        plain = isinstance(given, bool | int | float | np.ndarray | np.generic)
        value = np.asarray(given if plain else ())
        if value.size != 1 or value.dtype.kind not in "biuf":
            self.fail(f"has {name!r} that is not one number", "Save the model again.")
        return float(value.reshape(()))

    def integer(self, name: str) -> int:
        """The same, of which only a whole number will do."""
        value = self.scalar(name)
        if not value.is_integer():
            self.fail(
                f"has {name!r} = {value}, not a whole number", "Save the model again."
            )
        return int(value)

    def instructions(self, length: int) -> list[tuple]:
        """What each path of an e3nn layer says: `length` entries each."""
        found = self.attribute("instructions")
        records: list[Any] = list(found) if isinstance(found, list | tuple) else [None]
        for record in records:
            given = record.arguments if isinstance(record, Inert) else ()
            shapes = [a for a in given if isinstance(a, tuple)]
            plain = all(isinstance(a, bool | int | float | str | tuple) for a in given)
            whole = len(shapes) == 1 and all(type(n) is int and n > 0 for n in shapes[0])
            if len(given) != length or not plain or not whole or len(shapes[0]) > 3:
                self.fail("has paths that are not e3nn's", "Save the model again.")
        return [record.arguments for record in records]

    def irreps(self, name: str) -> list[tuple[int, int]]:
        """(multiplicity, l) of each irrep; natural parity (0e, 1o, 2e, …) only."""
        found = []
        for entry in _items(self.attribute(name)):
            multiplicity, irrep = _pair(entry)
            ell, parity = _pair(irrep)
            if any(
                type(n) is not int or abs(n) > _MOST for n in (multiplicity, ell, parity)
            ):
                self.fail(f"has {name!r} that are no irreps", "Save the model again.")
            if parity != (-1) ** ell:
                self.unsupported(
                    f"has the irrep {ell}{'e' if parity == 1 else 'o'} in {name!r}",
                    "irreps of natural parity: 0e, 1o, 2e, 3o, …",
                )
            found.append((int(multiplicity), int(ell)))
        return found


def read_root(path: str | Path) -> Module:
    """The model among what a file of PyTorch may hold: itself, or a dictionary with it."""
    tree, file = read(path), str(path)
    if isinstance(tree, dict) and isinstance(tree.get("model"), Inert):
        tree = tree["model"]
    if isinstance(tree, dict):
        names = ", ".join(
            shown(name, quote="") if isinstance(name, str) else type(name).__name__
            for name in list(tree)[:3]
        )
        raise CheckpointError(
            f"{file} holds a dictionary ({names}, …) without a model: "
            "weights alone do not say the architecture. Save the whole model in "
            "mace-torch with torch.save(model, path)."
        )
    if not isinstance(tree, Inert):
        raise CheckpointError(
            f"{file} holds a {type(tree).__name__}, not a model. "
            "Give a file written by torch.save(model, path)."
        )
    return Module(file, "", tree)


def _items(record: Any) -> tuple:
    """The elements of an inert tuple, however its class was called; else none."""
    arguments = record.arguments if isinstance(record, Inert) else ()
    found = arguments[0] if len(arguments) == 1 else arguments
    return tuple(found) if isinstance(found, tuple | list) else ()


def _pair(record: Any) -> list[Any]:
    """The first two elements, or none in their place."""
    return [*_items(record), None, None][:2]


def degree_channels(module: Module, name: str) -> tuple[tuple[int, ...], int]:
    """Degrees l of one irreps attribute and their common number of channels."""
    irreps = module.irreps(name)
    degrees = tuple(ell for _, ell in irreps)
    channels = {multiplicity for multiplicity, _ in irreps}
    if len(channels) != 1 or sorted(set(degrees)) != list(degrees):
        text = "+".join(f"{m}x{ell}{'eo'[ell % 2]}" for m, ell in irreps)
        module.unsupported(
            f"has {name} = {text or 'none'}",
            "each degree once, in order, all with the same number of channels",
        )
    return degrees, channels.pop()


def linear(module: Module, biased: bool = False) -> dict[int, np.ndarray]:
    """Weights of an e3nn Linear: l -> [fan_in, fan_out], inputs stacked in their order.

    - `biased`: it may have a bias, which is an array of the module.
    """
    supported = "e3nn's Linear; convert the model back to e3nn"
    module.require("e3nn", "Linear", supported=supported)
    if not biased and module.has("bias") and module.array("bias").size:
        module.unsupported("has biases", "layers without biases")
    irreps_out = module.irreps("irreps_out")
    parts: dict[int, list[np.ndarray]] = {}
    norms: dict[int, set[float]] = {}
    paths = [path for path in module.instructions(4) if not (biased and path[0] == -1)]
    for (_, i_out, _, path_weight), block in _blocks(module, paths):
        ell = _member(module, irreps_out, i_out)[1]
        parts.setdefault(ell, []).append(block)
        norms.setdefault(ell, set()).add(path_weight)
    stacked = {ell: np.concatenate(blocks) for ell, blocks in parts.items()}
    for ell, weight in stacked.items():
        _require_norm(module, norms[ell], weight.shape[0] ** -0.5)
    return stacked


def species_linear(module: Module) -> dict[int, np.ndarray]:
    """Weights of an e3nn FullyConnectedTensorProduct with species: l -> [in, Z, out]."""
    supported = "e3nn's FullyConnectedTensorProduct; convert the model back to e3nn"
    module.require("e3nn", "FullyConnectedTensorProduct", supported=supported)
    irreps_out = module.irreps("irreps_out")
    weights = {}
    for path, block in _blocks(module, module.instructions(7)):
        *_, i_out, _, _, path_weight, _ = path
        ell = _member(module, irreps_out, i_out)[1]
        if block.ndim != 3:
            module.fail("has paths that are not e3nn's", "Save the model again.")
        n_in, n_species, _ = block.shape
        _require_norm(module, {path_weight}, math.sqrt((2 * ell + 1) / (n_in * n_species)))
        weights[ell] = block
    return weights


def _member(module: Module, irreps: list[tuple[int, int]], index: Any) -> tuple[int, int]:
    if type(index) is not int or not 0 <= index < len(irreps):
        module.fail("has paths to irreps that it has not", "Save the model again.")
    return irreps[index]


def _blocks(module: Module, instructions: list) -> Iterator[tuple[tuple, np.ndarray]]:
    """Each instruction with its block of the flat weight."""
    weight = module.array("weight").reshape(-1)
    shapes = [next(a for a in i if isinstance(a, tuple)) for i in instructions]
    sizes = [math.prod(shape) for shape in shapes]
    if sum(sizes) != weight.size:
        module.fail(
            f"has {weight.size} weights, and its paths need {sum(sizes)}",
            "The file is damaged: fetch or save it again.",
        )
    pieces = np.split(weight, np.cumsum(sizes)[:-1]) if sizes else []
    for instruction, piece, shape in zip(instructions, pieces, shapes, strict=True):
        yield instruction, piece.reshape(shape)


def _require_norm(module: Module, found: set[float], expected: float) -> None:
    """An error unless every path is weighted as e3nn does by default."""
    for value in found:
        if type(value) is not float or not math.isclose(
            value, expected, rel_tol=1e-6
        ):  # stored as float32 at worst
            module.unsupported(
                f"weights a path by {value!s:.12}", f"e3nn's default, {expected:.6g} here"
            )
