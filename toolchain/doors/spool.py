"""Samples that the user's code makes: each asked for once, checked, and kept in a temporary file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from toolchain.data.on_disk import Kept
from toolchain.netlist import InputError, Shape


class Spool:
    """Samples of one shape and type, in a file without a name that goes with the process: `Values` of a data set.

    Parameters
    ----------
    name : str
        Of the data, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._kept = Kept(name)
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
        self._kept.append(sample.tobytes(), where)
        self._count += 1

    def __getitem__(self, samples: slice | np.ndarray) -> np.ndarray:
        """Read samples, by their positions in the order they came."""
        return self._kept.read(self.shape, self.dtype)[samples]


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
