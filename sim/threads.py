"""Parts of a batch on several cores: one Python thread per core, each with single-threaded kernels.

A part stays in one core's second-level cache from the convolution to the neuron scan, and no
kernel waits for a barrier. The kernels release the interpreter lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

Part = TypeVar("Part")


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Start threads in which torch runs single-threaded; the caller's own number stays."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sim", initializer=torch.set_num_threads, initargs=(1,))
    everyone = Barrier(workers)
    for ready in [pool.submit(everyone.wait) for _ in range(workers)]:
        ready.result()
    # torch remembers the number last set as the default of threads to come.
    torch.set_num_threads(workers)
    return pool


# A forked child inherits the pool without its threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _run(work: Callable[[Part], int], part: Part) -> int:
    with torch.inference_mode():
        return work(part)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch's own kernels run on one core, so that float sums do not depend on how many there are.

    Integer work needs no such care: its sums are exact in any order.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def workers() -> int:
    """Return how many cores torch uses."""
    return torch.get_num_threads()


def for_each(work: Callable[[Part], int], parts: Sequence[Part]) -> int:
    """Run `work` on every part, on as many cores as torch uses, and add up what it returns."""
    if min(workers(), len(parts)) <= 1:
        return sum(_run(work, part) for part in parts)
    pool = _pool(workers())
    return sum(future.result() for future in [pool.submit(_run, work, part) for part in parts])
