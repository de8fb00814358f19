"""Where independent tasks run: in this process, in processes of this machine (joblib), on a Dask cluster.

A function of something shared and of one task; what is shared travels once to a cluster's workers.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

import torch

from toolchain.netlist import BackendError, InputError

with warnings.catch_warnings():
    # Without room for what processes share, joblib warns here and would run all in this process; we say so if asked to.
    warnings.filterwarnings("ignore", message=".*serial mode")
    import joblib

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

#: What helps where processes cannot share memory.
MAKE_ROOM = "free some space in /dev/shm, which processes share, or leave `executor` out"
#: Tasks that are held for each worker, so that it never idles and memory stays flat.
AHEAD = 3


def check_executor(executor: str) -> tuple[str, str]:
    """Return the executor's kind and where it is.

    Raises
    ------
    InputError
        When it is none that `run_tasks` knows.
    """
    kind, _, where = executor.partition(":")
    if (kind == "dask" and where.startswith("//") and len(where) > 2) or (
        kind == "local" and (not where or (where.isdecimal() and int(where) > 0))
    ):
        return kind, where
    raise InputError("executor", f"{executor!r} found, expected local, local:N or dask://HOST:PORT")


def run_tasks(
    function: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task], executor: str
) -> Iterator[tuple[int, Result]]:
    """Yield (position of the task, result) as they come in.

    Parameters
    ----------
    function : callable
        Of `shared` and a task; of a module, so that other processes find it.
    shared : object
    tasks : iterable
        Read as workers become free: few are held at a time.
    executor : str
        ``local`` for one process per core, ``local:N`` for N (1: this process), ``dask://HOST:PORT``
        for a Dask scheduler. Kernels of several processes run on one thread each.

    Raises
    ------
    InputError
        When the executor is none of these.
    BackendError
        When the scheduler does not answer, dask is not installed, or processes cannot be started or died.
    """
    kind, where = check_executor(executor)
    if kind == "dask":
        yield from _on_dask(function, shared, tasks, f"tcp:{where}")
        return
    workers = int(where) if where else joblib.cpu_count()
    if workers == 1:
        for index, task in enumerate(tasks):
            yield index, function(shared, task)
        return
    yield from _on_processes(function, shared, tasks, workers)


def _on_processes(
    function: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task], workers: int
) -> Iterator[tuple[int, Result]]:
    if joblib.parallel.mp is None:
        raise BackendError("executor", "processes cannot be started", MAKE_ROOM)
    try:
        parallel = joblib.Parallel(
            n_jobs=workers, return_as="generator_unordered", pre_dispatch=AHEAD * workers, batch_size=1
        )
        yield from parallel(joblib.delayed(_numbered)(function, shared, i, task) for i, task in enumerate(tasks))
    except BrokenProcessPool:
        raise BackendError("executor", "a process died", f"is there enough memory? else {MAKE_ROOM}") from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise BackendError("executor", f"processes cannot share data ({error.strerror})", MAKE_ROOM) from None


def _numbered(function: Callable[[Shared, Task], Result], shared: Shared, index: int, task: Task) -> tuple[int, Result]:
    """Do one task in a process of its own core."""
    torch.set_num_threads(1)
    return index, function(shared, task)


def _on_dask(
    function: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task], address: str
) -> Iterator[tuple[int, Result]]:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise BackendError("executor", "dask is not installed", "install adafire[search]") from None
    try:
        client: Any = Client(address, timeout=10, set_as_default=False)
    except OSError as error:
        raise BackendError(
            "executor", f"no Dask scheduler answers at {address}: {error}", "start one, or use local"
        ) from None
    with client:
        # In a list: a container would be scattered item by item.
        (everywhere,) = client.scatter([shared], broadcast=True, hash=False)
        numbered = enumerate(tasks)

        def submit(count: int) -> list[Any]:
            return [
                client.submit(_numbered, function, everywhere, index, task, pure=False)
                for index, task in islice(numbered, count)
            ]

        pending = as_completed(submit(AHEAD * max(1, len(client.nthreads()))), loop=client.loop)
        for future in pending:
            pending.update(submit(1))
            yield future.result()
