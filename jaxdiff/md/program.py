"""A compiled function that says, before it runs, what memory it takes."""

from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer


class Program:
    """A function compiled once for each set of shapes that it is called with."""

    def __init__(self, function: Callable) -> None:
        self._jitted = jax.jit(function)
        self._compiled: dict[Any, jax.stages.Compiled] = {}

    def __call__(self, *arguments: Any) -> Any:
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arguments)):
            return self._jitted(*arguments)  # a part of another program
        return self.compiled(*arguments)(*arguments)

    def __len__(self) -> int:
        """How often it was compiled."""
        return len(self._compiled)

    def compiled(self, *arguments: Any) -> jax.stages.Compiled:
        """The program for arguments of these shapes."""
        leaves, structure = jax.tree.flatten(arguments)
        shapes = (structure, *(jax.typeof(leaf) for leaf in leaves))
        if shapes not in self._compiled:
            self._compiled[shapes] = self._jitted.lower(*arguments).compile()
        return self._compiled[shapes]
