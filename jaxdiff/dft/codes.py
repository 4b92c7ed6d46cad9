"""The programs that label frames; another one is a file of its own and a line here."""

from jaxdiff.dft.contract import Code
from jaxdiff.dft.espresso import ESPRESSO

CODES = {code.name: code for code in (ESPRESSO,)}


def code(name: str) -> Code:
    """The program of that name."""
    if name not in CODES:
        raise ValueError(f"dft.code = {name!r} is not known; give {' or '.join(CODES)}.")
    return CODES[name]
