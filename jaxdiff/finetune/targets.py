"""Targets of training beside labelled frames: a barrier, an Ea, a diffusivity.

The loss of a target is its weight times ((value - goal) / uncertainty)^2. Its derivative is
that of energies at the stationary points, which the envelope theorem makes that of the
barrier; the points are found anew at the start of every epoch, from where they were. The
prefactors of a diffusivity are made anew with them, and their derivative is left out: it
changes the way to the goal, not the goal.
"""

import dataclasses
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxdiff import units
from jaxdiff.io import durable
from jaxdiff.io.trainfile import TargetSection
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.models.contract import Model
from jaxdiff.objectives import harmonic, paths
from jaxdiff.objectives.barrier import (
    SearchFailed,
    Settings,
    energy_gap,
    find_barrier,
)
from jaxdiff.objectives.harmonic import Jumps
from jaxdiff.objectives.saddle import lowest_modes, polish
from jaxdiff.objectives.surface import Surface, evaluate, hessian_product, make_surface
from jaxdiff.potential import cast

FOLDER = "targets"
"""Of a run: stationary points, a file for each of the last two epochs."""

_FORCE = Settings().saddle_force


@struct.dataclass
class Target:
    """A number that a model should have, and the points that it is computed from.

    - `saddle`, `minimum` [paths, atoms, 3], Å; `log_prefactor` [paths], of THz.
    - `section`: of the run file, with goal, uncertainty and weight; static.
    """

    surface: Surface
    saddle: Float[Array, "paths atoms 3"]
    minimum: Float[Array, "paths atoms 3"]
    log_prefactor: Float[Array, " paths"]
    section: TargetSection = struct.field(pytree_node=False)

    def value(self, model: Model) -> Float[Array, ""]:
        """What the model has: eV, or ln of cm²/s; differentiable over its weights."""
        gaps = jax.lax.map(
            lambda ends: energy_gap(model, self.surface, *ends), (self.saddle, self.minimum)
        )
        if self.section.kind == "barrier":
            return gaps[0]
        section = self.section
        jumps = Jumps.of(ROCK_SALT, section.paths, section.lattice_constant_angstrom)
        assert self.section.temperature_kelvin is not None  # the run file's check
        log_rate = self.log_prefactor - gaps / (units.KB * self.section.temperature_kelvin)
        if self.section.kind == "activation_energy":
            return jumps.activation_energy(log_rate, gaps)
        return jumps.log_diffusivity(log_rate)


Targets = tuple[Target, ...]


def target_loss(model: Model, targets: Targets) -> Float[Array, ""]:
    """Sum of the losses of all targets."""
    total = jnp.zeros(())
    for target in targets:
        section = target.section
        score = (target.value(model) - section.goal) / section.uncertainty
        total = total + section.weight * score**2
    return total


def departure(model: Model, start: Model) -> Float[Array, ""]:
    """How far weights are from the start: mean square of the change of each array over the
    array's own, summed over arrays (L2-SP, doi:10.48550/arXiv.1802.01483, per scale)."""

    def of(now, before):
        return jnp.mean((now - before) ** 2) / jnp.maximum(jnp.mean(before**2), 1e-12)

    parts = jax.tree.map(of, model.weights, start.weights)
    return sum(jax.tree.leaves(parts), jnp.zeros(()))


def find_targets(model: Model, sections: Sequence[TargetSection]) -> Targets:
    """Search for the paths of all targets. Raises `SearchFailed` where one has none."""
    return tuple(_found(cast(model, jnp.float64), section) for section in sections)


def refreshed(model: Model, targets: Targets) -> Targets:
    """The same targets at the stationary points of this model.

    Newton steps from where the points were; where these do not arrive, or not at a saddle,
    the path is searched from its beginning.
    """
    model = cast(model, jnp.float64)
    return tuple(_moved(model, target) for target in targets)


def _found(model: Model, section: TargetSection) -> Target:
    ways = [
        paths.lithium_path(name, section.supercell, section.lattice_constant_angstrom)
        for name in section.paths
    ]
    surface = make_surface(model, ways[0].system)
    found = [find_barrier(model, surface, way, Settings()) for way in ways]
    target = Target(
        surface=surface,
        saddle=jnp.stack([barrier.saddle.position for barrier in found]),
        minimum=jnp.stack([barrier.start.position for barrier in found]),
        log_prefactor=jnp.zeros(len(found)),
        section=section,
    )
    return _with_prefactors(model, target)


