"""Stored samples, wherever they lie: read a few at a time, so that what lies on a disk is never held whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from toolchain.netlist import Part
from toolchain.netlist.parts import joined_shape

#: Bytes of stored samples that are read at a time where all of them are gone through.
PART_BYTES = 1 << 26


class Values(Protocol):
    """Samples as they are stored, (N, ...), of which slices and lists of positions can be read; an ndarray is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all samples, (N, ...)."""

    @property
    def dtype(self) -> np.dtype:
        """Of one number."""

    def __getitem__(self, samples: slice | np.ndarray, /) -> np.ndarray:
        """Read samples: by a slice, or by their positions (int64), which may come in any order."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some samples of others, which are read when they are asked for.

    Parameters
    ----------
    values : Values
    positions : ndarray (N,) int64
    """

    values: Values
    positions: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all samples, (N, ...)."""
        return (len(self.positions), *self.values.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Of one number."""
        return self.values.dtype

    def __getitem__(self, samples: slice | np.ndarray) -> np.ndarray:
        """Read samples."""
        return self.values[self.positions[samples]]


@dataclass(frozen=True, eq=False)
class Turned:
    """Pictures with the channel axis last, (N, ..., C), or none, (N, H, W): it comes first when they are read.

    Parameters
    ----------
    values : Values
    """

    values: Values

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all samples, (N, C, ...)."""
        samples, *sizes = self.values.shape
        return (samples, 1, *sizes) if len(sizes) == 2 else (samples, sizes[-1], *sizes[:-1])

    @property
    def dtype(self) -> np.dtype:
        """Of one number."""
        return self.values.dtype

    def __getitem__(self, samples: slice | np.ndarray) -> np.ndarray:
        """Read samples."""
        read = self.values[samples]
        return read[:, np.newaxis] if read.ndim == 3 else np.moveaxis(read, -1, 1)


@dataclass(frozen=True, eq=False)
class Joined:
    """Numbers of several inputs, side by side.

    Parameters
    ----------
    values : tuple of Values
        Of each input, (N, *part shape).
    parts : tuple of Part
    """

    values: tuple[Values, ...]
    parts: tuple[Part, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all samples, (N, C, ...)."""
        return (self.values[0].shape[0], *joined_shape(self.parts))

    @property
    def dtype(self) -> np.dtype:
        """Of one number."""
        return np.dtype(np.float32)

    def __getitem__(self, samples: slice | np.ndarray) -> np.ndarray:
        """Read samples."""
        rest = self.shape[2:]
        read = [values[samples].astype(np.float32) for values in self.values]
        return np.concatenate([r.reshape(len(r), -1, *rest) for r in read], axis=1)


def choose(values: Values, positions: np.ndarray) -> Values:
    """Return the samples at these positions: of an array at once, of all else when they are read."""
    return values[positions] if isinstance(values, np.ndarray) else Chosen(values, positions)


def parts(values: Values) -> Iterator[np.ndarray]:
    """Read all samples in order, as many at a time as `PART_BYTES` hold."""
    step = max(1, PART_BYTES // max(1, prod(values.shape[1:]) * values.dtype.itemsize))
    for start in range(0, values.shape[0], step):
        yield values[start : start + step]
