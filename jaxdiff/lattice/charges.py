"""The charge of a mobile ion: the common oxidation state of its element."""

OXIDATION_STATE = {
    **dict.fromkeys(("H", "Li", "Na", "K", "Rb", "Cs", "Cu", "Ag", "Tl"), 1),
    **dict.fromkeys(("Be", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd", "Mn", "Fe", "Co", "Ni"), 2),
    **dict.fromkeys(("Pb", "Sn"), 2),
    **dict.fromkeys(("Al", "Sc", "Y", "La", "Ga", "In"), 3),
    **dict.fromkeys(("F", "Cl", "Br", "I"), -1),
    **dict.fromkeys(("O", "S", "Se", "Te"), -2),
    "N": -3,
}
"""In the solids in which the element is the mobile ion; others have to be given."""


def charge(element: str, given: float | None) -> float:
    """In elementary charges: as given, or the common one of the element."""
    if given is not None:
        if not 0 < abs(given) <= 8:
            raise ValueError(
                f"--charge {given:g} is no charge of an ion; give elementary charges from "
                "-8 to 8, not 0, such as 1 for Li."
            )
        return float(given)
    if element not in OXIDATION_STATE:
        raise ValueError(
            f"the charge of {element} in this crystal is not known; give it by --charge, "
            "in elementary charges."
        )
    return float(OXIDATION_STATE[element])
