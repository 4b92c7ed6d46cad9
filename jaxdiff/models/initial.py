"""A MACE model from scratch: random weights, constants from closed forms."""

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad

from jaxdiff.models.architecture import Architecture, Mace, tensor_product_paths
from jaxdiff.models.product import polynomial_basis

AGNESI = {"q": 0.9183, "p": 4.5791, "a": 1.0805}
ZBL = {"c": [0.1818, 0.5099, 0.2802, 0.02817], "a_exp": 0.300, "a_prefactor": 0.4543}


def initialize(
    architecture: Architecture,
    key: jax.Array,
    *,
    atomic_energies: np.ndarray,
    scale: float = 1.0,
    shift: float = 0.0,
    dtype=jnp.float32,
) -> Mace:
    """Weights drawn as upstream draws them; the U matrices are the reduced basis.

    - `atomic_energies`: isolated-atom energies [heads, species], eV.
    - `scale`, `shift`: of the interaction energy per atom, eV.
    """
    arch = architecture
    u_matrices = {
        str(i): {
            str(ell): _u_matrices(arch.max_ell, ell, arch.correlation[i])
            for ell in arch.hidden[i]
        }
        for i in range(len(arch.interactions))
    }
    constants = {
        "scale": np.full(len(arch.heads), scale),
        "shift": np.full(len(arch.heads), shift),
        "bessel": np.pi / arch.cutoff * np.arange(1, arch.num_bessel + 1),
        "radial_activation": np.asarray(_silu_constant()),
        "readout_activation": np.asarray(_silu_constant()),
        "products": u_matrices,
    }
    radius = ase.data.covalent_radii[list(arch.atomic_numbers)]
    if arch.agnesi:
        constants["agnesi"] = {k: np.asarray(v) for k, v in AGNESI.items()}
        constants["agnesi"]["radius"] = radius
    if arch.zbl_power is not None:
        constants["zbl"] = {k: np.asarray(v) for k, v in ZBL.items()} | {"radius": radius}
    constants = jax.tree.map(lambda x: jnp.asarray(x, dtype), constants)
    constants["atomic_energies"] = np.asarray(atomic_energies, np.float64)
    return Mace(_weights(arch, u_matrices, key, dtype), constants, arch)


def _weights(arch, u_matrices, key, dtype):
    """Standard normal weights; those of the product divided by the number of paths."""
    n_species, channels = len(arch.atomic_numbers), arch.channels
    shapes: dict = {"embedding": (n_species, channels)}
    shapes |= {"interactions": {}, "products": {}, "readouts": {}}
    degrees_in: tuple[int, ...] = (0,)
    for i, kind in enumerate(arch.interactions):
        layer = str(i)
        shapes["interactions"][layer] = _interaction_shapes(arch, kind, degrees_in, i)
        shapes["products"][layer] = {
            "contraction": {
                ell: {nu: (n_species, u.shape[-1], channels) for nu, u in orders.items()}
                for ell, orders in u_matrices[layer].items()
            },
            "linear": {str(ell): (channels, channels) for ell in arch.hidden[i]},
        }
        shapes["readouts"][layer] = _readout_shapes(arch, i)
        degrees_in = arch.hidden[i]

    leaves, treedef = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    keys = jax.random.split(key, len(leaves))
    weights = jax.tree.unflatten(
        treedef,
        [jax.random.normal(k, shape, dtype) for k, shape in zip(keys, leaves, strict=True)],
    )
    for product in weights["products"].values():
        product["contraction"] = jax.tree.map(
            lambda w: w / w.shape[1], product["contraction"]
        )
    return weights


def _interaction_shapes(arch, kind, degrees_in, layer):
    channels, n_species = arch.channels, len(arch.atomic_numbers)
    paths = tensor_product_paths(degrees_in, arch.max_ell)
    reached = sorted({l3 for *_, l3 in paths})
    widths = (arch.num_bessel, *arch.radial_mlp, len(paths) * channels)
    residual = "Residual" in kind
    skipped = [ell for ell in degrees_in if ell in arch.hidden[layer]]
    shapes = {
        "linear_up": {str(ell): (channels, channels) for ell in degrees_in},
        "radial": {str(n): widths[n : n + 2] for n in range(len(widths) - 1)},
        "linear": {
            str(ell): (sum(l3 == ell for *_, l3 in paths) * channels, channels)
            for ell in reached
        },
        "skip": {
            str(ell): (channels, n_species, channels)
            for ell in (skipped if residual else reached)
        },
    }
    if "Density" in kind:
        shapes["density"] = (arch.num_bessel, 1)
    return shapes


def _readout_shapes(arch, layer):
    channels, n_heads = arch.channels, len(arch.heads)
    n_layers = len(arch.interactions)
    if n_layers == 1 or layer < n_layers - 1:
        return {"linear": (channels, n_heads)}
    width = n_heads * arch.mlp_channels
    return {"linear_1": (channels, width), "linear_2": (width, n_heads)}


def _u_matrices(max_ell: int, ell: int, correlation: int) -> dict:
    """Basis of the symmetric equivariant polynomials: nu -> [2l + 1, D ** nu, paths].

    Scaled so that each path has the norm of upstream's, sqrt(2l + 1).
    """
    matrices = {}
    for nu in range(1, correlation + 1):
        array = polynomial_basis(max_ell, ell, nu)
        norm = np.sqrt(np.sum(array**2, axis=tuple(range(array.ndim - 1))))
        matrices[str(nu)] = array / norm * np.sqrt(2 * ell + 1)
    return matrices


def _silu_constant() -> float:
    """1/sqrt(<silu(x)^2>) for x ~ N(0, 1), as an exact integral."""
    second_moment = quad(
        lambda x: (x / (1 + np.exp(-x))) ** 2 * np.exp(-(x**2) / 2), -30, 30
    )[0] / np.sqrt(2 * np.pi)
    return second_moment**-0.5
