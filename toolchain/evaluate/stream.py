"""One streaming run: a netlist on a data set, batch by batch, and what observers make of it.

A backend takes each batch through the netlist; observers are handed what it did. An observer is a function of a
`BatchRun` whose results add up with ``+``: a count, an array, a list. So memory does not grow with the samples, and
batches may run wherever a worker is free.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any, ClassVar, TypeVar

import numpy as np

from hw_targets.lava_runtime import LavaTiming
from sim import Activity
from toolchain.data import Dataset, Truth, check_data
from toolchain.display import Progress, silent
from toolchain.netlist import InputError, Netlist, Trace
from toolchain.netlist.shapes import size
from toolchain.workers import run_tasks

Value = TypeVar("Value")

#: Bytes of running sums in memory at a time: classes of pixels at every timestep fill it sooner than payloads do.
SUMS = 2**28

#: Told (parts done, parts in all) of a batch while it runs.
Reporter = Callable[[int, int], None]
#: A function of a `BatchRun`; its results add up.
Observer = Callable[["BatchRun"], Any]


@dataclass(frozen=True, eq=False)
class Samples:
    """One batch of a data set.

    Parameters
    ----------
    first : int
        Position of its first sample in the data set.
    payloads : ndarray (N, *shape) for direct coding, (T, N, *shape) for frames; int8 or uint8
        As the netlist's input emits them.
    truth : Truth
        What is true of them.
    clips : int
        Values that left the input's range and were clipped.
    """

    first: int
    payloads: np.ndarray
    truth: Truth
    clips: int


@dataclass(frozen=True, eq=False)
class BatchRun:
    """What a netlist did on one batch: what observers are handed.

    Parameters
    ----------
    netlist : Netlist
    samples : Samples
    readouts : mapping of str to ndarray (T, N, *shape), int64
        Running sum of every readout; (1, N, *shape) at each sample's own exit with early exit.
    emitted : Trace or Activity
        Every payload where the backend keeps them, else their sums.
    saturations : mapping of str to int
        How often the membrane potential of a population was clipped.
    timing : LavaTiming or None
        Where the time went on Lava.
    """

    netlist: Netlist
    samples: Samples
    readouts: Mapping[str, np.ndarray]
    emitted: Trace | Activity
    saturations: Mapping[str, int]
    timing: LavaTiming | None = None

    @property
    def trace(self) -> Trace:
        """Every payload, of a backend that keeps them."""
        if not isinstance(self.emitted, Trace):
            raise TypeError("the backend keeps no spikes")
        return self.emitted

    @property
    def part(self) -> slice:
        """Where its samples lie in the data set."""
        return slice(self.samples.first, self.samples.first + self.emitted.samples)


@dataclass(frozen=True, eq=False)
class Backend(ABC):
    """A netlist on something that runs it.

    Parameters
    ----------
    netlist : Netlist
    """

    netlist: Netlist
    #: How progress calls its work.
    title: ClassVar[str] = "simulating"

    def parts(self, samples: int) -> int:
        """In how many parts the progress of a batch shows."""
        del samples
        return 1

    @abstractmethod
    def run(self, samples: Samples, report: Reporter) -> BatchRun:
        """Run one batch; telling `report` of its progress is optional."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What observers saw in all: ``seen[observer]`` is the sum of its results over the batches."""

    found: Mapping[Observer, Any]

    def __getitem__(self, observer: Callable[[BatchRun], Value]) -> Value:
        found: Value = self.found[observer]
        return found


