"""Make the tables of DFT-D3 that are shipped: `python tests/data/make_dispersion.py`.

Needs tad-dftd3 0.7.0 (Apache-2.0), which brings torch and is used for nothing else here:
`pip install tad-dftd3==0.7.0` in an environment of its own. Writes jaxdiff/data/dftd3.npz
and jaxdiff/data/d3bj.toml; jaxdiff/data/dftd3.md says what they hold.
"""

import tomllib
from pathlib import Path

import numpy as np
import tad_dftd3
import torch
from tad_dftd3.data import R4R2
from tad_dftd3.reference import Reference
from tad_mctc.data import radii
from tad_mctc.units.length import AA2AU

DATA = Path(__file__).parents[2] / "jaxdiff" / "data"
SOURCE = Path(tad_dftd3.__file__).parent / "param"
ELEMENTS = 103


def whole(values, decimals, dtype):
    """Numbers of so many decimals as whole numbers; an error where there are more.

    Radii were converted to bohr in single precision there, C6 and others not at all.
    """
    found = np.round(values * 10**decimals)
    np.testing.assert_allclose(found, values * 10**decimals, atol=1e-6, rtol=2e-7)
    return found.astype(dtype)


def tables():
    """As float64, each number with the decimals that were published."""
    reference = Reference(dtype=torch.float64)
    count, c6 = reference.cn.numpy(), reference.c6.numpy()
    number, which = np.nonzero(count >= 0)
    every = c6[number[:, None], number[None], which[:, None], which[None]]
    np.testing.assert_array_equal(every, every.T)
    assert every.min() > 0
    vdw = radii.VDW_PAIRWISE(dtype=torch.float64).numpy()[1:, 1:] / AA2AU
    cov = radii.COV_D3(dtype=torch.float64).numpy()[1 : ELEMENTS + 1] * 0.75 / AA2AU
    return {
        "atomic_number": number.astype(np.uint8),
        "coordination_1e4": whole(count[number, which], 4, np.int32),
        "c6_1e4": whole(every[np.triu_indices(len(number))], 4, np.int32),
        "covalent_radius_1e2": whole(cov, 2, np.int16),
        "vdw_radius_1e4": whole(vdw[np.triu_indices(ELEMENTS)], 4, np.int32),
        "moment": R4R2(dtype=torch.float64).numpy()[1 : ELEMENTS + 1],
    }


def functionals():
    """Damping parameters of every functional that has them, and other names."""
    known = tomllib.loads((SOURCE / "parameters.toml").read_text())["parameter"]
    also = tomllib.loads((SOURCE / "aliases.toml").read_text())["alias"]
    lines = ["# Becke-Johnson damping by functional; see dftd3.md", "[damping]"]
    found = {
        name: entry["d3"]["bj"] for name, entry in known.items() if "bj" in entry["d3"]
    }
    for name, row in found.items():
        numbers = {"s6": 1.0, **{k: v for k, v in row.items() if k != "doi"}}
        said = ", ".join(f"{key} = {numbers[key]}" for key in ("s6", "s8", "a1", "a2"))
        doi = f"  # doi:{row['doi']}" if "doi" in row else ""
        lines.append(f'"{name}" = {{ {said} }}{doi}')
    lines += ["", "[alias]"]
    lines += [f'"{a}" = "{b}"' for a, b in also.items() if b in found and a.isascii()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    np.savez_compressed(DATA / "dftd3.npz", **tables())
    (DATA / "d3bj.toml").write_text(functionals(), encoding="utf-8")
