"""How a run was made, for the report: from the series and the provenance in it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdiff.analysis.series import Series
from jaxdiff.io.provenance import units_of
from jaxdiff.io.shown import counted
from jaxdiff.md import integrators
from jaxdiff.report.document import Block, Code, Heading, Table, Text

_WORDS = {
    "thermostat": "thermostat of the production",
    "precision": "precision of the model",
    "matmul_precision": "precision of matrix products",
    "device": "device",
    "n_devices": "devices",
    "group_size": "replicas computed at once",
    "replica_bytes": "memory per replica (MB)",
    "working_bytes": "additional memory per group (MB)",
    "neighbor_capacity": "capacity of a neighbour list",
    "xla_flags": "XLA flags",
    "model": "model",
    "evaluator": "evaluator of the model",
    "self_check": "difference from the plain evaluator",
    "added": "terms added to the energy of the model",
}


def settings(series: Series) -> dict[str, Any]:
    """What was run, and how, by name; of a campaign's units, as the first has it."""
    units = units_of(series.provenance)
    first = units[0] if units else {}
    return {
        "status": series.status,
        "n_replicas": len(series.temperature),
        "n_units": len(units) if _is_campaign(series) else 1,
        "frame_ps": series.frame_ps,
        "dwell_frames": series.dwell_frames,
        "core_radius_angstrom": series.core_radius,
        "lattice_constant_angstrom": _shared(series.lattice_constant),
        "mobile": series.mobile,
        "formula": series.formula,
        "network": series.network.title,
        "supercell": series.supercell.matrix,
        "n_mobile": series.n_mobile,
        "n_anion": series.n_anion,
        **{name: first[name] for name in _WORDS if name in first},
    }


def provenance(series: Series) -> Any:
    """As it was written: an object, or of a campaign a list of them."""
    try:
        return json.loads(series.provenance)
    except json.JSONDecodeError:
        return {"text": series.provenance}


def source(series: Series) -> list[Block]:
    """Settings, provenance and run file."""
    units = units_of(series.provenance)
    rows = [
        (_WORDS[name], _shown(name, units)) for name in _WORDS if name in (units or [{}])[0]
    ]
    table: list[Block] = []
    if rows:
        table = [Heading("Settings"), Table(("setting", "value"), rows, numbers=False)]
    if _is_campaign(series):
        said = f"A campaign of {counted(len(units), 'unit')}: what is shown is the first, "
        table.append(Text(f"{said}all are in report.json."))
    shown = units[0] if _is_campaign(series) and units else provenance(series)
    return [
        *table,
        Heading("Provenance"),
        Code(json.dumps(shown, indent=2), "json"),
        Text("Run file:"),
        Code(series.run_file, "toml"),
    ]


def _is_campaign(series: Series) -> bool:
    return isinstance(provenance(series), list)


def _shown(name: str, units: Sequence[Mapping[str, Any]]) -> str:
    """The value of the first unit, and that others have another one if they do."""
    if name == "self_check":
        return _largest([u.get(name) or {} for u in units])
    first = _text(name, units[0][name])
    others = sorted({_text(name, u.get(name)) for u in units} - {first})
    return f"{first} (other units: {'; '.join(others)})" if others else first


def _largest(checks: Sequence[Mapping[str, Any]]) -> str:
    """Differences of the unit that comes nearest to what is allowed."""
    compared = [check for check in checks if "allowed" in check]
    if not compared:
        return f"not compared: {checks[0].get('not_compared', 'not known')}"
    names = ("energy_ev_per_atom", "force_ev_per_angstrom", "stress_gpa")

    def nearness(check: Mapping[str, Any]) -> float:
        pairs = zip(names, check["allowed"], strict=True)
        return max(check[name] / most for name, most in pairs)

    return str(max(compared, key=nearness)["in_words"])


def _text(name: str, value: Any) -> str:
    if value in (None, ""):
        return "none" if name == "xla_flags" else "not known"
    if name.endswith("_bytes"):
        return f"{value / 1e6:.3g}"
    return integrators.title(str(value)) if name == "thermostat" else str(value)


def _shared(value: Float[np.ndarray, " replicas"]) -> float | None:
    """The value that all replicas have; None if they differ, and the rows say it."""
    return float(value[0]) if (value == value[0]).all() else None
