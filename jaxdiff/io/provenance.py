"""Where a result comes from: what made it, and the SHA-256 of what it was made from."""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxdiff.io import digest

PACKAGES = (
    "jaxdiff", "jax", "jaxlib", "jax-md", "flax", "optax", "orbax-checkpoint", "numpy",
    "scipy",
)  # fmt: skip


def provenance(**more: Any) -> dict[str, Any]:
    """Versions and device of this process, and what a command knows beside them."""
    import jax

    device = jax.devices()[0]
    versions = {name: version(name) for name in PACKAGES}
    return {
        "versions": versions | {"python": platform.python_version()},
        "device": f"{device.device_kind} ({device.platform}, {platform.machine()})",
        **more,
    }


def units_of(text: str) -> list[Mapping[str, Any]]:
    """The provenance of each unit of a campaign, from the JSON of a series; or the run's.

    Empty where the text is another one.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return []
    every = found if isinstance(found, list) else [found]
    return [unit for unit in every if isinstance(unit, dict)]


def sha256(path: str | Path) -> str:
    """Of a file, or of all files of a folder in their order."""
    path = Path(path)
    if path.is_file():
        return digest.of_file(path)
    total = hashlib.sha256()
    for part in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(part.name.encode() + part.read_bytes())
    return total.hexdigest()
