"""Samples that lie in a file one after the other."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np

from toolchain.files.scratch import HeldFile, Scratch
from toolchain.netlist import InputError, Shape

#: Most bytes of samples that are kept: data that end nowhere end here.
MAX_BYTES = 1 << 36


class OnDisk:
    """Samples in an open file, (N, ...), of which those that are asked for are read: `Values` of a data set.

    Parameters
    ----------
    file : HeldFile
    offset : int
        Where the first sample begins, in bytes.
    shape : tuple of int
        Of all samples, (N, ...); each in C order.
    dtype : dtype
        As the numbers lie in the file; they are returned in the machine's byte order.
    """

    def __init__(self, file: HeldFile, offset: int, shape: Shape, dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype.newbyteorder("=")
        self._file, self._offset, self._stored = file, offset, dtype

    def __getitem__(self, samples: slice | np.ndarray) -> np.ndarray:
        """Read samples.

        Raises
        ------
        InputError
            When the file ends before them.
        """
        chosen = np.arange(self.shape[0])[samples]
        made = np.empty((len(chosen), *self.shape[1:]), self._stored)
        size = prod(self.shape[1:]) * self._stored.itemsize
        # One read for samples that follow each other.
        first = np.flatnonzero(np.diff(chosen, prepend=-2) != 1)
        for start, stop in pairwise([*first, len(chosen)]):
            room = made[start:stop].reshape(-1).view(np.uint8).data
            self._file.read(room, self._offset + int(chosen[start]) * size)
        return made.astype(self.dtype, copy=False)


class Kept:
    """Samples that are put one behind the other into a temporary file.

    Parameters
    ----------
    name : str
        Of the data, for messages.

    Raises
    ------
    InputError
        When no such file can be made; names TMPDIR.
    """

    def __init__(self, name: str) -> None:
        self._scratch, self._bytes = Scratch(name, "use `limit`"), 0

    def append(self, content: bytes, where: str) -> None:
        """Write more at the end.

        Parameters
        ----------
        content : bytes
        where : str
            What is written, for messages.

        Raises
        ------
        InputError
            When there is no room for it.
        """
        if self._bytes + len(content) > MAX_BYTES:
            raise InputError(where, f"more than {MAX_BYTES} bytes of samples found", "end the data, or use `limit`")
        self._scratch.write(content, self._bytes, where=where)
        self._bytes += len(content)

    def read(self, shape: Shape, dtype: np.dtype) -> OnDisk:
        """Return what was written as samples of a shape (N, ...)."""
        return OnDisk(self._scratch, 0, shape, dtype)
