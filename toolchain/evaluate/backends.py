"""What can run a data set: the reference simulator, with and without spikes, Lava, the golden step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from hw_targets.lava_runtime import LavaTiming, measure_on_lava
from sim import (
    EarlyExitSimulator,
    Recording,
    Simulator,
    compile_early_exit,
    compile_netlist,
    compile_recording,
    golden,
)
from toolchain.evaluate.stream import Backend, BatchRun, Reporter, Samples
from toolchain.netlist import Trace


@dataclass(frozen=True, eq=False)
class Reference(Backend):
    """The reference simulator, for all timesteps.

    Parameters
    ----------
    netlist : Netlist
    spikes : bool
        Whether payloads are kept; without, only their sums, which is fast and takes little memory.
    device : str
        Where it runs: cpu, cuda or cuda:N.
    """

    spikes: bool = False
    device: str = "cpu"

    @cached_property
    def simulator(self) -> Simulator:
        """Compiled where it is first asked for: once here, once in each worker that keeps the backend."""
        return compile_netlist(self.netlist, device=self.device)

    def run(self, samples: Samples, report: Reporter) -> BatchRun:
        """Run one batch."""
        names = [p.name for p in self.netlist.populations if p.emits] if self.spikes else []
        done = self.simulator.run(samples.payloads, record=names, activity=not self.spikes)
        trace = Trace(self.netlist.content_hash, "reference", done.spikes, done.readouts, done.saturations)
        return BatchRun(self.netlist, samples, done.readouts, done.activity or trace, done.saturations)


@dataclass(frozen=True, eq=False)
class Stopping(Backend):
    """The reference simulator with early exit (semantics, section 8): each sample stops once it is confident.

    Parameters
    ----------
    netlist : Netlist
    device : str
    """

    device: str = "cpu"

    @cached_property
    def simulator(self) -> EarlyExitSimulator:
        """Compiled where it is first asked for, as the reference's."""
        return compile_early_exit(self.netlist, device=self.device)

    def run(self, samples: Samples, report: Reporter) -> BatchRun:
        """Run one batch; the only readout is that of each sample's exit."""
        done = self.simulator.run(samples.payloads)
        readouts = {self.netlist.readouts[0].name: done.readout[None]}
        return BatchRun(self.netlist, samples, readouts, done.activity, done.activity.saturations)


@dataclass(frozen=True, eq=False)
class Continuing(Backend):
    """The reference simulator on one recording (semantics, section 4): samples go on from each other, in their order.

    The first sample of a data set begins a recording.

    Parameters
    ----------
    netlist : Netlist
    device : str
    """

    device: str = "cpu"

    @cached_property
    def recording(self) -> Recording:
        """Compiled where it is first asked for, as the reference's."""
        return compile_recording(self.netlist, device=self.device)

    def run(self, samples: Samples, report: Reporter) -> BatchRun:
        """Run the batch that follows."""
        if samples.first == 0:
            self.recording.restart()
        if samples.first != self.recording.samples:
            raise ValueError(f"sample {samples.first} found, expected {self.recording.samples}: state is kept")
        done = self.recording.run(samples.payloads, activity=True)
        assert done.activity is not None
        return BatchRun(self.netlist, samples, done.readouts, done.activity, done.saturations)


@dataclass(frozen=True, eq=False)
class Golden(Backend):
    """The golden step: slow, so best one sample at a time, for its progress to be seen."""

    title: ClassVar[str] = "golden step"

    def run(self, samples: Samples, report: Reporter) -> BatchRun:
        """Run one batch."""
        return _traced(self, samples, golden.simulate(self.netlist, samples.payloads))


@dataclass(frozen=True, eq=False)
class Lava(Backend):
    """Lava's processes, started anew for every batch."""

    title: ClassVar[str] = "Lava timesteps"

    def parts(self, samples: int) -> int:
        """Timesteps of all samples."""
        return samples * self.netlist.timesteps

    def run(self, samples: Samples, report: Reporter) -> BatchRun:
        """Run one batch."""
        done = measure_on_lava(self.netlist, samples.payloads, progress=report)
        return _traced(self, samples, done.trace, done.timing)


def _traced(backend: Backend, samples: Samples, trace: Trace, timing: LavaTiming | None = None) -> BatchRun:
    return BatchRun(backend.netlist, samples, trace.readouts, trace, trace.saturations, timing)
