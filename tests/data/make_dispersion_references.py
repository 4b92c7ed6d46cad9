"""Keep what dftd3 1.7.0 computes, for where it is not installed.

    PYTHONPATH=tests python tests/data/make_dispersion_references.py

Structures are those of tests/dispersed.py, PBE, without three-body terms; eV and Å.
"""

import json
from pathlib import Path

from dispersed import reference, structures

FILE = Path(__file__).parent / "dispersion.json"

if __name__ == "__main__":
    kept = {}
    for name in ("sheared", "ethanol"):
        energy, force, strain = reference(structures()[name])
        row = {"energy": energy, "forces": force.tolist(), "strain": strain.tolist()}
        kept[name] = row
    FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
