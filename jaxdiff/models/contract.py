"""What the library needs of a force field, and nothing more.

A family of models is a subclass of `Model`: a frozen pytree (`flax.struct.dataclass`) that
is passed explicitly. Its files are read by a record in `jaxdiff.checkpoints.families`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff.models.edges import Edges


@struct.dataclass
class Model:
    """A force field; `weights` are what is trained: nested dictionaries, string keys.

    A family must have `cutoff`, `species`, `isolated`, `with_isolated`, `node_energy` and
    `restrict`. The others have a default, or say what the family lacks.
    """

    weights: dict[str, Any]

    def __getstate__(self) -> dict[str, Any]:
        """Arrays of the host: JAX's own come back in float32 where float64 is off."""
        return jax.tree.map(
            lambda x: np.asarray(x) if isinstance(x, jax.Array) else x, vars(self)
        )

    @property
    def cutoff(self) -> float:
        """Of the edges between neighbours, Å."""
        raise NotImplementedError

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that it knows; species index k means `species[k]`."""
        raise NotImplementedError

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the levels of theory that it has learnt."""
        return ("default",)

    @property
    def isolated(self) -> Float[Any, "heads species"]:
        """Energies of isolated atoms, eV, float64."""
        raise NotImplementedError

    def isolated_of(self, head: int) -> dict[int, float]:
        """Energies of isolated atoms of a head, eV, by atomic number."""
        energies = np.asarray(self.isolated, np.float64)[head]
        return dict(zip(self.species, energies, strict=True))

    @property
    def dtype(self) -> Any:
        """What it computes in."""
        return jax.tree.leaves(self.weights)[0].dtype

    @property
    def kernels(self) -> "tuple[Kernel, ...]":
        """Its own evaluators beside the plain one, the first choice first."""
        return ()

    def node_energy(
        self,
        edges: Edges,
        species: Int[Any, " atoms"],
        head: int | Int[Any, ""] | Int[Any, " atoms"] = 0,
    ) -> Float[Array, " atoms"]:
        """Energy of each atom without that of the isolated atom, eV.

        `species` are indices into `species` of the model; edges in its dtype.
        """
        raise NotImplementedError

    def features(
        self, edges: Edges, species: Int[Any, " atoms"]
    ) -> Float[Array, "atoms features"]:
        """What it sees of each atom, invariant to rotations: descriptors."""
        raise ValueError(f"{_kind(self)} has no descriptors of atoms.")

    def restrict(self, atomic_numbers: Iterable[int]) -> "Model":
        """The same numbers for fewer species, in the order of `species`."""
        raise NotImplementedError

    def with_isolated(self, energies: Float[Any, "heads species"]) -> "Model":
        """The same model with other energies of isolated atoms, eV."""
        raise NotImplementedError

    def head_index(self, name: str | None) -> int:
        """Number of a head; None will do for one alone, or for one that is the default."""
        if name is None:
            defaults = [n for n in self.heads if n.lower() == "default"]
            name = self.heads[0] if len(self.heads) == 1 else next(iter(defaults), None)
        if name is None:
            raise ValueError(
                f"the model has the heads {', '.join(self.heads)}, each of another level "
                "of theory; name one of them."
            )
        if name not in self.heads:
            raise ValueError(
                f"the model has no head {name!r}; it has {', '.join(self.heads)}."
            )
        return self.heads.index(name)

    def of_head(self, name: str | None) -> "Model":
        """The same numbers for one head alone; see `head_index`."""
        chosen = self.heads[self.head_index(name)]
        return self if len(self.heads) == 1 else self.restrict_heads([chosen])

    def restrict_heads(self, names: Iterable[str]) -> "Model":
        """The same numbers for fewer heads."""
        if set(names) == set(self.heads):
            return self
        raise ValueError(f"{_kind(self)} has one head, {self.heads[0]}.")

    def with_heads(self, names: Sequence[str], energies: np.ndarray) -> "Model":
        """Several heads, each of which starts as the only one; isolated atoms of each."""
        raise ValueError(f"{_kind(self)} cannot have several heads; leave out [replay].")

    @property
    def isolated_is_exact(self) -> bool:
        """Whether an atom without neighbours has its energy of `isolated`, and no other."""
        return True

    @property
    def takes_charge(self) -> bool:
        """Whether its energies depend on charge and multiplicity of the structure."""
        return False

    def with_charge(self, charge: float, multiplicity: float) -> "Model":
        """For structures of this charge, e, and multiplicity 2S + 1, if it takes them."""
        return self

    @property
    def reference(self) -> Float[Any, "heads species"]:
        """What training takes off energies, eV: `isolated` but what weights add to it."""
        return self.isolated

    def of_structures(
        self, charge: Int[Any, " atoms"], multiplicity: Int[Any, " atoms"]
    ) -> "Model":
        """For atoms of several structures, each with the numbers of its own.

        Energies of atoms are then without `reference` alone.
        """
        return self

    def last_layer(self) -> tuple[Any, Callable[[Any], Any]]:
        """Weights in which the energy is linear, and the model with others instead."""
        raise ValueError(f"{_kind(self)} has no last layer, so no errors from one.")

    @staticmethod
    def decays(name: str) -> bool:
        """Whether weight decay acts on the array of this dotted name."""
        return False

    @staticmethod
    def low_rank_divisor(name: str, rank: int) -> float | None:
        """Of a low-rank update of a matrix, beside alpha / rank; None: it has none."""
        return None

    def describe(self) -> dict[str, str]:
        """Property -> text, for `jaxdiff model info`."""
        return {"class": type(self).__name__}


