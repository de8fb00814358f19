"""The caller's side of a worker: start, listen, and end all of it, whatever happens."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from hw_targets.lava_runtime.blas import blas_environment
from hw_targets.lava_runtime.job import MAKE_ROOM, Job
from toolchain.netlist import BackendError

#: Seconds that a process group gets to end after SIGTERM. Python's resource tracker ignores that
#: signal and removes the shared memory of the others meanwhile.
GRACE = 2.0

#: Longest tail of the worker's log that an error quotes, in characters.
LOG_TAIL = 2000


def supervise(
    command: Sequence[str],
    job: Job,
    *,
    time_limit: float,
    step: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Run a worker to its end.

    Parameters
    ----------
    command : sequence of str
        Speaks the messages of `hw_targets.lava_runtime.worker` on standard output.
    job : Job
        Where errors and the log go.
    time_limit : float
        Seconds.
    step : callable, optional
        Called with each step reached, in this thread.

    Returns
    -------
    dict of str to float
        Seconds per phase.

    Raises
    ------
    BackendError
        When the worker or one of its processes raises (with its traceback), dies or takes too
        long. Nothing of it is left running, then or on any other exception.
    """
    deadline = monotonic() + time_limit
    with job.log.open("wb") as log:
        worker = subprocess.Popen(
            [*command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
    try:
        return _listen(worker, job, deadline, time_limit, step)
    finally:
        _end(worker)


def _environment() -> dict[str, str]:
    """Return the worker's environment: our packages on its path, BLAS as it should be."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    return {**os.environ, **blas_environment(os.environ), "PYTHONPATH": path}


def _listen(
    worker: subprocess.Popen[bytes],
    job: Job,
    deadline: float,
    time_limit: float,
    step: Callable[[int], None] | None,
) -> dict[str, float]:
    assert worker.stdout is not None
    pipe = worker.stdout.fileno()
    phases: dict[str, float] = {}
    place = "at the start"
    rest = b""
    while True:
        remaining = deadline - monotonic()
        if remaining <= 0:
            raise BackendError(
                "lava",
                f"the run took longer than its time limit of {time_limit:g} s (it was {place})",
                "raise the limit or run fewer samples",
            )
        ready, _, _ = select.select([pipe], [], [], min(remaining, 0.5))
        if not ready:
            if worker.poll() is not None:
                raise _death(worker, job)
            continue
        chunk = os.read(pipe, 65536)
        if not chunk:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.1, deadline - monotonic()))
            raise _death(worker, job)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            match line.decode().split():
                case ["enter", name]:
                    place = f"in phase {name!r}"
                case ["phase", name, seconds]:
                    phases[name] = float(seconds)
                case ["step", reached]:
                    place = f"at step {reached}"
                    if step is not None:
                        step(int(reached))
                case ["failed", name]:
                    raise _failure(name, job)
                case ["died"]:
                    raise _death(worker, job)
                case ["done"]:
                    return phases


def _failure(name: str, job: Job) -> BackendError:
    """Return the error for an exception in the worker or in a population's process model."""
    path = job.errors / f"{name}.txt"
    trace = path.read_text().strip() if path.exists() else "(no traceback was left)"
    where = "lava worker" if name == "worker" else f"lava process of {name!r}"
    reason = trace.splitlines()[-1]
    error = BackendError(where, reason, MAKE_ROOM if os.strerror(errno.ENOSPC) in reason else None)
    error.add_note(trace)
    return error


def _death(worker: subprocess.Popen[bytes], job: Job) -> BackendError:
    """Return the error for a worker or process that ended without a word."""
    for path in sorted(job.errors.glob("*.txt")):
        return _failure(path.stem, job)
    status = worker.poll()
    if status is None:
        what = "one of Lava's processes died"
    else:
        what = f"the worker died with {f'signal {-status}' if status < 0 else f'status {status}'}"
    tail = job.log.read_text(errors="replace")[-LOG_TAIL:].strip()
    fix = "is there enough memory?" if status in (None, -signal.SIGKILL) else None
    # What a process that maps a shared file hears when the file system has no page left for it.
    error = BackendError("lava", what, MAKE_ROOM if status == -signal.SIGBUS else fix)
    if tail:
        error.add_note(tail)
    return error


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End a worker and everything in its session.

    All its processes hold the pipe, so the end of the pipe is the end of them all. (Asking for the
    process group would not do: it lists the dead until their new parent collects them.)
    """
    pipe = worker.stdout
    assert pipe is not None
    for deadly in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, deadly)
        if _drained(pipe.fileno(), GRACE):
            break
    if worker.stdin is not None:
        worker.stdin.close()
    pipe.close()
    worker.wait()


def _drained(pipe: int, patience: float) -> bool:
    """Read a pipe until it ends; return whether it did within `patience` seconds."""
    until = monotonic() + patience
    os.set_blocking(pipe, False)
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, until - monotonic()))
        if not ready:
            return False
        if not os.read(pipe, 65536):
            return True