def _moved(model: Model, target: Target) -> Target:
    product = partial(hessian_product, target.surface, model)
    force = partial(evaluate, target.surface, model)
    try:
        saddle, minimum = (
            [polish(force, product, x, largest_force=_FORCE).position for x in points]
            for points in (target.saddle, target.minimum)
        )
    except ValueError:
        return _found(model, target.section)
    for n_negative, points in ((1, saddle), (0, minimum)):
        for point in points:
            modes = lowest_modes(product, point, target.surface.mass)
            if modes.n_negative != n_negative:
                return _found(model, target.section)
    moved = dataclasses.replace(
        target, saddle=jnp.stack(saddle), minimum=jnp.stack(minimum)
    )
    return _with_prefactors(model, moved)


def _with_prefactors(model: Model, target: Target) -> Target:
    """Prefactors where the value depends on them."""
    section = target.section
    if section.kind == "barrier":
        return target
    logs = []
    for name, saddle, minimum in zip(
        section.paths, target.saddle, target.minimum, strict=True
    ):
        atoms = None
        if section.radius_angstrom is not None:
            ends = minimum, 2 * saddle - minimum  # about where the jump ends
            atoms = harmonic.atoms_around(target.surface, *ends, section.radius_angstrom)
        try:
            rate = harmonic.harmonic_rate(model, target.surface, saddle, minimum, atoms)
        except ValueError as error:
            raise SearchFailed(f"{name}: {error}") from error
        logs.append(np.log(rate.prefactor_thz))
    return dataclasses.replace(target, log_prefactor=jnp.asarray(logs))


def of_epoch(
    directory: Path, epoch: int, model: Model, sections: Sequence[TargetSection]
) -> Targets:
    """The targets as training has them in an epoch, counted from 0.

    Kept in `FOLDER`, so that a restart within the epoch has the same points.
    """
    if not sections:
        return ()
    here = directory / FOLDER / f"{epoch}.npz"
    if here.exists():
        return _read(here, model, sections)
    before = directory / FOLDER / f"{epoch - 1}.npz"
    if before.exists():
        targets = refreshed(model, _read(before, model, sections))
    else:
        targets = find_targets(model, sections)
    _write(here, targets)
    (directory / FOLDER / f"{epoch - 2}.npz").unlink(missing_ok=True)
    return targets


def outcome(
    directory: Path, model: Model, sections: Sequence[TargetSection]
) -> dict[str, dict[str, float]]:
    """Value, goal and uncertainty of each target after training, at this model's points.

    `change_of_points`: what moving to them changed, which says how well the points of the
    last epoch were this model's.
    """
    if not sections:
        return {}
    last = max((directory / FOLDER).glob("*.npz"), key=lambda path: int(path.stem))
    before = _read(last, model, sections)
    found = {}
    for old, new in zip(before, refreshed(model, before), strict=True):
        value = float(new.value(model))
        found[new.section.name] = {
            "value": value,
            "goal": new.section.goal,
            "uncertainty": new.section.uncertainty,
            "change_of_points": value - float(old.value(model)),
        }
    return found


_POINTS = ("saddle", "minimum", "log_prefactor")


def _write(path: Path, targets: Targets) -> None:
    arrays: dict[str, Any] = {
        f"{number}.{name}": np.asarray(getattr(target, name))
        for number, target in enumerate(targets)
        for name in _POINTS
    }
    content = io.BytesIO()
    np.savez(content, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(path, content.getvalue())


def _read(path: Path, model: Model, sections: Sequence[TargetSection]) -> Targets:
    targets = []
    with np.load(path) as arrays:
        for number, section in enumerate(sections):
            points = {name: jnp.asarray(arrays[f"{number}.{name}"]) for name in _POINTS}
            way = paths.lithium_path(
                section.paths[0], section.supercell, section.lattice_constant_angstrom
            )
            surface = make_surface(model, way.system)
            targets.append(Target(surface=surface, section=section, **points))
    return tuple(targets)
