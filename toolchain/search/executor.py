"""Where measurements run: processes of this machine (joblib), or a Dask cluster.

Every task is one layer at one setting. A worker builds the workbench of a base once and keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import joblib
import torch

from toolchain.netlist import BackendError, InputError
from toolchain.network import Firing
from toolchain.search.cache import MeasurementCache
from toolchain.search.workbench import Base, Sensitivity, Workbench

#: A layer's name and how it fires.
Task = tuple[str, Firing]


class _Kept:
    """A base that hashes and compares by its content, so that a worker finds its workbench again."""

    def __init__(self, base: Base) -> None:
        self.base = base

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept) and self.base.key == other.base.key

    def __hash__(self) -> int:
        return hash(self.base.key)


@lru_cache(maxsize=1)
def _workbench(kept: _Kept) -> Workbench:
    return Workbench(kept.base)


def _measure(
    base: Base, index: int, task: Task, cache: MeasurementCache | None, threads: int | None
) -> tuple[int, Sensitivity]:
    """Measure in a worker, and store the result before anything can interrupt it."""
    if threads is not None:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        measured = _workbench(_Kept(base)).measure(*task)
    if cache is not None:
        cache.store(base.key, *task, measured)
    return index, measured


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
    raise InputError("--executor", f"{executor!r} found, expected local, local:N or dask://HOST:PORT")


def run_tasks(
    base: Base, tasks: Sequence[Task], executor: str, cache: MeasurementCache | None
) -> Iterator[tuple[int, Sensitivity]]:
    """Yield (position of the task, measurement) as they come in.

    Parameters
    ----------
    base : Base
    tasks : sequence of (name, Firing)
    executor : str
        ``local`` for one process per core, ``local:N`` for N (1: this process), ``dask://HOST:PORT``
        for a Dask scheduler.
    cache : MeasurementCache, optional
        Written by the workers: a cluster shares the folder or loses only the ability to resume.

    Raises
    ------
    InputError
        When the executor is none of these.
    BackendError
        When the scheduler does not answer, or dask is not installed.
    """
    kind, where = check_executor(executor)
    _ = base.key  # computed here, it travels with the base instead of being computed for every task
    if kind == "dask":
        yield from _on_dask(base, tasks, f"tcp:{where}", cache)
    else:
        workers = min(int(where) if where else joblib.cpu_count(), len(tasks))
        yield from _on_this_machine(base, tasks, workers, cache)


def _on_this_machine(
    base: Base, tasks: Sequence[Task], workers: int, cache: MeasurementCache | None
) -> Iterator[tuple[int, Sensitivity]]:
    if workers <= 1:
        for index, task in enumerate(tasks):
            yield _measure(base, index, task, cache, None)
        return
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="2*n_jobs")
    yield from parallel(joblib.delayed(_measure)(base, i, task, cache, 1) for i, task in enumerate(tasks))


def _on_dask(
    base: Base, tasks: Sequence[Task], address: str, cache: MeasurementCache | None
) -> Iterator[tuple[int, Sensitivity]]:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise BackendError("--executor", "dask is not installed", "install adafire[search]") from None
    try:
        client: Any = Client(address, timeout=10, set_as_default=False)
    except OSError as error:
        raise BackendError(
            "--executor", f"no Dask scheduler answers at {address}: {error}", "start one, or use local"
        ) from None
    with client:
        shared = client.scatter(base, broadcast=True, hash=False)
        futures = [
            client.submit(_measure, shared, index, task, cache, 1, pure=False) for index, task in enumerate(tasks)
        ]
        for future in as_completed(futures, loop=client.loop):
            yield future.result()
