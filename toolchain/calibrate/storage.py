"""Tensors of many samples, kept in memory up to a bound and beyond it in temporary files."""

from __future__ import annotations

import ctypes
import weakref
from math import inf, prod
from threading import RLock

import torch
from torch import Tensor

from toolchain.files.scratch import Scratch

_LIBC = ctypes.CDLL(None)
#: glibc's number for the size from which on a block is a mapping of its own (malloc.h), and that size here.
_M_MMAP_THRESHOLD, _AT_ONCE = -3, 1 << 22


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
        self._file = Scratch("activations beyond `memory`", "raise `memory`")

    def __getitem__(self, part: slice) -> Tensor:
        start, stop, _ = part.indices(self.shape[0])
        values = self._empty(max(stop - start, 0))
        self._file.read(_bytes(values), self._offset(start))
        return values.movedim(-1, self._channels)

    def __setitem__(self, part: slice, values: Tensor) -> None:
        content = values.to(self._dtype).movedim(self._channels, -1).contiguous()
        self._file.write(_bytes(content), self._offset(part.indices(self.shape[0])[0]))

    def _offset(self, sample: int) -> int:
        """Return where a sample begins in the file."""
        return sample * prod(self.shape[1:]) * self._dtype.itemsize


def _bytes(values: Tensor) -> memoryview:
    return values.numpy().data.cast("B") if values.numel() else memoryview(b"")


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
        if self._reached and hasattr(_LIBC, "malloc_trim"):
            _LIBC.malloc_trim(0)

    def _reach(self) -> None:
        """Note that the bound is reached: what is freed of large blocks goes back to the system at once from now on.

        Otherwise glibc keeps blocks of up to 32 MiB, once such were freed: more than twice of what is in use, in a step
        that works off many samples.
        """
        if not self._reached and hasattr(_LIBC, "mallopt"):
            _LIBC.mallopt(_M_MMAP_THRESHOLD, _AT_ONCE)
        self._reached = True

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
            self._reach()
            return _InFile(shape, dtype, channels)
        stored = _InMemory(shape, dtype, channels)
        weakref.finalize(stored, self._free, needed)
        return stored

    def _free(self, freed: int) -> None:
        with self._lock:
            self._left += freed
