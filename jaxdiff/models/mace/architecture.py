"""What a MACE model is made of: its static architecture and its arrays, as one pytree."""

from flax import struct

from jaxdiff.models.mace.base import Built

INTERACTIONS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
)
"""The interaction blocks that the evaluator knows, by their upstream names."""


@struct.dataclass
class Architecture:
    """Everything that decides shapes and code paths; hashable, holds no arrays.

    - `scale_shift`: ScaleShiftMACE (True) or MACE (False).
    - `atomic_numbers`: the species table; species index k means `atomic_numbers[k]`.
    - `heads`: names of the readout heads.
    - `cutoff`: r_max, Å.
    - `num_bessel`, `cutoff_power`: radial functions and p of the polynomial envelope.
    - `max_ell`: highest degree of the spherical harmonics on edges.
    - `channels`: features per irrep.
    - `hidden`: per layer, the degrees l of its output (natural parity: 0e, 1o, 2e).
    - `correlation`: per layer, the body order of the product basis.
    - `interactions`: per layer, a name from `INTERACTIONS`.
    - `radial_mlp`: widths of the hidden layers of the radial network.
    - `mlp_channels`: width per head of the non-linear readout of the last layer.
    - `agnesi`: distances go through the Agnesi transform.
    - `zbl_power`: p of the ZBL envelope; None when there is no pair repulsion.
    - `average_neighbors`: divisor of the messages of the non-density blocks.
    """

    scale_shift: bool = struct.field(pytree_node=False)
    atomic_numbers: tuple[int, ...] = struct.field(pytree_node=False)
    heads: tuple[str, ...] = struct.field(pytree_node=False)
    cutoff: float = struct.field(pytree_node=False)
    num_bessel: int = struct.field(pytree_node=False)
    cutoff_power: int = struct.field(pytree_node=False)
    max_ell: int = struct.field(pytree_node=False)
    channels: int = struct.field(pytree_node=False)
    hidden: tuple[tuple[int, ...], ...] = struct.field(pytree_node=False)
    correlation: tuple[int, ...] = struct.field(pytree_node=False)
    interactions: tuple[str, ...] = struct.field(pytree_node=False)
    radial_mlp: tuple[int, ...] = struct.field(pytree_node=False)
    mlp_channels: int = struct.field(pytree_node=False)
    agnesi: bool = struct.field(pytree_node=False)
    zbl_power: int | None = struct.field(pytree_node=False)
    average_neighbors: float = struct.field(pytree_node=False)

    @property
    def species(self) -> tuple[int, ...]:
        """`atomic_numbers`, by the name that models have for them."""
        return self.atomic_numbers


@struct.dataclass
class Parameters(Built):
    """What `Mace` computes with: trainable `weights`, fixed `constants`, `architecture`.

    Both trees are nested dictionaries with string keys, raw as upstream stores them
    (no normalisation folded in). With Z species, C channels, H heads, B radial
    functions, i = "0", "1", … the layer and l = "0", "1", … the degree of an irrep:

    weights
    - embedding [Z, C]
    - interactions.i.linear_up.l [C, C]
    - interactions.i.radial.n [fan_in, fan_out], n = 0 … len(radial_mlp); the columns of
      the last one are paths x C
    - interactions.i.linear.l [paths_l * C, C]
    - interactions.i.skip.l [C, Z, C]
    - interactions.i.density [B, 1], density blocks only
    - products.i.contraction.l.nu [Z, eta, C], nu = 1 … correlation
    - products.i.linear.l [C, C]
    - readouts.i.linear [C, H], or for the last layer of several
      readouts.i.linear_1 [C, H * mlp] and readouts.i.linear_2 [H * mlp, H]

    constants
    - atomic_energies [H, Z] float64, eV; scale [H]; shift [H]
    - bessel [B] 1/Å; radial_activation, readout_activation []: the silu constants
    - agnesi: q, p, a [], radius [Z] Å (covalent radii); only with `agnesi`
    - zbl: c [4], a_exp, a_prefactor [], radius [Z] Å; only with `zbl_power`
    - products.i.l.nu [2l + 1, (D,) * nu …, eta]: the U matrices, D = (max_ell + 1)^2;
      the leading axis is kept for l = 0 too
    """

    architecture: Architecture = struct.field(pytree_node=False)


def tensor_product_paths(
    degrees: tuple[int, ...], max_ell: int
) -> tuple[tuple[int, int, int], ...]:
    """(l of feature, l of harmonic, l of message), in the order of upstream's weights."""
    return tuple(
        (l1, l2, l3)
        for l3 in range(max_ell + 1)
        for l1 in degrees
        for l2 in range(max_ell + 1)
        if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
    )
