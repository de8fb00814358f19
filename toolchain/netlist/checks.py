"""Checks that the netlist's types run on their own fields; each failure names the place."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from toolchain.netlist.errors import NetlistError
from toolchain.netlist.shapes import Shape

#: Names end up as HDF5 paths, NIR node names and file names of the Lava backend.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")

#: No population or intermediate array of a netlist may have more elements than this (2**31 - 1):
#: a corrupted shape must not become an allocation.
MAX_ELEMENTS = 2**31 - 1


def check_name(where: str, name: object) -> None:
    """Raise unless `name` can be a file name, an HDF5 link and a NIR node name at once."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise NetlistError(
            where, f"name {name!r} is not made of 1 to 128 letters, digits, '_', '-' and '.'", "rename the layer"
        )


def check_shape(where: str, shape: Shape) -> None:
    """Raise unless `shape` is (C, ...) with one to four positive axes."""
    if not 1 <= len(shape) <= 4 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise NetlistError(where, f"shape {shape} found, expected one to four axes of at least 1")
    if math.prod(shape) > MAX_ELEMENTS:
        raise NetlistError(where, f"shape {shape} has more than {MAX_ELEMENTS} elements")


def check_integers(where: str, what: str, array: np.ndarray, *, minimum: int | None = None) -> None:
    """Raise unless `array` is an integer array with every element at least `minimum`."""
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.integer):
        found = getattr(array, "dtype", type(array).__name__)
        raise NetlistError(where, f"{what} is {found}, expected an integer array")
    if minimum is not None and array.size and int(array.min()) < minimum:
        raise NetlistError(where, f"{what} has {int(array.min())}, expected at least {minimum}")


def check_finite(where: str, what: str, array: np.ndarray) -> None:
    """Raise unless every element of `array` is a finite number."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise NetlistError(where, f"{what} is not an array of numbers")
    bad = int(np.size(array) - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise NetlistError(where, f"{what} holds {bad} values that are NaN or infinite")


def check_positive_ints(where: str, what: str, values: Sequence[int], *, minimum: int = 1) -> None:
    """Raise unless all of `values` are ints of at least `minimum`."""
    if any(isinstance(v, bool) or not isinstance(v, int) or v < minimum for v in values):
        raise NetlistError(where, f"{what} {tuple(values)} found, expected integers of at least {minimum}")


def check_channelwise(where: str, what: str, values: np.ndarray, shape: Shape, *, full: bool) -> None:
    """Raise unless `values` are given per channel, or (with `full`) for every neuron."""
    allowed = [(shape[0],)] + ([shape] if full else [])
    if values.shape not in allowed:
        expected = " or ".join(map(str, allowed))
        raise NetlistError(where, f"{what} has shape {values.shape}, expected {expected}")


def check_scale(where: str, what: str, values: np.ndarray, shape: Shape) -> None:
    """Raise unless `values` are one positive, finite number per channel."""
    check_finite(where, what, values)
    check_channelwise(where, what, values, shape, full=False)
    if not np.all(values > 0):
        raise NetlistError(where, f"{what} has values that are not positive")
