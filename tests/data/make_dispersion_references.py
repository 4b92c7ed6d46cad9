"""Keep what dftd3 1.7.0 computes, for where it is not installed.

    PYTHONPATH=tests python tests/data/make_dispersion_references.py

Structures are those of tests/dispersed.py, PBE, pairs alone, or three bodies up to
5.5 Å of "doped"; eV and Å.
"""

import json
from pathlib import Path

from dispersed import reference, structures, three_body_reference

FILE = Path(__file__).parent / "dispersion.json"

if __name__ == "__main__":
    kept = {}
    found = {name: reference(structures()[name]) for name in ("sheared", "ethanol")}
    found["three bodies"] = three_body_reference(structures()["doped"], 5.5)
    for name, (energy, force, strain) in found.items():
        row = {"energy": energy, "forces": force.tolist(), "strain": strain.tolist()}
        kept[name] = row
    FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
