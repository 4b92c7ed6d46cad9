"""Functions of the interatomic distance: envelope, basis, transform, repulsion, network."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BOHR = 0.529
"""Å; the rounded value that the published ZBL fit of upstream MACE uses."""
COULOMB = 14.3996
"""e^2 / (4 pi eps0), eV·Å, rounded as upstream does."""
ZBL_EXPONENTS = (3.2, 0.9423, 0.4028, 0.2016)


def polynomial_envelope(
    distance: Float[Array, "*edges"],
    cutoff: Float[Any, "*#edges"] | float,
    power: int,
) -> Float[Array, "*edges"]:
    """Smooth step from 1 at zero to 0 at `cutoff` (doi:10.48550/arXiv.2003.03123, Eq. 8).

    Value and first two derivatives vanish at the cutoff; exactly 0 beyond it. `distance`
    and `cutoff` in Å.
    """
    p = float(power)
    inside = distance < cutoff
    u = jnp.where(inside, distance / cutoff, 1.0)
    envelope = (
        1.0
        - (p + 1.0) * (p + 2.0) / 2.0 * u**power
        + p * (p + 2.0) * u ** (power + 1)
        - p * (p + 1.0) / 2.0 * u ** (power + 2)
    )
    return jnp.where(inside, envelope, 0.0)


def bessel_basis(
    x: Float[Array, "*edges"],
    frequency: Float[Any, " bessel"],
    cutoff: float,
) -> Float[Array, "*edges bessel"]:
    """sqrt(2/r_c) sin(w_n x)/x (doi:10.48550/arXiv.2003.03123, Eq. 7)."""
    # not a division: the compiler makes it this product in one program, not in another
    inverse = (1.0 / x)[..., None]
    return (2.0 / cutoff) ** 0.5 * jnp.sin(frequency * x[..., None]) * inverse


def agnesi_transform(
    distance: Float[Array, "*edges"],
    radius_sum: Float[Any, "*edges"],
    constants: Mapping[str, Float[Any, "..."]],
) -> Float[Array, "*edges"]:
    """Distance mapped to (0, 1], steep around the bond length (doi:10.1063/5.0158783).

    `radius_sum` is the sum of the two covalent radii, Å; r_0 is half of it.
    """
    q, p, a = constants["q"], constants["p"], constants["a"]
    u = distance / (0.5 * radius_sum)
    return 1.0 / (1.0 + a * u**q / (1.0 + u ** (q - p)))


def zbl_pair_energy(
    distance: Float[Array, "*edges"],
    charge: tuple[Float[Any, "*#edges"], Float[Any, "*#edges"]],
    radius_sum: Float[Any, "*edges"],
    constants: Mapping[str, Float[Any, "..."]],
    power: int,
) -> Float[Array, "*edges"]:
    """Half the screened nuclear repulsion of each directed edge, eV (Ziegler 1985).

    doi:10.1007/978-1-4615-8103-1_3, times the polynomial envelope that ends at the sum
    of the covalent radii. `charge` holds the two atomic numbers.
    """
    z_i, z_j = charge
    exponent = constants["a_exp"]
    screening = constants["a_prefactor"] * BOHR / (z_i**exponent + z_j**exponent)
    x = distance / screening
    phi = sum(
        constants["c"][n] * jnp.exp(-rate * x) for n, rate in enumerate(ZBL_EXPONENTS)
    )
    envelope = polynomial_envelope(distance, radius_sum, power)
    return 0.5 * COULOMB * z_i * z_j / distance * phi * envelope


def radial_network(
    hidden_layers: Sequence[Float[Any, "_inputs _outputs"]],
    features: Float[Array, "*edges bessel"],
    activation_constant: Float[Any, ""],
) -> Float[Array, "*edges hidden"]:
    """Hidden layers of the bias-free perceptron, with normalised silu.

    Each layer divides by the square root of its fan-in, as e3nn's FullyConnectedNet. The
    linear last layer is applied path by path where its result is used.
    """
    for weight in hidden_layers:
        features = features @ (weight / weight.shape[0] ** 0.5)
        features = activation_constant * jax.nn.silu(features)
    return features


def transformed(
    model, distance: Float[Array, "*edges"], species: tuple[Int[Array, "*#edges"], ...]
) -> Float[Array, "*edges"]:
    """What the radial basis takes: the distance, Å, or its Agnesi transform."""
    if not model.architecture.agnesi:
        return distance
    constants = model.constants["agnesi"]
    radius = jnp.asarray(constants["radius"])
    return agnesi_transform(distance, radius[species[0]] + radius[species[1]], constants)


def edge_features(
    model, distance: Float[Array, "*edges"], species: tuple[Int[Array, "*#edges"], ...]
) -> Float[Array, "*edges bessel"]:
    """Radial basis times the envelope; exactly zero at and beyond the cutoff."""
    arch = model.architecture
    x = transformed(model, distance, species)
    basis = bessel_basis(x, model.constants["bessel"], arch.cutoff)
    envelope = polynomial_envelope(distance, arch.cutoff, arch.cutoff_power)
    return basis * envelope[..., None]
