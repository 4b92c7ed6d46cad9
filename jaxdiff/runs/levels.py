"""Which energies a run file means: head, charge, multiplicity, and what is beside them."""

from typing import Any

import numpy as np

from jaxdiff.io.runfile import ForceField, ModelFile
from jaxdiff.models.contract import Model, Term
from jaxdiff.models.dispersion import CUTOFF, dispersion
from jaxdiff.models.three_body import three_body
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
    number, cell = np.asarray(system.atomic_number), np.asarray(system.cell)
    try:
        pairs = dispersion(
            number,
            cell,
            section.dispersion_functional or "pbe",
            cutoff=section.dispersion_cutoff_angstrom or CUTOFF,
            compression=compression,
            dtype=dtype,
        )
        if (cutoff := section.dispersion_three_body_angstrom) is None:
            return (pairs,)
        position, shrinks = np.asarray(system.position), {"compression": compression}
        return pairs, three_body(pairs, number, position, cell, cutoff, **shrinks)
    except ValueError as error:
        raise ValueError(f"model.dispersion: {error}") from None


def what_counts(section: ModelFile) -> dict[str, Any]:
    """Keys beside the file that decide energies, where they are not the defaults."""
    added = {key for key in type(section).model_fields if key.startswith("dispersion")}
    return section.model_dump(
        include={"head", "charge", "multiplicity"} | added, exclude_defaults=True
    )