def observe(
    backend: Backend,
    data: Dataset,
    observers: Sequence[Observer],
    *,
    batch: int = 64,
    executor: str | None = None,
    progress: Progress = silent,
) -> Seen:
    """Run a netlist on a data set and add up what observers see.

    Parameters
    ----------
    backend : Backend
    data : Dataset
    observers : sequence of callable
        Of a `BatchRun`; results add up. For an executor they must be functions of a module, or picklable.
    batch : int
        Samples in memory at a time, at most: fewer where their running sums take more than `SUMS`.
    executor : str, optional
        Where batches run, as `toolchain.workers.run_tasks` takes it; by default in this process. Results add up in
        the order of the data.
    progress : Progress

    Raises
    ------
    InputError
        When the data do not fit the netlist, or the executor is unknown.
    BackendError
        When Lava or the executor is not there, or died.
    """
    batches: Iterator[tuple[Any, ...]]
    if executor is None:
        # A loop would hold each batch until the next one has run: twice the memory.
        batches = map(partial(_look, observers), stream(backend, data, batch=batch, progress=progress))
    else:
        batches = _on_workers(backend, data, observers, batch, executor, progress)
    total = reduce(lambda before, found: tuple(map(add, before, found)), batches)
    return Seen(dict(zip(observers, total, strict=True)))


def stream(backend: Backend, data: Dataset, *, batch: int = 64, progress: Progress = silent) -> Iterator[BatchRun]:
    """Yield the run of each batch of a data set, in order; parameters and errors as of `observe`."""
    _check(backend.netlist, data)
    batch = _fitting(backend.netlist, batch)
    sizes = [min(batch, len(data) - start) for start in range(0, len(data), batch)]
    with progress(backend.title, sum(map(backend.parts, sizes))) as advance:
        for samples, count in zip(_batches(backend.netlist, data, batch), sizes, strict=True):
            yield _run(backend, samples, _in_parts(advance, backend.parts(count)))


def _check(netlist: Netlist, data: Dataset) -> None:
    """Raise unless the data fit the netlist: here they meet first, and nothing checks later."""
    check_data(data, netlist.input, netlist.timesteps, netlist.provenance.parts)
    if len(data) == 0:
        raise InputError(data.name, "holds no samples")


def _fitting(netlist: Netlist, batch: int) -> int:
    """Return as many samples as `batch`, or as keep their running sums within `SUMS`."""
    per_sample = 8 * netlist.timesteps * sum(size(r.shape) for r in netlist.readouts)
    return max(1, min(batch, SUMS // per_sample))


def _batches(netlist: Netlist, data: Dataset, batch: int) -> Iterator[Samples]:
    source = netlist.input
    for first in range(0, len(data), batch):
        x = data.normalized(source.mean, source.std, first, first + batch)
        clips = source.clips(x[:, : netlist.timesteps] if data.is_frames else x)
        yield Samples(first, data.encode(source, x), data.truth.part(first, first + batch), clips)


def _run(backend: Backend, samples: Samples, report: Reporter) -> BatchRun:
    run = backend.run(samples, report)
    report(1, 1)
    return run


def _look(observers: Sequence[Observer], run: BatchRun) -> tuple[Any, ...]:
    return tuple(observer(run) for observer in observers)


def _in_parts(advance: Callable[[], None], parts: int) -> Reporter:
    """Return a report that advances `parts` times by the end, however finely it is told."""
    shown = 0

    def report(done: int, of: int) -> None:
        nonlocal shown
        for _ in range(done * parts // of - shown):
            advance()
            shown += 1

    return report


def _on_workers(
    backend: Backend,
    data: Dataset,
    observers: Sequence[Observer],
    batch: int,
    executor: str,
    progress: Progress,
) -> Iterator[tuple[Any, ...]]:
    _check(backend.netlist, data)
    batch = _fitting(backend.netlist, batch)
    batches = _batches(backend.netlist, data, batch)
    # Results come in any order, and add up in the order of the data.
    early: dict[int, tuple[Any, ...]] = {}
    turn = 0
    with progress(backend.title, -(-len(data) // batch)) as advance:
        for position, found in run_tasks(_see, (backend, observers), batches, executor):
            early[position] = found
            advance()
            while turn in early:
                yield early.pop(turn)
                turn += 1


def _see(shared: tuple[Backend, Sequence[Observer]], samples: Samples) -> tuple[Any, ...]:
    """Run one batch in a worker: what observers see is all that travels back."""
    backend, observers = shared
    return _look(observers, backend.run(samples, lambda done, of: None))
