"""How annotations are checked while tests run."""

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

NUMBERS = FrozenDict(
    {
        bool: bool | np.bool_,
        int: int | np.integer,
        float: float | int | np.floating | np.integer,
    }
)
"""NumPy's scalars are numbers, and a whole number is a real one (PEP 484)."""

checked = beartype(conf=BeartypeConf(hint_overrides=NUMBERS))
