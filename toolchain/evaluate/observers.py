"""Observers that several runs share: operations, clips, a trace file, Lava's time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hw_targets.lava_runtime import LavaTiming
from toolchain.energy import Counts, count
from toolchain.evaluate.stream import BatchRun, Observer
from toolchain.files import TraceWriter
from toolchain.netlist import Netlist
from toolchain.netlist.shapes import size

Value = TypeVar("Value", bound=Any)

#: Share of clipped input values above which there is a note.
_STRAY = 0.01


class ByName(dict[str, Value], Generic[Value]):
    """Values by name, of populations say, that add up one by one; both sides have the same names."""

    def __add__(self, other: Mapping[str, Value]) -> ByName[Value]:
        """Return the sums."""
        return ByName({name: value + other[name] for name, value in self.items()})


@dataclass(frozen=True)
class InputClips:
    """Values that left the input's range and were clipped, of all that went in."""

    clipped: int
    values: int

    def __add__(self, other: InputClips) -> InputClips:
        """Join two batches."""
        return InputClips(self.clipped + other.clipped, self.values + other.values)

    def __str__(self) -> str:
        return f"{self.clipped:,} of {self.values:,} values ({self.clipped / self.values:.2%})"

    @classmethod
    def of(cls, netlist: Netlist, clipped: int, samples: int) -> InputClips:
        """Return so many clipped values of a run of so many samples."""
        steps = netlist.timesteps if netlist.input.coding == "frames" else 1
        return cls(clipped, samples * steps * size(netlist.input.shape))

    @property
    def note(self) -> str | None:
        """What is to be said where it is more than stray values."""
        if self.clipped <= _STRAY * self.values:
            return None
        return f"the data leave the range that the input was calibrated for: {self} were clipped"


def input_clips(run: BatchRun) -> InputClips:
    """Count values outside the input's range (semantics, section 3)."""
    return InputClips.of(run.netlist, run.samples.clips, run.emitted.samples)


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
