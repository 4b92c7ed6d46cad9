"""A MACE model from scratch: random weights, constants from closed forms."""

from collections.abc import Sequence
from typing import Annotated, Any

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field
from scipy.integrate import quad

from jaxdiff.io.frame import Frame
from jaxdiff.io.trainfile import ScratchSection
from jaxdiff.models.dotted import nest
from jaxdiff.models.mace.architecture import Architecture
from jaxdiff.models.mace.layout import layout
from jaxdiff.models.mace.model import Mace
from jaxdiff.models.mace.product import polynomial_basis


class Scratch(ScratchSection, extra="forbid"):
    """The architecture of a MACE model, in the section [scratch] of a run file."""

    channels: int = Field(ge=1, le=4096, examples=[16])
    """Channels of every degree of the messages."""
    max_ell: int = Field(ge=0, le=3, examples=[2])
    """Highest degree of the spherical harmonics."""
    hidden: list[list[Annotated[int, Field(ge=0, le=8)]]] = Field(
        max_length=16, examples=[[[0, 1], [0]]]
    )
    """Degrees of the messages of each layer."""
    correlation: list[Annotated[int, Field(ge=1, le=3)]] = Field(
        max_length=16, examples=[[3, 3]]
    )
    """Body order of the products of each layer, less one."""
    interactions: list[str] = Field(
        max_length=16,
        examples=[
            [
                "RealAgnosticDensityInteractionBlock",
                "RealAgnosticDensityResidualInteractionBlock",
            ]
        ],
    )
    """Interaction block of each layer, as upstream names them."""
    radial_mlp: list[Annotated[int, Field(ge=1, le=65536)]] = Field(
        max_length=16, examples=[[64, 64, 64]]
    )
    """Widths of the hidden layers of the radial network."""
    num_bessel: int = Field(default=8, ge=1, le=1000)
    """Bessel functions of the distance."""
    cutoff_power: int = Field(default=5, ge=2, le=1000)
    """Power of the polynomial envelope."""
    mlp_channels: int = Field(default=16, ge=1, le=4096)
    """Width of the last readout."""
    agnesi: bool = False
    """Transform distances by the Agnesi function of both elements."""
    pair_repulsion: bool = False
    """Add the ZBL repulsion of bare nuclei at short distances."""


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


def from_scratch(
    section: Scratch,
    key: jax.Array,
    frames: Sequence[Frame],
    *,
    atomic_numbers: tuple[int, ...],
    head: str,
    **initial: Any,
) -> Mace:
    """`initialize` with the section [scratch] of a run file and what is of the data."""
    architecture = Architecture(
        scale_shift=True,
        atomic_numbers=atomic_numbers,
        heads=(head,),
        cutoff=section.cutoff_angstrom,
        num_bessel=section.num_bessel,
        cutoff_power=section.cutoff_power,
        max_ell=section.max_ell,
        channels=section.channels,
        hidden=tuple(map(tuple, section.hidden)),
        correlation=tuple(section.correlation),
        interactions=tuple(section.interactions),
        radial_mlp=tuple(section.radial_mlp),
        mlp_channels=section.mlp_channels,
        agnesi=section.agnesi,
        zbl_power=section.cutoff_power if section.pair_repulsion else None,
        average_neighbors=density_pairs(frames, section.cutoff_angstrom),
    )
    return initialize(architecture, key, **initial)


def density_pairs(frames: Sequence[Frame], cutoff: float) -> float:
    """Mean number of neighbours within the cutoff, from the mean number density."""
    density = np.mean([f.n_atoms / f.volume for f in frames if f.volume])
    return float(round(density * 4 / 3 * np.pi * cutoff**3, 2))


def _weights(arch, u_matrices, key, dtype):
    """Standard normal weights; those of the product divided by the number of paths."""
    shapes: dict = {n: s for n, s in layout(arch).items() if n.startswith("weights.")}
    for name in [n for n in shapes if ".contraction." in n]:
        *_, layer, _, ell, order = name.split(".")
        n_species, _, channels = shapes[name]
        n_paths = u_matrices[layer][ell][order].shape[-1]
        shapes[name] = (n_species, n_paths, channels)
    shapes = nest(shapes)["weights"]
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
