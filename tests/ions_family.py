"""A second family of models: pairs of ions (Born and Mayer), with weights to train."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdiff.checkpoints.families import Family
from jaxdiff.models import dotted
from jaxdiff.models.contract import Model


@struct.dataclass
class Ions(Model):
    """Repulsion B exp(-r / rho) and screened charges, eV; smooth at the cutoff.

    weights: `pair.repulsion` [Z, Z], `pair.length` [Z, Z] Å, `charge` [Z], e.
    """

    energies: Any
    numbers: tuple[int, ...] = struct.field(pytree_node=False)
    radius: float = struct.field(pytree_node=False)

    cutoff = property(lambda self: self.radius)
    species = property(lambda self: self.numbers)
    isolated = property(lambda self: self.energies)

    def with_isolated(self, energies):
        return dataclasses.replace(self, energies=energies)

    def restrict(self, atomic_numbers):
        kept = np.flatnonzero(np.isin(self.numbers, list(atomic_numbers)))
        pair = {k: v[kept][:, kept] for k, v in self.weights["pair"].items()}
        weights = {"pair": pair, "charge": self.weights["charge"][kept]}
        numbers = tuple(self.numbers[k] for k in kept)
        return dataclasses.replace(
            self, weights=weights, energies=self.energies[:, kept], numbers=numbers
        )

    def node_energy(self, edges, species, head=0):
        r = jnp.sqrt(jnp.sum(edges.displacement**2, axis=-1))
        i, j = jnp.broadcast_arrays(edges.at_receiver(species), species[edges.sender])
        charge = jnp.asarray(self.weights["charge"])
        strength, length = (jnp.asarray(self.weights["pair"][k])[i, j] for k in PAIR)
        u = jnp.minimum(r / self.cutoff, 1.0)
        screened = 14.4 * charge[i] * charge[j] * jax.scipy.special.erfc(0.3 * r) / r
        energy = (strength * jnp.exp(-r / length) + screened) * (1 - u**2) ** 3
        return edges.total(0.5 * energy, len(species))


PAIR = ("repulsion", "length")


def ions(charge=1.0):
    """LiF about as Fumi and Tosi have it (doi:10.1016/0022-3697(64)90159-3)."""
    repulsion = np.array([[99.0, 212.0], [212.0, 421.0]])
    pair = {"repulsion": repulsion, "length": np.full((2, 2), 0.299)}
    weights = {"pair": pair, "charge": np.array([charge, -charge])}
    return Ions(weights, np.array([[-1.0, -2.0]]), (3, 9), 4.5)


def describe(model):
    arrays = dotted.flatten(model.weights, "weights") | {"energies": model.energies}
    return arrays, {"numbers": model.numbers, "radius": model.radius}


def assemble(arrays, fields, file):
    weights = dotted.nest({k: v for k, v in arrays.items() if k != "energies"})["weights"]
    return Ions(weights, arrays["energies"], tuple(fields["numbers"]), fields["radius"])


FAMILY = Family("test-ions", Ions, describe, lambda fields: fields, assemble)
