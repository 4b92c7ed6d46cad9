"""What every MACE of upstream has, read from its modules: species, heads, products, …"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdiff.checkpoints import sound
from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.form import Form
from jaxdiff.checkpoints.modules import Module, degree_channels, linear
from jaxdiff.checkpoints.pickle_stack import Global
from jaxdiff.checkpoints.unpickle import Inert
from jaxdiff.io.shown import shown
from jaxdiff.models import dotted
from jaxdiff.models.mace.architecture import tensor_product_paths

HIGHEST_CORRELATION = 3
_UNFIT = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


def read(
    root: Module,
    form: Form,
    require_supported: Callable[[Module], None],
    architecture: Callable[[Module], Any],
    weights: Callable[[Module], dict[str, Any]],
    activations: Callable[[Module], dict[str, Any]],
) -> Any:
    """The model of a family, in the file's floating-point type; its parts by functions."""
    try:
        require_supported(root)
        found = architecture(root)
        form.require(found, root.file)
        trained, fixed = weights(root), constants(root, found) | activations(root)
    except _UNFIT as error:
        raise CheckpointError(
            f"{root.file} is damaged: its modules are not those of a MACE model "
            f"({type(error).__name__}: {shown(str(error), quote='')}). Fetch it again."
        ) from None
    sound.require_floats({"the embedding": trained["embedding"]}, root.file)
    arrays = dotted.flatten(trained, "weights") | dotted.flatten(fixed, "constants")
    for name, value in arrays.items():
        own = name == "constants.atomic_energies"
        kind = np.float64 if own else trained["embedding"].dtype
        arrays[name] = np.asarray(value, kind, order="C")
    model = form.assemble(arrays, found, root.file)
    sound.require_floats(arrays, root.file)
    return model


def require_paths(convolution: Module) -> None:
    """The tensor product must have upstream's paths, in its order and normalisation."""
    degrees, channels = degree_channels(convolution, "irreps_in1")
    harmonics, _ = degree_channels(convolution, "irreps_in2")
    outputs = convolution.irreps("irreps_out")
    expected = tensor_product_paths(degrees, harmonics[-1])
    found = []
    for instruction in convolution.instructions(7):
        first, second, out, mode, has_weight, path_weight, shape = instruction
        if any(type(index) is not int or index < 0 for index in (first, second, out)):
            convolution.fail("has paths to irreps that it has not", "Save the model again.")
        path = (degrees[first], harmonics[second], outputs[out][1])
        norm = math.sqrt(2 * path[2] + 1)
        usual = mode == "uvu" and has_weight and tuple(shape) == (channels, 1)
        if not usual or not math.isclose(path_weight, norm, rel_tol=1e-6):
            given = f"has the path {path} of mode {mode} weighted by {path_weight!s:.12}"
            convolution.unsupported(given, f"mode uvu weighted by {norm:.6g}")
        found.append(path)
    if tuple(found) != expected or harmonics != tuple(range(len(harmonics))):
        convolution.unsupported(
            f"has {len(found)} paths from degrees {degrees} and {harmonics}",
            f"the {len(expected)} paths of mace-torch, in its order",
        )


def atomic_numbers(root: Module) -> tuple[int, ...]:
    """A buffer, or in the files of 2022 a list of NumPy numbers."""
    given = root.attribute("atomic_numbers")
    members = given.reshape(-1) if isinstance(given, np.ndarray) else given
    if not isinstance(members, np.ndarray | list | tuple) or not all(
        isinstance(z, int | np.integer) for z in members
    ):
        root.fail("has 'atomic_numbers' that are no whole numbers", "Save the model again.")
    return tuple(int(z) for z in members)


def heads(root: Module) -> tuple[str, ...]:
    """Names of the heads; files from before there were heads have one."""
    n_heads = np.atleast_2d(e0(root)).shape[0]
    names = root.attribute("heads", None)
    if names is None:
        names = ["Default"] if n_heads == 1 else [f"head_{i}" for i in range(n_heads)]
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        root.fail("has heads without names", "Save the model again.")
    if len(names) != n_heads:
        root.fail(
            f"has {len(names)} heads and isolated-atom energies for {n_heads}",
            "The file is inconsistent: save the model again.",
        )
    return tuple(str(name) for name in names)


def e0(root: Module) -> np.ndarray:
    """Energies of isolated atoms, eV, of one head or several."""
    return root.child("atomic_energies_fn").array("atomic_energies")


def correlation(product: Module) -> int:
    """The order of a product basis, the same for all its irreps."""
    contractions = product.child("symmetric_contractions").children("contractions")
    orders = {len(c.child("weights").names("_parameters")) + 1 for c in contractions}
    if len(orders) != 1:
        given = f"has correlation orders {sorted(orders)}"
        product.unsupported(given, "one order for all irreps of a layer")
    order = orders.pop()
    if order > HIGHEST_CORRELATION:
        product.unsupported(f"has correlation order {order}", f"1 to {HIGHEST_CORRELATION}")
    return order


