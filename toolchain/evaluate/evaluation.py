"""Evaluate a netlist on a data set: score, spikes, operations, time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from hw_targets.lava_runtime import LavaTiming, add_timings
from toolchain.data import Dataset
from toolchain.display import Displayed, Progress, silent
from toolchain.energy import Counts
from toolchain.evaluate.backends import Continuing, Lava, Reference, Stopping
from toolchain.evaluate.observers import (
    InputClips,
    input_clips,
    operations,
    recorder,
    saturations,
    timings,
)
from toolchain.evaluate.outputs import network_score
from toolchain.evaluate.scoring import scoring
from toolchain.evaluate.stream import Backend, Observer, observe
from toolchain.files import TraceWriter
from toolchain.netlist import InputError, Netlist
from toolchain.network import FloatNetwork
from toolchain.tasks import Decoder, Outcome


@dataclass(frozen=True)
class Evaluation(Displayed):
    """What a netlist did on a data set.

    Parameters
    ----------
    backend : str
    samples, timesteps : int
    outcome : Outcome
        How well it does what it is for.
    spikes_per_sample : float
        Sum of all payloads of the spiking populations.
    synaptic_operations_per_sample : float
        Spikes times fan-out, of the spiking populations.
    mean_timesteps : float
    seconds : float
        Wall time of the run, without reading files; with writing the trace.
    saturations : mapping of str to int
        Clipped membrane potentials, of populations that had any.
    input_clips : InputClips
    keep_state : bool
        Whether the samples are one recording: each went on from the state that the one before it left.
    lava : LavaTiming or None
        Where the time went on Lava.
    """

    backend: str
    samples: int
    timesteps: int
    outcome: Outcome
    spikes_per_sample: float
    synaptic_operations_per_sample: float
    mean_timesteps: float
    seconds: float
    saturations: Mapping[str, int]
    input_clips: InputClips
    keep_state: bool = False
    lava: LavaTiming | None = None

    @property
    def accuracy(self) -> float | None:
        """The score at the last timestep, where it is an accuracy."""
        return self.outcome.accuracy

    @property
    def accuracy_by_timestep(self) -> tuple[float, ...]:
        """The score at every timestep, where it is an accuracy."""
        return () if self.accuracy is None else self.outcome.by_timestep

    @property
    def score(self) -> float | None:
        """The score at the last timestep, at its own exit for early exit; None where the outcome says why."""
        return None if self.outcome.score is None else self.outcome.score.value

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, those of the outcome among them; `lava` only where Lava ran."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("outcome", "lava")}
        return {
            **plain,
            **self.outcome.to_json(),
            "saturations": dict(self.saturations),
            "input_clips": self.input_clips.clipped,
            **({} if self.lava is None else {"lava": self.lava.to_json()}),
        }

    def __rich__(self) -> Table:
        """Return a table for the terminal."""
        table = Table(show_header=False)
        table.add_row("backend", self.backend)
        table.add_row("samples", f"{self.samples:,}")
        table.add_row("timesteps", f"{self.timesteps}")
        if self.keep_state:
            table.add_row("state", "kept from sample to sample")
        for name, value in self.outcome.rows():
            table.add_row(name, value)
        table.add_row("mean timesteps", f"{self.mean_timesteps:.2f}")
        table.add_row("spikes per sample", f"{self.spikes_per_sample:,.0f}")
        table.add_row("synaptic operations per sample", f"{self.synaptic_operations_per_sample:,.0f}")
        table.add_row("seconds", f"{self.seconds:.2f}")
        for name, clips in self.saturations.items():
            table.add_row(f"saturations in {name}", f"{clips:,}")
        if self.input_clips.clipped:
            table.add_row("input clips", str(self.input_clips))
        if self.input_clips.note is not None:
            table.add_row("note", self.input_clips.note)
        if self.lava is not None:
            table.add_row("Lava steps", f"{self.lava.steps:,} of {1e3 * self.lava.step:.1f} ms each")
            table.add_row("Lava start-up and end", f"{self.lava.start_up:.2f} s")
        return table


def evaluate(
    netlist: Netlist,
    data: Dataset,
    *,
    readout: str | None = None,
    decode: Decoder | None = None,
    ann: FloatNetwork | None = None,
    batch: int = 64,
    backend: Literal["reference", "lava"] = "reference",
    early_exit: bool = False,
    keep_state: bool = False,
    trace: Path | None = None,
    executor: str | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> Evaluation:
    """Run a netlist on a data set and score it.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset
    readout : str, optional
        Name of the readout that is scored; by default the only one.
    decode : Decoder, optional
        Makes boxes of the outputs, for detection.
    ann : FloatNetwork, optional
        The network that it was converted from: its score on the same samples.
    batch : int
        Samples in memory at a time.
    backend : {"reference", "lava"}
    early_exit : bool
        Whether each sample stops once it is confident (semantics, section 8).
    keep_state : bool
        Whether the samples are one recording, in the order of time (semantics, section 4): each goes on from the
        state that the one before it left, and is scored by what it adds to the running sum, or, by a leaky readout,
        by the potentials. Without early exit, executor, trace and Lava.
    trace : path, optional
        Write every payload there.
    executor : str, optional
        Where batches run, as `toolchain.workers.run_tasks` takes it; by default in this process.
    device : str
        What the reference simulator runs on: cpu, cuda or cuda:N.
    progress : Progress

    Raises
    ------
    InputError
        When the data do not fit the netlist, it holds no confidence schedule to stop by, the readout, the executor or
        the device is unknown, options exclude each other, or state is to be kept where frames are left out or bursts
        are digits.
    BackendError
        When Lava or the executor is not there, or died.
    """
    _check_options(backend, early_exit, keep_state, trace, executor, device)
    runs = _backend(netlist, backend, early_exit, keep_state, device, spikes=trace is not None)
    scored = scoring(netlist, data, readout=readout, decode=decode)
    if early_exit and scored.task is not None and scored.task.no_early_exit is not None:
        raise InputError("early_exit", scored.task.no_early_exit, "leave it out")
    observers: list[Observer] = [scored, operations, saturations, input_clips, timings]
    started = time.perf_counter()
    with ExitStack() as stack:
        if trace is not None:
            observers.append(recorder(stack.enter_context(TraceWriter(trace))))
        seen = observe(runs, data, observers, batch=batch, executor=executor, progress=progress)
    counts, times = seen[operations], seen[timings]
    outcome = scored.outcome(
        seen,
        by_timestep=not early_exit and netlist.radix is None,
        ann=None if ann is None else network_score(ann, netlist, scored.task, data),
    )
    return Evaluation(
        backend=backend,
        samples=counts.samples,
        timesteps=netlist.timesteps,
        outcome=outcome,
        spikes_per_sample=counts.spikes / counts.samples,
        synaptic_operations_per_sample=counts.sops / counts.samples,
        mean_timesteps=counts.steps / counts.samples,
        seconds=time.perf_counter() - started,
        saturations={name: clips for name, clips in seen[saturations].items() if clips},
        input_clips=seen[input_clips],
        keep_state=keep_state,
        lava=add_timings(times) if times else None,
    )


def _check_options(
    backend: str, early_exit: bool, keep_state: bool, trace: Path | None, executor: str | None, device: str
) -> None:
    """Raise where options exclude each other."""
    if (early_exit or executor is not None) and (backend == "lava" or trace is not None):
        option = "early_exit" if early_exit else "executor"
        raise InputError(option, "cannot be combined with `backend` lava or `trace`")
    if keep_state and (early_exit or executor is not None or backend == "lava" or trace is not None):
        raise InputError("keep_state", "cannot be combined with `early_exit`, `executor`, `backend` lava or `trace`")
    if backend == "lava" and device != "cpu":
        raise InputError("device", f"{device} found, but `backend` lava runs on cpu")


def _backend(
    netlist: Netlist, backend: str, early_exit: bool, keep_state: bool, device: str, *, spikes: bool
) -> Backend:
    if keep_state:
        return Continuing(netlist, device)
    if early_exit:
        return Stopping(netlist, device)
    return Lava(netlist) if backend == "lava" else Reference(netlist, spikes, device)


def count_operations(netlist: Netlist, data: Dataset, *, batch: int = 64, progress: Progress = silent) -> Counts:
    """Run a netlist on a data set and count its operations.

    Raises
    ------
    InputError
        When the data do not fit the netlist.
    """
    return observe(Reference(netlist), data.unlabelled, [operations], batch=batch, progress=progress)[operations]
