"""What an integrator is: a record of pure functions of one replica, with its own state.

A step is `before_force`, up to the new positions; then their force is computed; then
`after_force`. An integrator's own state is any tree of arrays (the momenta of a chain, the
heat given so far), or an empty tuple.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.struct
from jaxtyping import Array, Float, Key

from jaxdiff.md.kinetics import Motion

BATH_NOISE, CELL_NOISE = range(2)
"""What noise is for; folded into the key of a step."""


@flax.struct.dataclass
class Bath:
    """Time step and coupling, in internal units; scalars, all traced.

    - `timestep`; `damping_time`: of the Nosé–Hoover chain (LAMMPS's Tdamp) and of
      stochastic velocity rescaling; `friction`: of Langevin dynamics, per time.
    - `pressure`, eV/Å^3: the target where the cell varies; `pressure_time`: in which it
      follows; `compressibility`, Å^3/eV: an estimate, which scales only that time.
    """

    timestep: Float[Any, ""]
    damping_time: Float[Any, ""]
    friction: Float[Any, ""]
    pressure: Float[Any, ""]
    pressure_time: Float[Any, ""]
    compressibility: Float[Any, ""]


@flax.struct.dataclass
class Given:
    """What a step of one replica cannot change.

    - `mass` [N], u; `kt` [], eV. `key`: of this step, the same before and after the force.
    """

    bath: Bath
    mass: Float[Any, " atoms"]
    kt: Float[Any, ""]
    key: Key[Any, ""]


@flax.struct.dataclass
class Heat:
    """Own state of a stochastic thermostat: the kinetic energy it has added so far, eV."""

    heat: Float[Any, "*replicas"]


BeforeForce = Callable[
    [Given, Motion, Any, Float[Array, "atoms 3"], Float[Array, "3 3"]], tuple[Motion, Any]
]
"""(given, motion, own state, force, dU/dstrain) -> motion, at the new positions, and own
state."""

AfterForce = Callable[[Given, Motion, Any, Float[Array, "atoms 3"]], tuple[Motion, Any]]
"""(given, motion, own state, force at the new positions) -> motion, own state."""

Conserved = Callable[[Given, Motion, Any, Float[Array, ""]], Float[Array, ""]]
"""(given, motion, own state, potential energy) -> what the dynamics conserve, eV; not a
number where nothing is."""


@dataclass(frozen=True)
class Integrator:
    """One way to move the atoms.

    - `name`: in run files. `title`: in reports, with its source.
    - `init`: motion -> own state at the start of a phase.
    - `varies_cell`: a barostat, chosen by `barostat.method` of a run file; the others are
      thermostats, chosen by `thermostat` of a phase.
    """

    name: str
    title: str
    init: Callable[[Motion], Any]
    before_force: BeforeForce
    after_force: AfterForce
    conserved: Conserved
    varies_cell: bool = False
