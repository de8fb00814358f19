"""Run a netlist on a data set: accuracy, spikes, operations, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.table import Table

from hw_targets.lava_runtime import LavaRun, LavaTiming, add_timings, measure_on_lava
from sim import BatchResult, Simulator, compile_netlist, simulate, simulate_early_exit
from toolchain.data import Dataset, check_data
from toolchain.display import Displayed, Progress, silent
from toolchain.energy import Counts, count
from toolchain.files import TraceWriter
from toolchain.netlist import InputError, Netlist, Readout, Trace
from toolchain.workers import run_tasks

#: What can run a netlist on a data set.
Backend = Literal["reference", "lava"]


@dataclass(frozen=True)
class Evaluation(Displayed):
    """What a netlist did on a data set.

    Parameters
    ----------
    backend : str
    samples, timesteps : int
    accuracy : float or None
        Share of right decisions at the last timestep (at its own exit for early exit); None without
        labels or with a readout that is no list of classes.
    accuracy_by_timestep : tuple of float
        Decisions taken at every timestep; empty likewise, and for early exit.
    spikes_per_sample : float
        Sum of all payloads of the spiking populations.
    synaptic_operations_per_sample : float
        Spikes times fan-out, of the spiking populations.
    mean_timesteps : float
    seconds : float
        Wall time of the run, without reading files.
    saturations : mapping of str to int
        Clipped membrane potentials, of populations that had any.
    lava : LavaTiming or None
        Where the time went on Lava.
    """

    backend: str
    samples: int
    timesteps: int
    accuracy: float | None
    accuracy_by_timestep: tuple[float, ...]
    spikes_per_sample: float
    synaptic_operations_per_sample: float
    mean_timesteps: float
    seconds: float
    saturations: Mapping[str, int]
    lava: LavaTiming | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; `lava` only where Lava ran."""
        found = {**asdict(self), "accuracy_by_timestep": list(self.accuracy_by_timestep)}
        if self.lava is None:
            del found["lava"]
        else:
            found["lava"] = self.lava.to_json()
        return found

    def __rich__(self) -> Table:
        """Return a table for the terminal."""
        table = Table(show_header=False)
        table.add_row("backend", self.backend)
        table.add_row("samples", f"{self.samples:,}")
        table.add_row("timesteps", f"{self.timesteps}")
        table.add_row("accuracy", "no labels" if self.accuracy is None else f"{self.accuracy:.2%}")
        for t, accuracy in enumerate(self.accuracy_by_timestep, start=1):
            table.add_row(f"  at timestep {t}", f"{accuracy:.2%}")
        table.add_row("mean timesteps", f"{self.mean_timesteps:.2f}")
        table.add_row("spikes per sample", f"{self.spikes_per_sample:,.0f}")
        table.add_row("synaptic operations per sample", f"{self.synaptic_operations_per_sample:,.0f}")
        table.add_row("seconds", f"{self.seconds:.2f}")
        for name, clips in self.saturations.items():
            table.add_row(f"saturations in {name}", f"{clips:,}")
        if self.lava is not None:
            table.add_row("Lava steps", f"{self.lava.steps:,} of {1e3 * self.lava.step:.1f} ms each")
            table.add_row("Lava start-up and end", f"{self.lava.start_up:.2f} s")
        return table


