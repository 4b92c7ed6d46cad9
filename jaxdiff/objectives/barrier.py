"""Barriers of named paths, and their gradient with respect to the force field.

At a stationary point the energy does not change to first order with the positions, so the
derivative of a barrier is that of the two energies at fixed positions (envelope theorem):

    d(E_saddle - E_minimum)/d theta = dE/d theta (x_saddle) - dE/d theta (x_minimum)

No search is differentiated. What is neglected is the residual force times dx/d theta, so
both points must be converged.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.models.contract import Model
from jaxdiff.objectives.band import Band, find_band, idpp
from jaxdiff.objectives.following import pushed, saddle_beside, ways_down
from jaxdiff.objectives.paths import Path
from jaxdiff.objectives.relax import Relaxed, minimum_on
from jaxdiff.objectives.saddle import Modes, lowest_modes, polish
from jaxdiff.objectives.surface import Surface, Weights, evaluate, hessian_product


class SearchFailed(ValueError):
    """A path without a barrier: what went wrong, and what to do.

    `band`: how far the search came, where there was a band.
    """

    def __init__(self, message: str, band: Band | None = None):
        super().__init__(message)
        self.band = band


@dataclasses.dataclass(frozen=True)
class Settings:
    """How hard a search tries.

    - `n_images`: inner images of a band.
    - `end_force`, `band_force`, `saddle_force`: largest forces, eV/Å, at the ends, of the
      band, and at the saddle.
    - `max_steps`: of each of the relaxations.
    - `rattle`: displacements of the first path's inner images, Å, drawn with `seed`: a path
      along a mirror plane would never leave it, though a lower one lies beside it.
    """

    n_images: int = 7
    end_force: float = 1e-3
    band_force: float = 0.02
    saddle_force: float = 1e-3
    max_steps: int = 400
    rattle: float = 0.05
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Barrier:
    """A path over a saddle: its band, its two minima and the saddle between them.

    - `modes`: the two lowest of the saddle; exactly one is negative.
    - `end_modes`: the two lowest of each end; none is negative.
    """

    band: Band
    start: Relaxed
    end: Relaxed
    saddle: Relaxed
    modes: Modes
    end_modes: tuple[Modes, ...] = ()

    @property
    def forward_ev(self) -> float:
        """From the start, eV."""
        return float(self.saddle.energy - self.start.energy)

    @property
    def backward_ev(self) -> float:
        """From the end, eV."""
        return float(self.saddle.energy - self.end.energy)

    @property
    def force_calls(self) -> int:
        """Of minima and band, each image counted."""
        n_inner = len(self.band.energy) - 2
        calls = self.start.steps + self.end.steps + n_inner * self.band.steps
        return int(calls)


_SAME = 0.1  # Å: ends nearer than this in their largest atomic displacement are one
_FALLS = 3  # times that an end is pushed off a saddle
_DIP = 0.005  # eV: an inner image so far below both neighbours lies in a minimum


def find_barrier(
    model: Model,
    surface: Surface,
    path: Path,
    settings: Settings = Settings(),  # noqa: B008
) -> Barrier:
    """Relax both ends to minima, find the band between them, polish its highest image.

    An end that lies on a saddle is pushed off it. Raises `SearchFailed` where there is no
    such barrier; the sentence says why.
    """
    ends = _relaxed_ends(model, surface, path, settings)
    first, last = (
        _minimum(model, surface, path, settings, name, end)
        for name, end in zip(("start", "end"), ends, strict=True)
    )
    (start, start_modes), (end, end_modes) = first, last
    _check_apart(path, start, end)
    position = idpp(start.position, end.position, settings.n_images, surface.cell)
    noise = jax.random.normal(jax.random.key(settings.seed), position[1:-1].shape)
    position = position.at[1:-1].add(settings.rattle * noise)
    for again in (True, False):
        given = (surface, model, position, settings.band_force, settings.max_steps)
        band = _search_band(*given)
        _check_band(band, path, settings)
        try:
            saddle, modes = _top(model, surface, band, settings)
        except ValueError as error:
            raise SearchFailed(f"{path.name}: {error}", band) from error
        if modes.n_negative == 1:
            break
        position = _through_saddle(
            model, surface, path, settings, band, saddle, modes, again
        )
    return Barrier(band, start, end, saddle, modes, (start_modes, end_modes))


@jax.jit
def _search_band(surface, model, path, largest_force, max_steps):
    return find_band(
        partial(surface.energy_and_force, model),
        path,
        largest_force=largest_force,
        max_steps=max_steps,
    )


def _top(
    model: Model, surface: Surface, band: Band, settings: Settings
) -> tuple[Relaxed, Modes]:
    """The saddle next to the highest image, and its modes."""
    product = partial(hessian_product, surface, model)
    saddle = polish(
        partial(evaluate, surface, model),
        product,
        band.position[jnp.argmax(band.energy)],
        largest_force=settings.saddle_force,
    )
    return saddle, lowest_modes(product, saddle.position, surface.mass)


def _minimum(
    model: Model,
    surface: Surface,
    path: Path,
    settings: Settings,
    name: str,
    end: Relaxed,
) -> tuple[Relaxed, Modes]:
    """An end and its lowest modes, pushed off the saddles that it may have stopped on.

    No further than half the jump: there it is another site.
    """
    relaxed, reach = end, _largest(path.first - path.last) / 2
    product = partial(hessian_product, surface, model)
    modes, falls = lowest_modes(product, end.position, surface.mass), 0
    while modes.n_negative and falls < _FALLS:
        place = pushed(end.position, modes, surface.mass, 0)
        end = minimum_on(surface, model, place, settings.end_force, settings.max_steps)
        _check_end(path, settings, name, end)
        fallen = _largest(end.position - relaxed.position)
        if fallen > reach:
            raise SearchFailed(
                f"{path.name}: the {name} is no minimum: pushed along its imaginary mode "
                f"of {modes.frequency_thz[0]:.2f} THz it falls to another one, "
                f"{float(relaxed.energy - end.energy):.3f} eV lower, where an atom is "
                f"{fallen:.2f} Å away. Try another lattice constant, a larger cell or "
                "another model."
            )
        modes, falls = lowest_modes(product, end.position, surface.mass), falls + 1
    if modes.n_negative == 0:
        return end, modes
    found = ", ".join(f"{f:.2f}" for f in modes.frequency_thz)
    raise SearchFailed(
        f"{path.name}: the {name} is no minimum: its lowest frequencies are {found} THz "
        f"(negative: imaginary), also after it was pushed along them {_FALLS} times. Try "
        "another lattice constant, a larger cell or another model."
    )


def _through_saddle(
    model: Model,
    surface: Surface,
    path: Path,
    settings: Settings,
    band: Band,
    top: Relaxed,
    modes: Modes,
    again: bool,
) -> Float[Array, "images atoms 3"]:
    """A path through the saddle beside a top with several ways down, where it joins both
    ends; else the reason why this is no jump.
    """
    found = ", ".join(f"{f:.2f}" for f in modes.frequency_thz)
    text = (
        f"{path.name}: the top of the path, {float(top.energy - band.energy[0]):.3f} eV "
        f"above the start, has the lowest frequencies {found} THz (negative: imaginary), "
        "and a saddle has exactly one imaginary"
    )
    leads = ""
    for sign in (1, -1) if again else ():
        try:
            saddle, beside = saddle_beside(
                model, surface, top, modes, settings.saddle_force, sign
            )
            given = (model, surface, saddle, beside, settings.end_force)
            down = ways_down(*given, settings.max_steps)
        except ValueError:
            continue
        first, last = band.position[0], band.position[-1]
        joined = [_joined(x.position, first, last) for x in down]
        if set(joined) == {"start", "end"}:
            return _bent(first, saddle.position, last, settings.n_images, surface)
        other = "two other minima" if not any(joined) else "an end to another minimum"
        leads = f"{float(saddle.energy - band.energy[0]):.3f} eV above the start, {other}"
    if not leads:
        text += "; the atoms go another way. Use more images, or another path."
        raise SearchFailed(text, band)
    raise SearchFailed(
        f"{text}; the saddle beside it joins, {leads}. This is not one jump: give the path "
        "to that minimum.",
        band,
    )


def _joined(minimum, start, end) -> str:
    """Which of the ends a minimum is, if any."""
    for name, other in (("start", start), ("end", end)):
        if _largest(minimum - other) < _SAME:
            return name
    return ""


def _bent(start, middle, end, n_images: int, surface: Surface) -> jax.Array:
    """A path of so many inner images through a point between its ends."""
    n = (n_images + 1) // 2
    before = idpp(start, middle, n - 1, surface.cell)
    after = idpp(middle, end, n_images - n, surface.cell)
    return jnp.concatenate([before[:-1], after])


def _relaxed_ends(
    model: Model, surface: Surface, path: Path, settings: Settings
) -> tuple[Relaxed, Relaxed]:
    positions = jnp.stack([path.first, path.last])
    search = jax.vmap(minimum_on, (None, None, 0, None, None))
    both = search(surface, model, positions, settings.end_force, settings.max_steps)
    start, end = (jax.tree.map(lambda x, k=k: x[k], both) for k in (0, 1))
    for name, found in (("start", start), ("end", end)):
        _check_end(path, settings, name, found)
    return start, end


def _check_end(path: Path, settings: Settings, name: str, found: Relaxed) -> None:
    if not np.isfinite(float(found.energy)):
        raise SearchFailed(
            f"{path.name}: the energy of the {name} is not a number: atoms came so close "
            "that neighbours find no room. Try another lattice constant or model."
        )
    if not found.converged:
        raise SearchFailed(
            f"{path.name}: the {name} has forces up to "
            f"{float(found.largest_force):.2g} eV/Å after {settings.max_steps} steps, and "
            f"{settings.end_force} is asked for; allow more steps."
        )


def _check_apart(path: Path, start: Relaxed, end: Relaxed) -> None:
    apart = _largest(start.position - end.position)
    if apart < _SAME:
        raise SearchFailed(
            f"{path.name}: both ends relax to the same minimum ({apart:.3f} Å apart); this "
            "model has no such pair of minima."
        )


def _largest(displacement: Float[Array, "atoms 3"]) -> float:
    """Length of the largest displacement of an atom, Å."""
    return float(np.linalg.norm(np.asarray(displacement), axis=1).max())


def _check_band(band: Band, path: Path, settings: Settings) -> None:
    if not np.all(np.isfinite(np.asarray(band.energy))):
        raise SearchFailed(
            f"{path.name}: an energy of the band is not a number: atoms came so close that "
            "neighbours find no room. Use more images.",
            band,
        )
    energy = np.asarray(band.energy)
    depth = np.minimum(energy[:-2], energy[2:]) - energy[1:-1]
    if depth.max() > _DIP:
        raise SearchFailed(
            f"{path.name}: image {int(depth.argmax()) + 1} of the band lies "
            f"{depth.max():.3f} eV below its neighbours, in a minimum between the ends: "
            "this is a chain of jumps, not one. Look for each of them.",
            band,
        )
    if not band.converged:
        raise SearchFailed(
            f"{path.name}: the band has forces up to {float(band.largest_force):.2g} eV/Å "
            f"after {settings.max_steps} steps a stage, and {settings.band_force} is asked "
            "for; allow more steps, or larger forces.",
            band,
        )
    if int(jnp.argmax(band.energy)) in (0, len(band.energy) - 1):
        raise SearchFailed(
            f"{path.name}: no image lies higher than both ends: there is no barrier "
            "between them.",
            band,
        )


def energy_gap(
    model: Model,
    surface: Surface,
    saddle: Float[Array, "atoms 3"],
    minimum: Float[Array, "atoms 3"],
) -> Float[Array, ""]:
    """E(saddle) - E(minimum), eV, at fixed positions: its gradient is the barrier's."""
    points = jax.lax.stop_gradient(jnp.stack([saddle, minimum]))
    # mapped, so that the model is compiled once for both
    high, low = jax.lax.map(lambda x: surface.energy(model, x), points)
    return high - low


def barrier_gradient(
    model: Model,
    surface: Surface,
    saddle: Float[Array, "atoms 3"],
    minimum: Float[Array, "atoms 3"],
) -> tuple[Float[Array, ""], Weights]:
    """The barrier, eV, and its derivative over every weight, as `model.weights`."""

    def gap(weights):
        trial = dataclasses.replace(model, weights=weights)
        return energy_gap(trial, surface, saddle, minimum)

    return jax.value_and_grad(gap)(model.weights)


def barrier_direction(
    model: Model,
    surface: Surface,
    saddle: Float[Array, "atoms 3"],
    minimum: Float[Array, "atoms 3"],
) -> Weights:
    """The barrier's gradient, so scaled that a unit of it changes the barrier by 1 eV."""
    _, gradient = barrier_gradient(model, surface, saddle, minimum)
    square = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(gradient))
    return jax.tree.map(lambda leaf: leaf / square, gradient)
