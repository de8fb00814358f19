"""The worker: runs one job on Lava in a process of its own (``python -m hw_targets.lava_runtime.worker JOBDIR``).

It is alone in its session with everything that Lava forks, so that the caller can end all of it at
once. It ends itself when the caller is gone: standard input closes. Standard output carries one
message per line: ``enter NAME``, ``phase NAME SECONDS``, ``step K``, ``failed NAME``, ``died``, ``done``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from time import perf_counter
from typing import Any

from hw_targets.lava_runtime.job import Job
from hw_targets.lava_runtime.shim import load_lava
from hw_targets.lava_runtime.task import Messenger
from hw_targets.schedule import schedule

#: Slots of a channel: a message is taken within the step that it is sent in.
CHANNEL_SLOTS = 2


def end_with_caller() -> None:
    """End this process group once standard input closes: the caller is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def report_deaths(processes: list[Any], messenger: Messenger) -> Iterator[None]:
    """Tell the caller when one of Lava's processes ends before its time."""
    finished = threading.Event()
    sentinels = {process.sentinel: process for process in processes}

    def watch() -> None:
        while not finished.is_set():
            for ended in wait(list(sentinels), timeout=0.2):
                if not finished.is_set():
                    messenger.tell("died")
                    sentinels.pop(ended, None)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


@contextlib.contextmanager
def phase(name: str, messenger: Messenger) -> Iterator[None]:
    """Time one phase of the run."""
    messenger.tell(f"enter {name}")
    begin = perf_counter()
    yield
    messenger.tell(f"phase {name} {perf_counter() - begin:.6f}")


def run_job(job: Job, messenger: Messenger) -> None:
    """Run a job from its folder."""
    with phase("load", messenger):
        load_lava()
        from lava.magma.core.run_conditions import RunSteps

        from hw_targets.lava_runtime.network import PopulationRun, build_network

        netlist, payloads, batch = job.read()
        times = schedule(netlist)
    with phase("build", messenger):
        processes = build_network(netlist, times, payloads, batch, job, messenger)
    source = processes[netlist.input.name]
    with phase("compile", messenger):
        run = PopulationRun(processes.values())
        source.create_runtime(run_cfg=run, compile_config={"pypy_channel_size": CHANNEL_SLOTS})
    with phase("run", messenger), report_deaths(source.runtime._messaging_infrastructure.actors, messenger):
        source.run(condition=RunSteps(num_steps=times.steps(batch.rounds)))
    with phase("stop", messenger):
        source.stop()


def serve(run: Callable[[Job, Messenger], None], folder: str) -> int:
    """Run the job in `folder`; what goes wrong reaches the caller as a message and a file."""
    pipe = os.dup(1)
    os.dup2(2, 1)
    job = Job(Path(folder))
    messenger = Messenger(pipe, job.errors)
    end_with_caller()
    try:
        run(job, messenger)
    except BaseException:
        messenger.fail("worker")
        raise
    messenger.tell("done")
    return 0


def main(folder: str) -> int:
    """Run a netlist."""
    return serve(run_job, folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