class Term:
    """An energy that is added to that of any model, beside it; its parameters are a pytree.

    It is a function of positions and cell alone, with a cutoff of its own.
    """

    def energy_force_strain(
        self, position: Float[Array, "atoms 3"], cell: Float[Array, "3 3"]
    ) -> tuple[Float[Array, ""], Float[Array, "atoms 3"], Float[Array, "3 3"]]:
        """Energy, eV, forces, eV/Å, and dE/dstrain, eV, in float64.

        Of positions and lattice vectors (rows), Å; can be differentiated over positions.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        """What it is, in words, for reports."""
        raise NotImplementedError


def _kind(model: Model) -> str:
    return f"a model of the kind {type(model).__name__}"


def cast(model: Model, dtype: Any) -> Any:
    """The same model in another precision; isolated-atom energies stay float64."""
    converted = jax.tree.map(lambda x: jnp.asarray(x, dtype), model)
    return converted.with_isolated(jnp.asarray(model.isolated, "float64"))


Shape = tuple[int | None, ...]
"""The shape of an array; None where the architecture does not decide the length."""

Evaluate = Callable[[Any, Edges], tuple[Array, Array, Array]]
"""(params, edges) -> energy of each atom, its sum's derivative over displacements, and
energies of the isolated atoms."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What an evaluator is made for.

    - `species` [atoms]: indices into the table of the model, which is restricted to those
      present, in the precision of its file.
    - `dtype`: to compute in. `tolerance`: of tabulated radial functions relative to the
      largest, None: exact.
    - `replicas`: the most configurations that are evaluated at once, by `jax.vmap`.
    """

    species: Int[np.ndarray, " atoms"]
    dtype: Any
    head: int = 0
    tolerance: float | None = None
    replicas: int = 1


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A way to evaluate a model: a file with such a record, named by its family.

    - `prepare`: parameters, and the function of them and edges.
    - `tabulates`: whether it honours a tolerance; one that does not is exact.
    - `why_not_for`: why it cannot evaluate a model, in words; None where it can.
    - `why_not_here`: why it cannot be used on this machine, in words; None where it can.
    - `worth`: why "auto" takes it for a model on this machine; None where it does not.
    """

    name: str
    tabulates: bool
    prepare: Callable[[Any, Request], tuple[Any, Evaluate]]
    why_not_for: Callable[[Any], str | None] = lambda model: None
    why_not_here: Callable[[], str | None] = lambda: None
    worth: Callable[[Any], str | None] = lambda model: None
