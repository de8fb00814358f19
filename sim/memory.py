"""Memory for payloads and potentials that is used again.

The C library gives large blocks back to the system when they are freed, and the next one fetches every page anew,
which can take a third of the time of early exit (docs/performance.md). Here a block is kept as soon as no array or
tensor reads it any more.
"""

from __future__ import annotations

from collections import deque
from math import prod
from typing import Any

import numpy as np

#: Smaller arrays are left to the C library, which keeps their memory itself.
SMALL = 2**18

#: Bytes that are kept for arrays to come, at most: what early exit takes on one core.
MOST = 2**27

#: Blocks by their size. Without a lock, which a forked child or a destructor might wait for without end: each step is
#: one of the interpreter's.
_kept: dict[int, deque[np.ndarray]] = {}


class _Lease:
    """A block while an array lies in it, as the array's base: it goes with the last view."""

    def __init__(self, block: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._block = block
        place = (block.ctypes.data, False)
        self.__array_interface__ = {"data": place, "shape": shape, "typestr": dtype.str, "version": 3}

    # Globals may be gone where the interpreter ends.
    def __del__(self, kept: dict[int, deque[np.ndarray]] = _kept, most: int = MOST) -> None:
        size = self._block.size
        if size + sum(each * len(blocks) for each, blocks in list(kept.items())) <= most:
            kept.setdefault(size, deque()).append(self._block)


def _block(size: int) -> np.ndarray:
    try:
        return _kept[size].pop()
    except (KeyError, IndexError):
        return np.empty(size, np.uint8)


def empty(shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """Return an array as `numpy.empty` does, in memory that may have been another's.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy type

    Returns
    -------
    ndarray (*shape), `dtype`
        Contiguous; its values are not set.
    """
    kind = np.dtype(dtype)
    size = kind.itemsize * prod(shape)
    if size < SMALL:
        return np.empty(shape, kind)
    # Sizes in steps of an eighth to a sixteenth: arrays of nearly one size share a block.
    step = 1 << (size.bit_length() - 4)
    return np.asarray(_Lease(_block(-(-size // step) * step), shape, kind))
