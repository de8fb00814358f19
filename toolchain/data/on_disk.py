"""Samples that lie in a file one after the other, and the temporary files that they are put into."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from math import prod
from typing import IO

import numpy as np

from toolchain.netlist import InputError, Shape

#: Most bytes that a temporary file keeps, and bytes of the disk that are left to others.
MAX_BYTES = 1 << 36
LEFT_FREE = 1 << 30
#: How often the disk is looked at, in bytes that are kept.
_LOOK = 1 << 26


class HeldFile:
    """A file that is closed when nobody holds it any more.

    Parameters
    ----------
    file : open file
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        weakref.finalize(self, file.close)

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._file.fileno()


class OnDisk:
    """Samples in an open file, (N, ...), of which those that are asked for are read: `Values` of a data set.

    They are read and not mapped: mapped pages count as the process's memory, and a file that another program cuts short
    would end the process.

    Parameters
    ----------
    name : str
        Of the data, for messages.
    file : HeldFile
    offset : int
        Where the first sample begins, in bytes.
    shape : tuple of int
        Of all samples, (N, ...); each in C order.
    dtype : dtype
        As the numbers lie in the file; they are returned in the machine's byte order.
    """

    def __init__(self, name: str, file: HeldFile, offset: int, shape: Shape, dtype: np.dtype) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype.newbyteorder("=")
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
            self._read(made[start:stop], self._offset + int(chosen[start]) * size)
        return made.astype(self.dtype, copy=False)

    def _read(self, room: np.ndarray, offset: int) -> None:
        left = room.reshape(-1).view(np.uint8).data
        while left:
            read = os.preadv(self._file.fileno(), [left], offset)
            if not read:
                raise InputError(self.name, "became shorter while it was read", "leave it as it is until the end")
            offset, left = offset + read, left[read:]


class Scratch(HeldFile):
    """A temporary file without a name, so that nothing is left of it however the process ends.

    Raises
    ------
    InputError
        When none can be made; names TMPDIR.
    """

    def __init__(self) -> None:
        with _needs_room("folder for temporary files"):
            super().__init__(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  # open as long as it may be read
        self._bytes = 0

    def append(self, where: str, content: bytes) -> None:
        """Write more at the end.

        Parameters
        ----------
        where : str
            What is written, for messages.
        content : bytes

        Raises
        ------
        InputError
            When there is no room for it.
        """
        self._check_room(where, self._bytes + len(content))
        left = memoryview(content)
        while left:
            with _needs_room(where):
                written = os.pwrite(self.fileno(), left, self._bytes)
            self._bytes, left = self._bytes + written, left[written:]

    def _check_room(self, where: str, stop: int) -> None:
        """Raise where data have no end that a disk holds: before it is full, which other programs would suffer from."""
        if stop > MAX_BYTES:
            raise InputError(where, f"more than {MAX_BYTES} bytes of samples found", "end the data, or use `limit`")
        folder = tempfile.gettempdir()
        if self._bytes // _LOOK != stop // _LOOK and (free := shutil.disk_usage(folder).free) < LEFT_FREE:
            found = f"{free} bytes left in {folder} found, expected at least {LEFT_FREE}"
            raise InputError(where, found, "set TMPDIR, end the data, or use `limit`")


@contextmanager
def _needs_room(where: str) -> Iterator[None]:
    """Make one clear error of what the system says of the folder of temporary files."""
    try:
        yield
    except OSError as error:
        found = f"cannot be kept in {tempfile.gettempdir()} ({error.strerror})"
        raise InputError(where, found, "set TMPDIR, or use `limit`") from None
