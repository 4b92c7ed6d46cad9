"""Which of the energies of a model a run file means: head, charge and multiplicity."""

from typing import Any

from jaxdiff.io.runfile import ModelFile
from jaxdiff.models.contract import Model


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


def what_counts(section: ModelFile) -> dict[str, Any]:
    """Keys beside the file that decide energies, where they are not the defaults."""
    return section.model_dump(
        include={"head", "charge", "multiplicity"}, exclude_defaults=True
    )
