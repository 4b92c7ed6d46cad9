"""What is in a series file, to compare with another, byte for byte."""

import h5py
import numpy as np


def contents(path):
    """Everything but the attributes that tell one run from another."""
    with h5py.File(path) as file:
        found = {"/": ({k: np.asarray(v).tolist() for k, v in file.attrs.items()},)}
        for own in ("run_file", "status", "provenance", "n_parts"):
            found["/"][0].pop(own, None)

        def note(name, thing):
            attributes = {k: np.asarray(v).tolist() for k, v in thing.attrs.items()}
            if isinstance(thing, h5py.Dataset):
                value = thing[...]
                found[name] = (attributes, value.dtype, value.shape, value.tobytes())
            else:
                found[name] = (attributes,)

        file.visititems(note)
    return found


def assert_same_series(first, second):
    """Every dataset and attribute but those that tell one run from another."""
    one, other = contents(first), contents(second)
    assert sorted(one) == sorted(other)
    assert [name for name in one if one[name] != other[name]] == []
