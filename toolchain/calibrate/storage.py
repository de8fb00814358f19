"""Tensors of many samples, kept in memory up to a bound and beyond it in temporary files.

Files are read and written piece by piece and not mapped, since mapped pages count as the process's memory. They have no
name: nothing is left of them however the process ends.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, prod
from threading import RLock
from typing import IO

import torch
from torch import Tensor

from toolchain.netlist import InputError


class Stored:
    """A tensor (N, ...), sample after sample, that is read and written by slices of samples; `Storage` makes it.

    In memory the channels lie last, as layers and kernels take them. Several threads may read and write at once, as
    long as the samples that are written are each one's own.

    Parameters
    ----------
    shape : tuple of int
    dtype : torch.dtype
    channels : int
        The axis of the channels.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, channels: int) -> None:
        self.shape = torch.Size(shape)
        self._dtype, self._channels = dtype, channels

    def _empty(self, samples: int) -> Tensor:
        """Return room for some samples, channels last."""
        sizes = [samples, *self.shape[1:]]
        sizes.append(sizes.pop(self._channels))
        return torch.empty(sizes, dtype=self._dtype)

    def __getitem__(self, part: slice) -> Tensor:
        """Return some samples; not to be written to."""
        raise NotImplementedError

    def __setitem__(self, part: slice, values: Tensor) -> None:
        """Write some samples."""
        raise NotImplementedError


class _InMemory(Stored):
    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, channels: int) -> None:
        super().__init__(shape, dtype, channels)
        self._values = self._empty(shape[0]).movedim(-1, channels)

    def __getitem__(self, part: slice) -> Tensor:
        return self._values[part]

    def __setitem__(self, part: slice, values: Tensor) -> None:
        self._values[part] = values


class _InFile(Stored):
    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, channels: int) -> None:
        super().__init__(shape, dtype, channels)
        with _needs_room():
            self._file: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        # Closed, and so gone, as soon as nobody holds the tensor any more.
        weakref.finalize(self, self._file.close)

    def _at(self, part: slice) -> tuple[int, int]:
        """Return where some samples begin in the file, and how many they are."""
        start, stop, _ = part.indices(self.shape[0])
        return start * prod(self.shape[1:]) * self._dtype.itemsize, max(stop - start, 0)

    def __getitem__(self, part: slice) -> Tensor:
        offset, samples = self._at(part)
        values = self._empty(samples)
        left = _bytes(values)
        while left:
            read = os.preadv(self._file.fileno(), [left], offset)
            if not read:
                raise InputError(tempfile.gettempdir(), "a temporary file is shorter than what was written to it")
            offset, left = offset + read, left[read:]
        return values.movedim(-1, self._channels)

    def __setitem__(self, part: slice, values: Tensor) -> None:
        offset, _ = self._at(part)
        left = _bytes(values.to(self._dtype).movedim(self._channels, -1).contiguous())
        while left:
            with _needs_room():
                written = os.pwrite(self._file.fileno(), left, offset)
            offset, left = offset + written, left[written:]


def _bytes(values: Tensor) -> memoryview:
    return values.numpy().data.cast("B") if values.numel() else memoryview(b"")


@contextmanager
def _needs_room() -> Iterator[None]:
    """Make one clear error of what the system says of the folder of temporary files.

    Raises
    ------
    InputError
        When it has no room, or cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"folder for temporary files ({tempfile.gettempdir()})",
            f"activations beyond `memory` cannot be written: {error.strerror or error}",
            "name a folder on a disk with more room in the environment variable TMPDIR, or raise `memory`",
        ) from error


class Storage:
    """Room for tensors: in memory as long as all of them together are within a bound, then in temporary files.

    What is stored where decides nothing about the numbers.

    Parameters
    ----------
    memory : float
        Gibibytes, of what is stored and not of the process; by default without a bound.
    """

    def __init__(self, memory: float = inf) -> None:
        self.memory = memory
        self._left = memory * 2**30
        self._reached = False
        # Entered again where collecting garbage frees a tensor meanwhile.
        self._lock = RLock()

    def __reduce__(self) -> tuple[type[Storage], tuple[float]]:
        # Another process has a memory of its own.
        return Storage, (self.memory,)

    def give_back(self) -> None:
        """Return memory that was freed to the system, where the bound was ever reached: C keeps it for the next time.

        What one layer's work leaves behind then does not add to the next one's, which asks for other sizes. Only glibc
        can be asked for it.
        """
        if self._reached and hasattr(_libc := ctypes.CDLL(None), "malloc_trim"):
            _libc.malloc_trim(0)

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype, channels: int = 1) -> Stored:
        """Return room for a tensor (N, ...), whose values are not yet defined.

        Parameters
        ----------
        shape : tuple of int
        dtype : torch.dtype
        channels : int
            The axis of the channels, which lie last in memory.

        Raises
        ------
        InputError
            When it has to be a file, and none can be made; names TMPDIR.
        """
        needed = prod(shape) * dtype.itemsize
        with self._lock:
            fits = needed <= self._left
            self._left -= needed if fits else 0
        if not fits:
            self._reached = True
            return _InFile(shape, dtype, channels)
        stored = _InMemory(shape, dtype, channels)
        weakref.finalize(stored, self._free, needed)
        return stored

    def _free(self, freed: int) -> None:
        with self._lock:
            self._left += freed
