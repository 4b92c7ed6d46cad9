"""How a native file holds a model of arrays by name and shape, and an architecture."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.shapes import check
from jaxdiff.models import dotted
from jaxdiff.models.contract import Model, Shape


@dataclasses.dataclass(frozen=True)
class Form:
    """Of a family whose models are made of weights, constants and an architecture.

    - `model`, `kind`: the classes of the model and of its architecture.
    - `layout`: names and shapes of its arrays.
    - `fault`: what no architecture has, in words; empty where all is well.
    """

    model: Callable[..., Any]
    kind: Callable[..., Any]
    layout: Callable[[Any], dict[str, Shape]]
    fault: Callable[[Any], str]

    def describe(self, model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arrays and architecture, as a native file holds them."""
        arch = getattr(model, "architecture")  # noqa: B009
        flat = dotted.flatten(model.weights, "weights")
        flat |= dotted.flatten(getattr(model, "constants"), "constants")  # noqa: B009
        self._check(flat, arch, "the model to be saved")
        return flat, {name: getattr(arch, name) for name in self._fields}

    def assemble(self, arrays: Mapping[str, Any], architecture: Any, file: str) -> Any:
        """The model of these arrays, which must be those of the architecture."""
        self._check(arrays, architecture, file)
        tree = dotted.nest(arrays)
        return self.model(tree["weights"], tree["constants"], architecture)

    def architecture(self, fields: dict[str, Any]) -> Any:
        """The inverse of the fields of `describe` after JSON, where tuples are lists."""
        if fields.keys() != set(self._fields):
            wrong = ", ".join(sorted(fields.keys() ^ set(self._fields)))
            raise ValueError(f"unknown or missing fields of the architecture: {wrong}")
        found = self.kind(**{name: _tuples(value) for name, value in fields.items()})
        if fault := self.fault(found):
            raise ValueError(fault)
        return found

    def require(self, architecture: Any, file: str) -> None:
        """An error unless every entry is in its range, and all are of as many layers."""
        if found := self.fault(architecture):
            raise CheckpointError(f"{file} is damaged: {found}. Fetch or write it again.")

    @property
    def _fields(self) -> tuple[str, ...]:
        return tuple(field.name for field in dataclasses.fields(self.kind))  # type: ignore[arg-type]

    def _check(self, arrays: Mapping[str, Any], architecture: Any, file: str) -> None:
        self.require(architecture, file)
        check(arrays, self.layout(architecture), file)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
