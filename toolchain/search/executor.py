"""Measurements of a search as tasks: one layer at one setting, stored as soon as it is done.

A worker builds the workbench of a base once and keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch

from toolchain.network import Firing
from toolchain.search.cache import MeasurementCache
from toolchain.search.workbench import BaseNetwork, Sensitivity, Workbench
from toolchain.workers import run_tasks

#: One layer that fires differently: its name, and how it fires.
Variation = tuple[str, Firing]


class _ByContent:
    """A base that hashes and compares by its content, so that a worker finds its workbench again."""

    def __init__(self, base: BaseNetwork) -> None:
        self.base = base

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByContent) and self.base.key == other.base.key

    def __hash__(self) -> int:
        return hash(self.base.key)


@lru_cache(maxsize=1)
def _workbench(kept: _ByContent) -> Workbench:
    return Workbench(kept.base)


def _measure(shared: tuple[BaseNetwork, MeasurementCache | None], task: Variation) -> Sensitivity:
    """Measure in a worker, and store the result before anything can interrupt it."""
    base, cache = shared
    with torch.inference_mode():
        measured = _workbench(_ByContent(base)).measure(*task)
    if cache is not None:
        cache.store(base.key, *task, measured)
    return measured


def measure_tasks(
    base: BaseNetwork, tasks: Sequence[Variation], executor: str, cache: MeasurementCache | None
) -> Iterator[tuple[int, Sensitivity]]:
    """Yield (position of the task, measurement) as they come in.

    Parameters
    ----------
    base : BaseNetwork
    tasks : sequence of Variation
    executor : str
        As `toolchain.workers.tasks.run_tasks` takes it.
    cache : MeasurementCache, optional
        Written by the workers: a cluster shares the folder or loses only the ability to resume.

    Raises
    ------
    InputError
        When the executor is unknown.
    BackendError
        When the scheduler does not answer, or dask is not installed.
    """
    _ = base.key  # computed here, it travels with the base instead of being computed for every task
    yield from run_tasks(_measure, (base, cache), tasks, executor)
