"""Samples that the user's code makes: each asked for once, checked, and kept in a temporary file."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from toolchain.netlist import InputError, Shape

#: Most bytes that are kept, and bytes of the disk that are left to others.
MAX_BYTES = 1 << 36
LEFT_FREE = 1 << 30
#: How often the disk is looked at, in bytes that are kept.
_LOOK = 1 << 26


class Spool:
    """Samples of one shape and type, in a file without a name that goes with the process: `Values` of a data set.

    Parameters
    ----------
    name : str
        Of the data, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as samples may be read
        weakref.finalize(self, self._file.close)
        self._first: np.ndarray | None = None
        self._count = 0

    @property
    def shape(self) -> Shape:
        """Of all samples that are there, (N, ...)."""
        return (self._count, *self._like.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of one number."""
        return self._like.dtype

    @property
    def _like(self) -> np.ndarray:
        if self._first is None:
            raise InputError(self.name, "holds no samples")
        return self._first

    def append(self, sample: np.ndarray, index: int) -> None:
        """Keep one more sample.

        Parameters
        ----------
        sample : ndarray (...)
        index : int
            Its position in the data, for messages.

        Raises
        ------
        InputError
            When it is not like those before, holds NaN, or there is no more room.
        """
        where = f"{self.name}, sample {index}"
        if self._first is None:
            # Its shape and type; where the others lie in the file follows from its size.
            self._first = np.empty_like(sample)
        if (sample.shape, sample.dtype) != (self._first.shape, self._first.dtype):
            raise InputError(
                where,
                f"{sample.dtype} of shape {sample.shape} found, those before are {self.dtype} of {self._first.shape}",
                "give samples of one shape and type",
            )
        if sample.dtype.kind == "f" and not np.isfinite(sample).all():
            raise InputError(where, "holds NaN or infinite values", "clean the data first")
        start = self._count * sample.nbytes
        self._check_room(where, start, start + sample.nbytes)
        try:
            self._file.seek(start)
            self._file.write(sample.tobytes())
        except OSError as error:
            found = f"cannot be kept in {tempfile.gettempdir()} ({error.strerror})"
            raise InputError(where, found, "set TMPDIR, or use `limit`") from None
        self._count += 1

    def _check_room(self, where: str, start: int, stop: int) -> None:
        """Raise where data have no end that a disk holds: before it is full, which other programs would suffer from."""
        if stop > MAX_BYTES:
            raise InputError(where, f"more than {MAX_BYTES} bytes of samples found", "end the data, or use `limit`")
        folder = tempfile.gettempdir()
        if start // _LOOK != stop // _LOOK and (free := shutil.disk_usage(folder).free) < LEFT_FREE:
            found = f"{free} bytes left in {folder} found, expected at least {LEFT_FREE}"
            raise InputError(where, found, "set TMPDIR, end the data, or use `limit`")

    def __getitem__(self, samples: slice | np.ndarray) -> np.ndarray:
        """Read samples, by their positions in the order they came."""
        chosen = np.arange(self._count)[samples]
        self._file.flush()
        made = np.empty((len(chosen), *self._like.shape), self.dtype)
        for place, index in enumerate(chosen):
            content = os.pread(self._file.fileno(), self._like.nbytes, int(index) * self._like.nbytes)
            made[place] = np.frombuffer(content, self.dtype).reshape(self._like.shape)
        return made


class OnDemand:
    """Samples that come by their number, in any order, when they are first asked for: `Values` of a data set.

    Parameters
    ----------
    spool : Spool
        Where they are kept.
    count : int
    fetch : callable
        Returns a sample, ndarray (...), and what is true of it.
    """

    def __init__(self, spool: Spool, count: int, fetch: Callable[[int], tuple[np.ndarray, Any]]) -> None:
        self._spool, self._fetch = spool, fetch
        self._slots = np.full(count, -1)
        #: What is true of the samples that were fetched, by their numbers.
        self.true: dict[int, Any] = {}
        self.read(0)

    @property
    def shape(self) -> Shape:
        """Of all samples, (N, ...)."""
        return (len(self._slots), *self._spool.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Of one number."""
        return self._spool.dtype

    def read(self, index: int) -> None:
        """Fetch one sample, unless it is there."""
        if self._slots[index] < 0:
            sample, true = self._fetch(index)
            self._spool.append(sample, index)
            self.true[index] = true
            self._slots[index] = len(self.true) - 1

    def __getitem__(self, samples: slice | np.ndarray) -> np.ndarray:
        """Read samples, which are fetched first where they are not there."""
        for index in np.arange(len(self._slots))[samples]:
            self.read(int(index))
        return self._spool[self._slots[samples]]
