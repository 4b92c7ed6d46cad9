"""A pickled tree of PyTorch modules, read by dotted names, and the e3nn layers in it."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.unpickle import Inert

_MISSING = object()


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

    def children(self, name: str) -> list["Module"]:
        """The members of a ModuleList, in order."""
        group = self.child(name)
        return [group.child(key) for key in group.attribute("_modules")]

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
        value = np.asarray(self.attribute(name))
        if value.size != 1 or value.dtype.kind not in "biuf":
            self.fail(f"has {name!r} that is not one number", "Save the model again.")
        return float(value.reshape(()))

    def irreps(self, name: str) -> list[tuple[int, int]]:
        """(multiplicity, l) of each irrep; natural parity (0e, 1o, 2e, …) only."""
        found = []
        for entry in _items(self.attribute(name)):
            multiplicity, irrep = _items(entry)
            ell, parity = _items(irrep)
            if parity != (-1) ** ell:
                self.unsupported(
                    f"has the irrep {ell}{'e' if parity == 1 else 'o'} in {name!r}",
                    "irreps of natural parity: 0e, 1o, 2e, 3o, …",
                )
            found.append((int(multiplicity), int(ell)))
        return found


def _items(record: Inert) -> tuple:
    """The elements of an inert tuple, however its class was called."""
    arguments = record.arguments
    return arguments[0] if len(arguments) == 1 else arguments


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


def linear(module: Module) -> dict[int, np.ndarray]:
    """Weights of an e3nn Linear: l -> [fan_in, fan_out], inputs stacked in their order."""
    supported = "e3nn's Linear; convert the model back to e3nn"
    module.require("e3nn", "Linear", supported=supported)
    if module.has("bias") and module.array("bias").size:
        module.unsupported("has biases", "layers without biases")
    irreps_out = module.irreps("irreps_out")
    parts: dict[int, list[np.ndarray]] = {}
    norms: dict[int, set[float]] = {}
    blocks = _blocks(module, [i.arguments for i in module.attribute("instructions")])
    for (_, i_out, _, path_weight), block in blocks:
        ell = irreps_out[i_out][1]
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
    blocks = _blocks(module, [i.arguments for i in module.attribute("instructions")])
    for (*_, i_out, _, _, path_weight, _), block in blocks:
        ell = irreps_out[i_out][1]
        n_in, n_species, _ = block.shape
        _require_norm(module, {path_weight}, math.sqrt((2 * ell + 1) / (n_in * n_species)))
        weights[ell] = block
    return weights


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
        if not math.isclose(value, expected, rel_tol=1e-6):  # stored as float32 at worst
            module.unsupported(
                f"weights a path by {value:.6g}", f"e3nn's default, {expected:.6g} here"
            )
