"""Does the program of a run say what the plain evaluator says of its first configuration?

The plain evaluator computes in float64, on the CPU, with neighbours that the host has
found, so that a fault of a device, of an evaluator or of the lists does not go unnoticed.
The atoms of the first configuration are moved a little first: in a perfect crystal all
forces vanish, right or wrong. Nothing of this enters the run.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff import md, neighbors, units
from jaxdiff.calculator import model_input
from jaxdiff.models.contract import Model, cast
from jaxdiff.models.evaluators import PLAIN
from jaxdiff.potential import predict, with_terms
from jaxdiff.runs import memory
from jaxdiff.runs.build import Ensemble, with_plain
from jaxdiff.system import to_ase

TOLERANCE = 1e-4
"""Allowed of the energy, eV per atom, and of forces, eV/Å, or this part of the largest
force where that is above 1 eV/Å; of the stress a hundred times as much, GPa."""
OF_TABLES = 100.0
"""Or so many times the tolerance of tabulated radial functions, where that is more: ten
times as much as forces were seen to differ (docs/performance.md)."""
MOVED = 0.02  # Å, by which atoms are moved along each axis, as a standard deviation
_ROOM = 0.5  # of the memory of the machine


@dataclass(frozen=True)
class SelfCheck:
    """Differences between a run's program and the plain evaluator, and what is allowed.

    - `energy_ev_per_atom`, `force_ev_per_angstrom` (the largest of all components),
      `stress_gpa` (the same).
    - `allowed`: the same, in the order of the fields above.
    - `seconds`: CPU time of the plain evaluator, compilation included.
    """

    energy_ev_per_atom: float
    force_ev_per_angstrom: float
    stress_gpa: float
    allowed: tuple[float, float, float]
    seconds: float = 0.0

    @property
    def found(self) -> tuple[float, float, float]:
        """The three differences."""
        return self.energy_ev_per_atom, self.force_ev_per_angstrom, self.stress_gpa

    @property
    def passed(self) -> bool:
        """Whether all are within what is allowed; what is not a number is not."""
        return all(x <= most for x, most in zip(self.found, self.allowed, strict=True))

    def __str__(self) -> str:
        """The differences with what is allowed, in words."""
        named = zip(self.found, self.allowed, ("eV per atom", "eV/Å", "GPa"), strict=True)
        return ", ".join(f"{x:.1e} {unit} (allowed {most:.0e})" for x, most, unit in named)


def settled(
    ensemble: Ensemble,
    conditions: md.Conditions,
    state: md.EnsembleState,
    say: Callable[[str], None],
) -> tuple[Ensemble, dict[str, Any]]:
    """The ensemble to run, compared with the plain evaluator; and what was found.

    Where they differ too much, an error, or the same ensemble with the plain evaluator, as
    the run file tells. Nothing where the force field is no model.
    """
    if ensemble.potential.model is None:
        return ensemble, {}
    name, model = _name(ensemble), ensemble.run.model
    found = compare(ensemble, ensemble.potential.model, conditions, state)
    if isinstance(found, str):
        say(f"Self-check: nothing was compared, for {found}.")
        return ensemble, {"not_compared": found}
    said = f"{name} in {model.precision} differs from plain in float64 by {found}"
    say(f"Self-check of the evaluator: {said}; {found.seconds} s of CPU time.")
    if found.passed:
        return ensemble, {**asdict(found), "in_words": str(found)}
    if name == PLAIN.name:
        raise ValueError(
            f"model.evaluator: {said}, in the first configuration; this device does not "
            'compute as it should: use model.precision = "float64", or another device.'
        )
    if model.if_evaluator_differs == "stop":
        raise ValueError(
            f"model.evaluator: {said}, in the first configuration; use "
            'model.evaluator = "plain", or model.if_evaluator_differs = "plain", which '
            "goes on with it where this happens."
        )
    plain = with_plain(ensemble, f"{name} differed from it by {found}")
    return settled(plain, conditions, state, say)


def compare(
    ensemble: Ensemble, model: Model, conditions: md.Conditions, state: md.EnsembleState
) -> SelfCheck | str:
    """Of the first replica that has not stopped; or why nothing was compared, in words.

    The run's own program makes one step of length zero; the plain evaluator is compiled for
    one configuration.
    """
    going = np.flatnonzero(np.asarray(state.bad_step) < 0)
    own = _of_the_run(ensemble, conditions, state, int(going[0])) if len(going) else None
    if own is None:
        return "no forces are finite"
    *place, energy, force, stress = own
    begin = time.process_time()
    reference = _plain(model, ensemble, *place)
    if isinstance(reference, str):
        return reference
    most, largest = _tolerance(ensemble), float(np.abs(reference[1]).max())
    return SelfCheck(
        abs(energy - reference[0]) / len(force),
        float(np.abs(force - reference[1]).max()),
        float(np.abs(stress - reference[2]).max() / units.GIGAPASCAL),
        (most, most * max(1.0, largest), 100 * most),
        round(time.process_time() - begin, 1),
    )


def _name(ensemble: Ensemble) -> str:
    return ensemble.potential.evaluator.partition(":")[0]


def _tolerance(ensemble: Ensemble) -> float:
    is_exact = _name(ensemble) == PLAIN.name
    tables = 0.0 if is_exact else ensemble.run.model.radial_tolerance
    return max(TOLERANCE, OF_TABLES * tables)


def _of_the_run(ensemble: Ensemble, conditions: md.Conditions, state, replica: int):
    """Position, cell, energy, forces and stress of a replica, its atoms moved.

    None where they are not finite.
    """
    motion, place = state.motion, np.array(state.motion.position)
    cell = np.asarray(motion.cell[replica])
    moved = place[replica]
    moved = moved + np.random.default_rng(0).normal(0.0, MOVED, moved.shape)
    if _has_room(ensemble, state.neighbors, moved, cell):
        place[replica] = moved
    there = replace(state, motion=replace(motion, position=jnp.asarray(place)))
    params = ensemble.potential.params
    found = md.evaluate(ensemble.run_chunk, params, conditions, there)
    if int(found.bad_step[replica]) >= 0:
        return None
    stress = np.asarray(found.strain_gradient[replica]) / abs(np.linalg.det(cell))
    force = np.asarray(found.force[replica])
    return place[replica], cell, float(found.energy[replica]), force, stress


def _has_room(ensemble: Ensemble, lists, position, cell) -> bool:
    """Whether the neighbour lists hold all pairs of these positions."""
    plan = ensemble.plan
    places = ((plan.cutoff, lists.close), (plan.cutoff + plan.skin, lists.capacity))
    return all(
        there is None
        or neighbors.neighbor_rows(position, cell, radius)[0].shape[1] <= there
        for radius, there in places
    )


def _plain(model: Model, ensemble: Ensemble, position, cell):
    """Energy, eV, forces, eV/Å, and stress, eV/Å^3; or why there are none, in words."""
    with jax.default_device(_cpu()):
        system = ensemble.systems[0]
        placed = replace(system, position=position, cell=cell, velocity=None)
        small, edges, species = model_input(cast(model, "float64"), to_ase(placed))
        volume = abs(np.linalg.det(cell))

        def energy_force_strain(model, edges, terms, position, cell):
            found = predict(model, edges.displacement, edges, jnp.asarray(species), volume)
            parts = found.energy, found.forces, found.stress * volume
            return with_terms(jax.tree.map(jnp.asarray, parts), terms, position, cell)

        given = small, edges, ensemble.potential.terms, position, cell
        given = jax.tree.map(lambda x: jax.device_put(x, _cpu()), given)
        program = jax.jit(energy_force_strain).lower(*given).compile()
        analysis = program.memory_analysis()
        needed = int(getattr(analysis, "temp_size_in_bytes", 0) or 0)
        if needed > _ROOM * memory.host_bytes():
            return (
                f"the plain evaluator needs {needed / 1e9:.1f} GB for a cell of this size"
            )
        energy, force, strain = jax.device_get(program(*given))
        return float(energy), force, strain / volume


def _cpu() -> Any:
    """The host's own device; that of the run where JAX was told to use no other."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.devices()[0]
