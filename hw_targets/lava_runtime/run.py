"""Run a netlist on Lava and bring its trace back, in reference time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np

from hw_targets.lava_runtime.job import COUNTERS, Job, LavaBatch, disk_errors, job_folder
from hw_targets.lava_runtime.report import ACTIVITIES, LavaRun, LavaTiming, ProcessTime
from hw_targets.lava_runtime.shim import require_lava
from hw_targets.lava_runtime.supervise import supervise
from hw_targets.schedule import schedule
from toolchain.netlist import InputError, Netlist, Trace, can_limit, check_payloads

#: Most samples that travel side by side unless told otherwise.
LANES = 16

WORKER = (sys.executable, "-P", "-m", "hw_targets.lava_runtime.worker")


def run_on_lava(
    netlist: Netlist,
    payloads: np.ndarray,
    *,
    time_limit: float = 600,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Run a netlist on Lava.

    Parameters
    ----------
    netlist : Netlist
    payloads : ndarray (N, *shape), or (T, N, *shape) for frames; integer
        As the input sends them.
    time_limit : float
        Seconds for all of it.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Trace
        `backend` is "lava"; spikes are in reference time, the pipeline's delays taken out.

    Raises
    ------
    InputError
        When the payloads are not what the input takes.
    BackendError
        When Lava is missing, raises, dies or takes too long.
    """
    return measure_on_lava(netlist, payloads, time_limit=time_limit, progress=progress).trace


def measure_on_lava(
    netlist: Netlist,
    payloads: np.ndarray,
    *,
    lanes: int | None = None,
    time_limit: float = 600,
    progress: Callable[[int, int], None] | None = None,
) -> LavaRun:
    """Run a netlist on Lava and report where the time went.

    Parameters
    ----------
    lanes : int, optional
        Samples that travel side by side, each on its own copy of the network; groups of them
        follow each other without a gap. By default as even groups of at most `LANES`.
    netlist, payloads, time_limit, progress
        As in `run_on_lava`, and so are the errors.

    Returns
    -------
    LavaRun
    """
    begin = perf_counter()
    given = check_payloads(netlist.input, payloads, netlist.timesteps)
    if given.shape[1] == 0:
        raise InputError(netlist.input.name, "there are no samples to run")
    batch = _batch(given.shape[1], lanes)
    times = schedule(netlist)
    steps = times.steps(batch.rounds)
    require_lava()
    with job_folder() as job:
        # A held payload travels once.
        job.write(netlist, given if netlist.input.coding == "frames" else given[0], batch)
        phases = supervise(
            [*WORKER, str(job.folder)],
            job,
            time_limit=time_limit,
            step=None if progress is None else lambda reached: progress(reached, steps),
        )
        with disk_errors():
            trace, processes = _collect(netlist, job)
    timing = LavaTiming(
        samples=batch.samples,
        lanes=batch.lanes,
        steps=steps,
        total=perf_counter() - begin,
        phases=phases,
        processes=processes,
    )
    return LavaRun(trace, timing)


def _batch(samples: int, lanes: int | None) -> LavaBatch:
    if lanes is None:
        rounds = -(-samples // LANES)
        lanes = -(-samples // rounds)
    if lanes < 1:
        raise InputError("lanes", f"{lanes} found, expected at least 1")
    return LavaBatch(samples, min(lanes, samples))


def _collect(netlist: Netlist, job: Job) -> tuple[Trace, dict[str, ProcessTime]]:
    """Load what the processes recorded."""
    arrays = {p.name: np.load(job.record(p.name), allow_pickle=False) for p in netlist.populations}
    table = np.load(job.counters, allow_pickle=False)
    counts = {
        p.name: dict(zip(COUNTERS, row.tolist(), strict=True))
        for p, row in zip(netlist.populations, table, strict=True)
    }
    readouts = {p.name for p in netlist.readouts}
    trace = Trace(
        netlist_hash=netlist.content_hash,
        backend="lava",
        spikes={name: array for name, array in arrays.items() if name not in readouts},
        readouts={name: array for name, array in arrays.items() if name in readouts},
        saturations={p.name: counts[p.name]["clips"] for p in netlist.populations if can_limit(p)},
    )
    processes = {
        name: ProcessTime(**{activity: row[f"{activity}_ns"] / 1e9 for activity in ACTIVITIES})
        for name, row in counts.items()
    }
    return trace, processes
