"""What fills the sites of a run: the symbol of what moves, the formula of the crystal."""

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Int

from jaxdiff.lattice.supercell import Supercell


def species(
    supercell: Supercell,
    atomic_number: Int[np.ndarray, " atoms"],
    is_mobile: Bool[np.ndarray, " atoms"],
) -> dict[str, str]:
    """`mobile` and `formula`, of the perfect crystal, as attributes of a series.

    The formula has the smallest whole numbers, mobile atoms first, then the host's by
    symbol. Either is empty where several elements move.
    """
    mobile = {chemical_symbols[z] for z in atomic_number[is_mobile]}
    if len(mobile) != 1:
        return {"mobile": "", "formula": ""}
    host, count = np.unique(atomic_number[~is_mobile], return_counts=True)
    part = {chemical_symbols[z]: int(n) for z, n in zip(host, count, strict=True)}
    common = np.gcd.reduce([supercell.n_lattice, *part.values()])
    symbols = [(*mobile, supercell.n_lattice), *sorted(part.items())]
    words = [f"{s}{n // common if n != common else ''}" for s, n in symbols]
    return {"mobile": mobile.pop(), "formula": "".join(words)}
