"""Which energies a run file means: head, charge, multiplicity, and what is beside them."""

from typing import Any

import numpy as np

from jaxdiff.io.runfile import ForceField, ModelFile
from jaxdiff.models.contract import Model, Term
from jaxdiff.models.dispersion import CUTOFF, dispersion
from jaxdiff.system import System


def for_structures(model: Model, section: ModelFile) -> Model:
    """The model restricted to the head of the run file (exact), for its charge and spin.

    Raises `ValueError` where there are several heads and none is named, or where the model
    has no such charge or multiplicity.
    """
    try:
        return model.of_head(section.head).with_charge(section.charge, section.multiplicity)
    except ValueError as error:
        key = "model.head" if section.head or len(model.heads) > 1 else "[model]"
        raise ValueError(f"{key}: {error}") from None


def terms_of(
    section: ForceField, system: System, *, compression: float = 0.0, dtype: Any = "float64"
) -> tuple[Term, ...]:
    """Energies beside that of the model, for cells as large as that of this system.

    - `compression`: by which fraction the edges of the cell may shrink. `dtype`: to compute
      in.
    """
    if section.dispersion is None:
        return ()
    try:
        term = dispersion(
            np.asarray(system.atomic_number),
            np.asarray(system.cell),
            section.dispersion_functional or "pbe",
            cutoff=section.dispersion_cutoff_angstrom or CUTOFF,
            compression=compression,
            dtype=dtype,
        )
    except ValueError as error:
        raise ValueError(f"model.dispersion: {error}") from None
    return (term,)


def what_counts(section: ModelFile) -> dict[str, Any]:
    """Keys beside the file that decide energies, where they are not the defaults."""
    added = ("dispersion", "dispersion_functional", "dispersion_cutoff_angstrom")
    return section.model_dump(
        include={"head", "charge", "multiplicity", *added}, exclude_defaults=True
    )