def zbl_power(root: Module) -> int | None:
    """p of the envelope of the pair repulsion; None where there is none."""
    if not root.has("pair_repulsion_fn"):
        return None
    return root.child("pair_repulsion_fn").integer("p")


def by_degree(weights: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    """Degrees as the names that trees of arrays have."""
    return {str(ell): weight for ell, weight in weights.items()}


def contractions(product: Module) -> dict[int, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """l -> nu -> (weights, U matrix); upstream squeezes the first axis of U for l = 0."""
    block = product.child("symmetric_contractions")
    degrees, _ = degree_channels(block, "irreps_out")
    dimension = sum(2 * ell + 1 for ell in degree_channels(block, "irreps_in")[0])
    found: dict[int, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
    for ell, contraction in zip(degrees, block.children("contractions"), strict=True):
        lower = contraction.child("weights")
        top = len(lower.names("_parameters")) + 1
        found[ell] = {}
        for nu in range(1, top + 1):
            source = contraction if nu == top else lower
            weight = source.array("weights_max" if nu == top else str(top - 1 - nu))
            u_matrix = contraction.array(f"U_matrix_{nu}")
            shape = (2 * ell + 1, *(dimension,) * nu, weight.shape[1])
            if u_matrix.size != math.prod(shape):
                contraction.fail(
                    f"has U_matrix_{nu} of shape {u_matrix.shape}, and its weights need "
                    f"{shape}",
                    "The file is damaged: fetch or save it again.",
                )
            found[ell][nu] = (weight, u_matrix.reshape(shape))
    return found


def constants(root: Module, architecture: Any) -> dict[str, Any]:
    """Those that every MACE has; `architecture` of any family."""
    n_heads = len(architecture.heads)
    numbers = np.array(architecture.atomic_numbers)
    radial = root.child("radial_embedding")
    found: dict[str, Any] = {
        "atomic_energies": np.atleast_2d(e0(root)),
        "scale": np.ones(n_heads),
        "shift": np.zeros(n_heads),
        "bessel": radial.child("bessel_fn").array("bessel_weights").reshape(-1),
        "products": {
            str(i): {
                str(ell): {str(nu): u for nu, (_, u) in orders.items()}
                for ell, orders in contractions(product).items()
            }
            for i, product in enumerate(root.children("products"))
        },
    }
    if architecture.scale_shift:
        block = root.child("scale_shift")
        found["scale"] = np.atleast_1d(block.array("scale"))
        found["shift"] = np.atleast_1d(block.array("shift"))
    if architecture.agnesi:
        transform = radial.child("distance_transform")
        found["agnesi"] = {k: transform.array(k).reshape(()) for k in ("q", "p", "a")}
        found["agnesi"]["radius"] = transform.array("covalent_radii")[numbers]
    if architecture.zbl_power is not None:
        repulsion = root.child("pair_repulsion_fn")
        found["zbl"] = {
            "c": repulsion.array("c"),
            "a_exp": repulsion.array("a_exp").reshape(()),
            "a_prefactor": repulsion.array("a_prefactor").reshape(()),
            "radius": repulsion.array("covalent_radii")[numbers],
        }
    return found


def silu_constant(module: Module, name: str = "act") -> float:
    """1/sqrt(<silu(x)^2>) as e3nn estimated it when the model was made."""
    activation = module.child(name) if name else module
    activation.require("e3nn", "normalize2mom")
    function = activation.attribute("f")
    kind = function.name if isinstance(function, Global | Inert) else "something else"
    if kind.rpartition(".")[2] not in ("silu", "SiLU"):
        activation.unsupported(f"applies {kind}", "silu")
    return activation.scalar("cst")


def readout_constants(root: Module) -> set[float]:
    """The silu constants of the last readout; none where it is linear."""
    block = root.children("readouts")[-1]
    if block.kind == "LinearReadoutBlock":
        return set()
    (activation,) = block.child("non_linearity").children("acts")
    return {silu_constant(activation, "")}


def product_weights(root: Module) -> dict[str, Any]:
    """Per layer: contraction, degree by degree and order by order, and its mixing."""
    found = {}
    for i, product in enumerate(root.children("products")):
        contraction = {
            str(ell): {str(nu): w for nu, (w, _) in orders.items()}
            for ell, orders in contractions(product).items()
        }
        mixing = by_degree(linear(product.child("linear")))
        found[str(i)] = {"contraction": contraction, "linear": mixing}
    return found
