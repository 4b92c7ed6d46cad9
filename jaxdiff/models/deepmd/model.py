"""A DeepPot-SE model as the library knows it: the contract, kept by this folder's files."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff.models.contract import Kernel
from jaxdiff.models.deepmd import layers
from jaxdiff.models.deepmd.architecture import Architecture, Layer, Parameters
from jaxdiff.models.deepmd.compiled import COMPILED
from jaxdiff.models.edges import Edges


@struct.dataclass
class DeepPot(Parameters):
    """A DeepPot-SE model: `weights`, fixed `constants`, static `architecture`.

    The arrays are described in `Parameters`.
    """

    @property
    def cutoff(self) -> float:
        """rcut, Å."""
        return self.architecture.cutoff

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers, in the order of the file's types."""
        return self.architecture.atomic_numbers

    @property
    def isolated(self) -> Float[Any, "heads species"]:
        """The energies that are added to the networks', eV, float64."""
        return self.constants["energies"]

    def with_isolated(self, energies: Float[Any, "heads species"]) -> "DeepPot":
        """The same model with other energies of isolated atoms, eV."""
        return replace(self, constants=self.constants | {"energies": energies})

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Its evaluator beside the plain one."""
        return (COMPILED,)

    def node_energy(
        self,
        edges: Edges,
        species: Int[Any, " atoms"],
        head: int | Int[Any, ""] | Int[Any, " atoms"] = 0,
    ) -> Float[Array, " atoms"]:
        """See `layers.node_energy`; there is one head."""
        return layers.node_energy(self, edges, species)

    def features(
        self, edges: Edges, species: Int[Any, " atoms"]
    ) -> Float[Array, "atoms features"]:
        """The descriptor of DeePMD, flat."""
        return layers.descriptor(self, edges, species)

    def restrict(self, atomic_numbers: Iterable[int]) -> "DeepPot":
        """The same numbers for fewer species; see `restricted`."""
        return restricted(self, atomic_numbers)

    def last_layer(self) -> tuple[Any, Callable[[Any], Any]]:
        """The fitting networks' last layers, in which the energy is linear."""
        number, fitting = str(len(self.architecture.fitting) - 1), self.weights["fitting"]
        if self.architecture.fitting[-1] != Layer("none", False):
            return super().last_layer()

        def with_last(last):
            return replace(self, weights=self.weights | {"fitting": {**fitting, **last}})

        return {number: fitting[number]}, with_last

    def describe(self) -> dict[str, str]:
        """Property -> text."""
        arch = self.architecture
        symbol = ase.data.chemical_symbols
        elements = " ".join(symbol[z] for z in arch.atomic_numbers)
        rooms = zip(arch.selection, arch.atomic_numbers, strict=True)
        rows = {
            "class": "DeepPot-SE (se_e2_a)",
            "elements": f"{len(arch.atomic_numbers)}: {elements}",
            "cutoff": f"{arch.cutoff:g} Å, smooth from {arch.smooth_from:g} Å",
            "neighbours": "at most " + ", ".join(f"{n} {symbol[z]}" for n, z in rooms),
            "embedding": f"{_widths(self.weights['embedding'], arch.embedding)}, a network "
            f"for each {'species' if arch.one_sided else 'pair'}, axis {arch.axis}",
            "fitting": _widths(self.weights["fitting"], arch.fitting),
        }
        pairs = {"zeroed pairs": arch.zeroed, "unseen pairs": arch.unseen}
        rows |= {
            name: ", ".join(sorted({_pair(symbol, *sorted(pair)) for pair in own}))
            for name, own in pairs.items()
            if own
        }
        if arch.silent:
            rows["without energy"] = " ".join(symbol[z] for z in arch.silent)
        return rows


def _pair(symbol, first: int, second: int) -> str:
    return f"{symbol[first]}-{symbol[second]}"


def _widths(weights, network: tuple[Layer, ...]) -> str:
    """Widths and activations of a kind of networks, in words."""
    widths = [np.shape(weights[str(n)]["bias"])[-1] for n in range(len(network))]
    names = dict.fromkeys(layer.activation for layer in network)
    names = [name for name in names if name not in ("none", "linear")] or ["linear"]
    steps = ", time steps" if any("step" in own for own in weights.values()) else ""
    return f"{'-'.join(map(str, widths))}, {' and '.join(names)}{steps}"


def restricted(model: DeepPot, atomic_numbers: Iterable[int]) -> DeepPot:
    """The same model for fewer species; energies and forces of these do not change.

    What the empty places of the others add is kept as a constant of each centre.
    `atomic_numbers` may repeat: the numbers of a structure will do.
    """
    arch, constants = model.architecture, model.constants
    known, asked = arch.atomic_numbers, {int(z) for z in atomic_numbers}
    if not asked or asked - set(known):
        given = f"species {sorted(asked - set(known))} are not in the model"
        raise ValueError(
            f"{given if asked else 'no species given'}; it knows the atomic numbers "
            f"{list(known)}."
        )
    if asked == set(known):
        return model
    kept = np.array([k for k, z in enumerate(known) if z in asked])
    others = np.setdiff1d(np.arange(len(known)), kept)
    absent = np.asarray(constants["absent"], np.float64)
    if np.any(constants["mean"]):
        with jax.enable_x64(True):
            exact = jax.tree.map(lambda x: jnp.asarray(x, "float64"), model)
            empty = np.asarray(layers.empty_place(exact))
        room = np.asarray(arch.selection)[others, None, None]
        absent = absent + np.sum(room * empty[:, others], axis=1)

    def of_kept(leaf, axes: int):
        return leaf[kept] if axes == 1 else leaf[kept][:, kept]

    axes = 1 if arch.one_sided else 2
    weights = {
        "embedding": jax.tree.map(lambda x: of_kept(x, axes), model.weights["embedding"]),
        "fitting": jax.tree.map(lambda x: of_kept(x, 1), model.weights["fitting"]),
    }
    constants = {
        "energies": constants["energies"][:, kept],
        "mean": of_kept(constants["mean"], 2),
        "deviation": of_kept(constants["deviation"], 2),
        "absent": absent[kept],
    }
    return replace(
        model, weights=weights, constants=constants, architecture=_of_species(arch, kept)
    )


def _of_species(arch: Architecture, kept: np.ndarray) -> Architecture:
    numbers = tuple(arch.atomic_numbers[k] for k in kept)

    def among(pairs):
        return tuple(pair for pair in pairs if set(pair) <= set(numbers))

    return replace(
        arch,
        atomic_numbers=numbers,
        selection=tuple(arch.selection[k] for k in kept),
        zeroed=among(arch.zeroed),
        unseen=among(arch.unseen),
        silent=tuple(z for z in arch.silent if z in numbers),
    )
