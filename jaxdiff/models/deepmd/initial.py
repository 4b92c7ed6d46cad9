"""A DeepPot-SE model from scratch: random weights, statistics of the frames."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import Field

from jaxdiff.io.frame import Frame
from jaxdiff.io.trainfile import ScratchSection
from jaxdiff.models.deepmd import environment
from jaxdiff.models.deepmd.architecture import Architecture, Layer
from jaxdiff.models.deepmd.model import DeepPot
from jaxdiff.models.deepmd.network import activation
from jaxdiff.neighbors import neighbor_rows

SMALLEST_DEVIATION = 1e-2
_FRAMES = 64  # for statistics, spread over all
_MORE_PLACES, _PLACES_STEP = 1.1, 4  # as "auto:1.1" of DeePMD-kit


class Scratch(ScratchSection, extra="forbid"):
    """The architecture of a DeepPot-SE model, in the section [scratch] of a run file.

    Keys as DeePMD-kit's; the defaults are those that its publications have most often.
    """

    smooth_from_angstrom: float = Field(default=0.5, gt=0)
    """Where the switch of the descriptor begins."""
    selection: dict[str, int] | None = Field(None, examples=[{"Li": 60, "F": 60}])
    """Places for neighbours, by symbol; left out: a tenth more than the frames have at
    most.
    """
    neuron: list[int] = Field(default=[25, 50, 100], min_length=1)
    """Widths of the layers of the embedding net."""
    axis_neuron: int = Field(default=16, ge=1)
    """Columns of the embedding that the descriptor is contracted with."""
    type_one_side: bool = True
    """One embedding net for each kind of neighbour, not for each pair of kinds."""
    fitting_neuron: list[int] = Field(default=[240, 240, 240], min_length=1)
    """Widths of the layers of the fitting net."""
    activation_function: str = "tanh"
    """Of all nets, as DeePMD-kit names them."""
    resnet_dt: bool = True
    """Trainable time steps in the fitting net's skip connections."""


def from_scratch(
    section: Scratch,
    key: jax.Array,
    frames: Sequence[Frame],
    *,
    atomic_numbers: tuple[int, ...],
    head: str,
    atomic_energies: Float[np.ndarray, "heads species"],
    scale: float,
    shift: float,
    dtype: Any,
) -> DeepPot:
    """Weights drawn as DeePMD-kit draws them, mean and deviation of rows of the frames.

    The energy starts at `shift`, by the last biases; `scale` and the name of the head have
    no place in the model.
    """
    arch = _architecture(section, atomic_numbers)
    total, square, count, most = _sums(arch, frames)
    selection = _selection(section, arch, most)
    mean, deviation = _statistics(total, square, count * sum(selection))
    n_species = len(atomic_numbers)
    embedded, seen = section.neuron[-1], section.neuron[-1] * section.axis_neuron
    pairs = (n_species,) * (1 if section.type_one_side else 2)
    widths = (1, *section.neuron), (seen, *section.fitting_neuron, 1)
    keys = jax.random.split(key)
    weights = {
        "embedding": _network(keys[0], pairs, widths[0], False, dtype),
        "fitting": _network(keys[1], pairs[:1], widths[1], section.resnet_dt, dtype),
    }
    last = weights["fitting"][str(len(section.fitting_neuron))]
    last["bias"] = jnp.full_like(last["bias"], shift)
    constants = {
        "energies": np.asarray(atomic_energies, np.float64),
        "mean": jnp.asarray(mean, dtype),
        "deviation": jnp.asarray(deviation, dtype),
        "absent": jnp.zeros((n_species, 4, embedded), dtype),
    }
    arch = replace(arch, selection=selection, places=sum(selection))
    return DeepPot(weights, constants, arch)


def _architecture(section: Scratch, atomic_numbers: tuple[int, ...]) -> Architecture:
    """All but the places for neighbours, of which there is one of each species."""
    activation(section.activation_function)
    if section.smooth_from_angstrom >= section.cutoff_angstrom:
        raise ValueError(
            f"scratch.smooth_from_angstrom = {section.smooth_from_angstrom:g} must be less "
            f"than cutoff_angstrom = {section.cutoff_angstrom:g}."
        )
    if section.axis_neuron > section.neuron[-1]:
        raise ValueError(
            f"scratch.axis_neuron = {section.axis_neuron} must be at most the last of "
            f"neuron = {section.neuron}."
        )
    layer = Layer(section.activation_function.lower(), True)
    return Architecture(
        atomic_numbers=atomic_numbers,
        cutoff=section.cutoff_angstrom,
        smooth_from=section.smooth_from_angstrom,
        selection=(1,) * len(atomic_numbers),
        places=len(atomic_numbers),
        one_sided=section.type_one_side,
        axis=section.axis_neuron,
        embedding=(layer,) * len(section.neuron),
        fitting=(*(layer,) * len(section.fitting_neuron), Layer("none", False)),
    )


