"""Parts of a batch on several cores: one Python thread per core, each with single-threaded kernels.

A part stays in one core's second-level cache from the convolution to the neuron scan, and no
kernel waits for a barrier. The kernels release the interpreter lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def _single_threaded() -> None:
    """Let torch run single-threaded in this thread of the pool."""
    # A thread's first look at the number sets it to torch's default: it must come before ours.
    torch.get_num_threads()
    torch.set_num_threads(1)


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Start threads in which torch runs single-threaded; the caller's own number stays."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sim", initializer=_single_threaded)
    everyone = Barrier(workers)
    for ready in [pool.submit(everyone.wait) for _ in range(workers)]:
        ready.result()
    # torch remembers the number last set as the default of threads to come.
    torch.set_num_threads(workers)
    return pool


# A forked child inherits the pool without its threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _run(work: Callable[[Part], Result], part: Part) -> Result:
    if torch.is_inference_mode_enabled():
        return work(part)
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


def for_each(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Run `work` on every part, on as many cores as torch uses; what it calls in turn stays on its core."""
    if min(workers(), len(parts)) <= 1:
        return [_run(work, part) for part in parts]
    futures = [_pool(workers()).submit(_run, work, part) for part in parts]
    try:
        return [future.result() for future in futures]
    except BaseException:
        # An interrupt or a failure must not wait for parts that nobody will read.
        for future in futures:
            future.cancel()
        raise


def each_alone(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """As `for_each`, and a part that is the only one keeps to one core as well.

    For float sums, which must not depend on how many cores there are.
    """
    with one_thread() if len(parts) == 1 else nullcontext():
        return for_each(work, parts)
