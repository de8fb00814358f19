"""Observers that several runs share: right decisions, operations, saturations, a trace file, Lava's time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from hw_targets.lava_runtime import LavaTiming
from toolchain.energy import Counts, count
from toolchain.evaluate.stream import BatchRun, Observer
from toolchain.files import TraceWriter

Value = TypeVar("Value", bound=Any)


class ByName(dict[str, Value], Generic[Value]):
    """Values by name, of populations say, that add up one by one; both sides have the same names."""

    def __add__(self, other: Mapping[str, Value]) -> ByName[Value]:
        """Return the sums."""
        return ByName({name: value + other[name] for name, value in self.items()})


def decide(readout: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the class with the largest logit; `readout` is (..., classes), the running sum."""
    return np.argmax(readout * scale, axis=-1)


def right(run: BatchRun) -> np.ndarray:
    """Count the right decisions at each timestep, (T,) int64: (1,) at the exit with early exit, (0,) without labels."""
    classifier, labels = run.netlist.classifier, run.samples.labels
    if classifier is None or labels is None:
        return np.zeros(0, np.int64)
    return np.asarray((decide(run.readouts[classifier.name], classifier.scale) == labels).sum(axis=-1))


def operations(run: BatchRun) -> Counts:
    """Count the operations; timestep by timestep where the backend keeps spikes."""
    return count(run.netlist, run.emitted)


def saturations(run: BatchRun) -> ByName[int]:
    """Count clipped membrane potentials."""
    return ByName(run.saturations)


def timings(run: BatchRun) -> list[LavaTiming]:
    """Keep where the time went on Lava."""
    return [] if run.timing is None else [run.timing]


def recorder(writer: TraceWriter) -> Observer:
    """Return an observer that writes every payload; it counts the samples. Batches must come in order."""

    def record(run: BatchRun) -> int:
        writer.append(run.trace)
        return run.trace.samples

    return record
