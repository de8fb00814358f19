"""Samples are worked off in chunks, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from sim.threads import each_alone, workers

Result = TypeVar("Result")

#: Samples that are worked off together, fewer where that would be more numbers than this: what bounds the memory of one
#: piece of work. Always the same, for float sums depend on how they are cut, and never on how many threads there are.
CHUNK, NUMBERS = 32, 2**22


class SampleTensor(Protocol):
    """Numbers per sample that are read by slices of samples: a tensor (N, ...), or what stands for one."""

    @property
    def shape(self) -> torch.Size:
        """(N, ...)."""

    def __getitem__(self, part: slice, /) -> Tensor:
        """Return some samples."""


def chunks(samples: int, numbers: int) -> list[slice]:
    """Return the chunks that samples are worked off in where so many numbers of each are at work together."""
    size = max(1, min(CHUNK, NUMBERS // max(numbers, 1)))
    return [slice(start, min(start + size, samples)) for start in range(0, samples, size)]


def each_chunk(work: Callable[[slice], Result], parts: Sequence[slice]) -> Iterator[Result]:
    """Yield what `work` returns of every chunk, in order; as many run together as there are cores.

    Each runs on one core, also the last one alone: float sums do not depend on how many cores there are.
    """
    # Two for each core, so that none waits long for the slowest; not all, whose results would wait in memory.
    wave = 2 * workers()
    for first in range(0, len(parts), wave):
        yield from each_alone(work, parts[first : first + wave])
