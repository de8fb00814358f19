"""Samples of several inputs become those of one: side by side, in the order of their names."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.data.dataset import channels_first
from toolchain.data.values import Joined, Values
from toolchain.netlist import InputError, Part

#: What an array of one input begins with in a data file.
PREFIX = "input_"


def join(where: str, arrays: Mapping[str, Values]) -> Joined:
    """Join the arrays of several inputs.

    Parameters
    ----------
    where : str
        What an error names.
    arrays : mapping of str to Values (N, C, ...)
        By the network's names; numbers that are taken as they are.

    Returns
    -------
    Joined (N, C, ...)
        float32; along the first axis where all others are of one size, else flattened.

    Raises
    ------
    InputError
        When there is only one, or they are not of as many samples; when an array holds no such numbers.
    """
    if len(arrays) < 2:
        raise InputError(where, f"{', '.join(arrays)} found alone", "call the samples of one input 'images'")
    checked: dict[str, Values] = {}
    for name in sorted(arrays):
        values = arrays[name]
        if values.dtype.kind not in "bif" or len(values.shape) < 2:
            shape = f"{values.dtype} of shape {values.shape}"
            raise InputError(f"{where}:{name}", f"{shape} found, expected (N, C, ...) in floating point")
        checked[name] = channels_first(where, "images", values)
    counts = {values.shape[0] for values in checked.values()}
    if len(counts) > 1:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in checked.items())
        raise InputError(where, f"{shapes} found, expected as many samples of each")
    return Joined(tuple(checked.values()), tuple(Part(n, tuple(v.shape[1:])) for n, v in checked.items()))