def _network(key, leading, widths, steps: bool, dtype) -> dict[str, dict[str, jax.Array]]:
    """Matrices of variance 1 / (in + out), biases of 1, steps of 0.1 where widths fit."""
    weights = {}
    for n, (width_in, width) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        own = jax.random.split(jax.random.fold_in(key, n), 3)
        matrix = jax.random.normal(own[0], (*leading, width_in, width), dtype)
        bias = jax.random.normal(own[1], (*leading, width), dtype)
        weights[str(n)] = {"matrix": matrix / (width_in + width) ** 0.5, "bias": bias}
        if steps and width in (width_in, 2 * width_in) and n < len(widths) - 2:
            step = 0.1 + 0.001 * jax.random.normal(own[2], bias.shape, dtype)
            weights[str(n)]["step"] = step
    return weights


def _sums(arch: Architecture, frames: Sequence[Frame]):
    """By centre: sums of rows and of their squares [Z, 2] (radial, one of x, y, z), and
    atoms [Z]; and the most neighbours of each species [Z]."""
    n_species = len(arch.atomic_numbers)
    total, square = np.zeros((2, n_species, 2))
    count, most = np.zeros(n_species), np.zeros(n_species, int)
    for frame in frames[:: -(-len(frames) // _FRAMES)]:
        kind = np.array([arch.atomic_numbers.index(int(z)) for z in frame.atomic_number])
        sender, shift = neighbor_rows(
            frame.position, frame.cell, arch.cutoff, tuple(frame.pbc.tolist())
        )
        used = sender < len(kind)
        sender = np.where(used, sender, 0)
        vector = frame.position[:, None] - frame.position[sender] - shift @ frame.cell
        row = np.where(used[..., None], _rows(arch, vector, used), 0.0)
        squares = row**2
        squares = np.stack([squares[..., 0], squares[..., 1:].sum(axis=-1) / 3], axis=-1)
        for k in range(n_species):
            own = kind == k
            count[k] += np.sum(own)
            total[k, 0] += row[own, :, 0].sum()
            square[k] += squares[own].sum(axis=(0, 1))
            found = np.sum(used & (kind[sender] == k), axis=1)
            most[k] = max(most[k], found.max(initial=0))
    return total, square, count, most


def _rows(arch: Architecture, vector: np.ndarray, used: np.ndarray) -> np.ndarray:
    safe = np.where(used[..., None], vector, arch.cutoff)
    with jax.enable_x64(True):
        return np.asarray(environment.rows(arch, jnp.asarray(safe))[1])


def _statistics(total, square, places):
    """Mean and deviation of rows, empty ones too, [Z, Z, 4], equal for all neighbours."""
    n_species = len(total)
    mean = total / places[:, None]
    spread = np.sqrt(np.maximum(square / places[:, None] - mean**2, 0.0))
    spread = np.maximum(spread, SMALLEST_DEVIATION)
    mean, spread = (x[:, [0, 1, 1, 1]][:, None] for x in (mean, spread))
    return (np.broadcast_to(x, (n_species, n_species, 4)) for x in (mean, spread))


def _selection(section: Scratch, arch: Architecture, most: np.ndarray) -> tuple[int, ...]:
    symbols = [ase.data.chemical_symbols[z] for z in arch.atomic_numbers]
    if section.selection is None:
        places = np.ceil(_MORE_PLACES * most / _PLACES_STEP).astype(int) * _PLACES_STEP
        return tuple(np.maximum(places, _PLACES_STEP).tolist())
    if set(section.selection) != set(symbols):
        raise ValueError(
            f"scratch.selection names {', '.join(section.selection)}, and the frames have "
            f"{', '.join(symbols)}; give a number for each of these."
        )
    return tuple(section.selection[symbol] for symbol in symbols)