def decide(readout: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the class with the largest logit; `readout` is (..., classes), the running sum."""
    return np.argmax(readout * scale, axis=-1)


def _classifier(netlist: Netlist, data: Dataset) -> Readout | None:
    """Return the readout that decides on classes, if there is one and labels to compare with."""
    if data.labels is None or len(netlist.readouts) != 1 or len(netlist.readouts[0].shape) != 1:
        return None
    return netlist.readouts[0]


def check_samples(netlist: Netlist, data: Dataset) -> None:
    """Raise unless the data, and labels if any, fit the netlist."""
    readouts = netlist.readouts
    classes = readouts[0].shape[0] if len(readouts) == 1 and len(readouts[0].shape) == 1 else None
    check_data(data, netlist.input, classes, netlist.timesteps)
    if len(data) == 0:
        raise InputError(data.name, "holds no samples")


def _spikes(counts: Counts) -> int:
    return sum(p.spikes for p in counts.populations if p.kind != "Input")


def _operations(counts: Counts) -> int:
    return sum(c.sops for c in counts.connections if not c.from_input)


def traces(
    netlist: Netlist,
    data: Dataset,
    *,
    batch: int = 64,
    backend: Backend = "reference",
    progress: Progress = silent,
) -> Iterator[Trace]:
    """Yield the traces of a data set, batch by batch.

    Raises
    ------
    InputError
        When the data do not fit the netlist.
    BackendError
        When Lava is not installed or died.
    """
    if backend == "lava":
        for run in lava_runs(netlist, data, batch=batch, progress=progress):
            yield run.trace
        return
    check_samples(netlist, data)
    with progress("simulating", -(-len(data) // batch)) as advance:
        for payloads in data.batches(netlist.input, batch):
            yield simulate(netlist, payloads)
            advance()


def lava_runs(netlist: Netlist, data: Dataset, *, batch: int = 64, progress: Progress = silent) -> Iterator[LavaRun]:
    """Yield the runs of a data set on Lava, `batch` samples in each.

    Raises
    ------
    InputError
        When the data do not fit the netlist.
    BackendError
        When Lava is not installed or died.
    """
    check_samples(netlist, data)
    with progress("Lava timesteps", len(data) * netlist.timesteps) as advance:
        for payloads in data.batches(netlist.input, batch):
            samples = payloads.shape[1 if netlist.input.coding == "frames" else 0]
            yield measure_on_lava(netlist, payloads, progress=_scaled(advance, samples * netlist.timesteps))


def _scaled(advance: Callable[[], None], total: int) -> Callable[[int, int], None]:
    """Return a report of (steps done, steps in all) that advances `total` times by the end."""
    shown = 0

    def report(done: int, steps: int) -> None:
        nonlocal shown
        for _ in range(done * total // steps - shown):
            advance()
            shown += 1

    return report


@dataclass(frozen=True, eq=False)
class _Tally:
    """What one batch, or several, add up to; `right` is (T,), or (1,) at each sample's own exit."""

    right: np.ndarray
    steps: int
    counts: Counts
    saturations: Mapping[str, int]

    def __add__(self, other: _Tally) -> _Tally:
        saturations = {name: self.saturations.get(name, 0) + clips for name, clips in other.saturations.items()}
        return _Tally(
            self.right + other.right,
            self.steps + other.steps,
            self.counts + other.counts,
            {**self.saturations, **saturations},
        )


@dataclass(frozen=True, eq=False)
class _Run:
    """How every batch of a data set runs."""

    netlist: Netlist
    early_exit: bool

    @cached_property
    def simulator(self) -> Simulator:
        """Compiled where it is first asked for: once here, once in each worker that keeps the run."""
        return compile_netlist(self.netlist)


#: Payloads and labels.
_Batch = tuple[np.ndarray, np.ndarray | None]


def _batches(netlist: Netlist, data: Dataset, batch: int) -> Iterator[_Batch]:
    labels = None if _classifier(netlist, data) is None else data.labels
    for index, payloads in enumerate(data.batches(netlist.input, batch)):
        yield payloads, None if labels is None else labels[index * batch : (index + 1) * batch]


def _right(netlist: Netlist, run: BatchResult | Trace, labels: np.ndarray | None) -> np.ndarray:
    """Return how many decisions are right at each timestep, (T,); zeros without labels."""
    if labels is None:
        return np.zeros(netlist.timesteps, np.int64)
    return np.asarray((decide(run.readout, netlist.readouts[0].scale) == labels).sum(axis=-1))


def _tally_trace(netlist: Netlist, trace: Trace, labels: np.ndarray | None) -> _Tally:
    steps = trace.samples * netlist.timesteps
    return _Tally(_right(netlist, trace, labels), steps, count(netlist, trace), trace.saturations)


def _tally_batch(run: _Run, batch: _Batch) -> _Tally:
    """Run one batch, here or in a worker, without keeping its spikes."""
    netlist, (payloads, labels) = run.netlist, batch
    if run.early_exit:
        stopped = simulate_early_exit(netlist, payloads)
        right = 0 if labels is None else int((decide(stopped.readout, netlist.readouts[0].scale) == labels).sum())
        return _Tally(np.array([right]), int(stopped.timesteps.sum()), count(netlist, stopped.activity), {})
    done = run.simulator.run(payloads, activity=True)
    assert done.activity is not None
    return _Tally(_right(netlist, done, labels), done.activity.steps, count(netlist, done.activity), done.saturations)


def _evaluation(
    netlist: Netlist, data: Dataset, tally: _Tally, seconds: float, backend: Backend, lava: LavaTiming | None = None
) -> Evaluation:
    counts, labelled = tally.counts, _classifier(netlist, data) is not None
    by_timestep = tuple((tally.right / counts.samples).tolist()) if labelled else ()
    return Evaluation(
        backend=backend,
        samples=counts.samples,
        timesteps=netlist.timesteps,
        accuracy=by_timestep[-1] if by_timestep else None,
        accuracy_by_timestep=by_timestep if len(by_timestep) == netlist.timesteps else (),
        spikes_per_sample=_spikes(counts) / counts.samples,
        synaptic_operations_per_sample=_operations(counts) / counts.samples,
        mean_timesteps=tally.steps / counts.samples,
        seconds=seconds,
        saturations={name: clips for name, clips in tally.saturations.items() if clips},
        lava=lava,
    )


def evaluate(
    netlist: Netlist,
    data: Dataset,
    *,
    batch: int = 64,
    backend: Backend = "reference",
    trace: Path | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Run a netlist on a data set for all timesteps, in this process.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset
    batch : int
        Samples in memory at a time.
    backend : {"reference", "lava"}
    trace : path, optional
        Write every payload there.

    Raises
    ------
    InputError
        When the data do not fit the netlist.
    BackendError
        When Lava is not installed or died.
    """
    if backend == "reference" and trace is None:
        return evaluate_on("local:1", netlist, data, batch=batch, progress=progress)
    timings: list[LavaTiming] = []

    def stream() -> Iterator[Trace]:
        if backend == "reference":
            yield from traces(netlist, data, batch=batch, progress=progress)
            return
        for run in lava_runs(netlist, data, batch=batch, progress=progress):
            timings.append(run.timing)
            yield run.trace

    labels = None if _classifier(netlist, data) is None else data.labels
    total: _Tally | None = None
    started, seconds = time.perf_counter(), 0.0
    with ExitStack() as stack:
        writer = stack.enter_context(TraceWriter(trace)) if trace is not None else None
        for done in stream():
            seconds += time.perf_counter() - started
            first = total.counts.samples if total else 0
            tally = _tally_trace(netlist, done, None if labels is None else labels[first : first + done.samples])
            total = tally if total is None else total + tally
            if writer is not None:
                writer.append(done)
            started = time.perf_counter()
    assert total is not None
    return _evaluation(netlist, data, total, seconds, backend, add_timings(timings) if timings else None)


def count_operations(netlist: Netlist, data: Dataset, *, batch: int = 64, progress: Progress = silent) -> Counts:
    """Run a netlist on a data set and count its operations.

    Raises
    ------
    InputError
        When the data do not fit the netlist.
    """
    return _add_up("local:1", _Run(netlist, early_exit=False), data, batch, progress).counts


def _add_up(executor: str, run: _Run, data: Dataset, batch: int, progress: Progress) -> _Tally:
    """Run every batch wherever there is a free worker."""
    check_samples(run.netlist, data)
    total: _Tally | None = None
    with progress("simulating", -(-len(data) // batch)) as advance:
        for _, tally in run_tasks(_tally_batch, run, _batches(run.netlist, data, batch), executor):
            total = tally if total is None else total + tally
            advance()
    assert total is not None
    return total


def evaluate_on(
    executor: str,
    netlist: Netlist,
    data: Dataset,
    *,
    early_exit: bool = False,
    batch: int = 64,
    progress: Progress = silent,
) -> Evaluation:
    """Run a netlist on a data set on the reference simulator, batches wherever there is a free worker.

    Parameters
    ----------
    executor : str
        As `toolchain.workers.tasks.run_tasks` takes it: ``local:1`` is this process.
    netlist : Netlist
    data : Dataset
    early_exit : bool
        Whether each sample stops once it is confident (semantics, section 8).
    batch : int
        Samples of a task.

    Raises
    ------
    InputError
        When the data do not fit the netlist, it holds no confidence schedule to stop by, or the
        executor is unknown.
    BackendError
        When the executor does not answer.
    """
    started = time.perf_counter()
    total = _add_up(executor, _Run(netlist, early_exit), data, batch, progress)
    return _evaluation(netlist, data, total, time.perf_counter() - started, "reference")
