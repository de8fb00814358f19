"""What one population's process model is told: its window in time, its lines, where it records."""

from __future__ import annotations

import os
import traceback
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hw_targets.lava_runtime.job import COUNTERS, LavaBatch
from hw_targets.lava_runtime.kernels import Kernel
from hw_targets.schedule import Window
from toolchain.netlist import Radix


@dataclass
class Line:
    """What arrives from one source population: a delay line and the connections behind it.

    Parameters
    ----------
    window : Window
        In which the source sends.
    kernels : tuple of Kernel
        One per connection from that source; none when nothing is done with what arrives.
    delay : int
        Timesteps from a payload to its effect.
    """

    window: Window
    kernels: tuple[Kernel, ...]
    delay: int = 0
    waiting: deque[np.ndarray] = field(default_factory=deque)

    def receive(self, step: int, payload: np.ndarray) -> None:
        """Keep what arrives at a step, unless its effect would come after its sample's end."""
        sent = self.window.when(step - 1)
        if self.kernels and sent is not None and sent[1] + self.delay < self.window.timesteps:
            self.waiting.append(payload)

    def take(self, timestep: int) -> np.ndarray | None:
        """Return the payload that takes effect at a timestep; None before the first, and where there is no kernel."""
        return self.waiting.popleft() if self.kernels and timestep >= self.delay else None


@dataclass(frozen=True)
class Messenger:
    """How processes reach the caller: short lines on a pipe, tracebacks as files."""

    pipe: int
    errors: Path

    def tell(self, line: str) -> None:
        """Send one short line; atomic, whichever process sends it."""
        os.write(self.pipe, f"{line}\n".encode())

    def fail(self, name: str) -> None:
        """Leave the traceback of the exception being handled and say so."""
        (self.errors / f"{name}.txt").write_text(traceback.format_exc())
        self.tell(f"failed {name}")


@dataclass
class Task:
    """One population's part in a run.

    Parameters
    ----------
    name : str
    window : Window
        In which it takes in and computes.
    sending : Window
        In which it has something to emit: the same, but for neurons that need a whole window of digits.
    radix : Radix or None
        Base and digits of the netlist's numbers.
    batch : LavaBatch
    lines : tuple of Line
        One per InPort ``in_<i>``.
    limit : int
        Magnitude at which the membrane potential saturates.
    record : ndarray (T, N, *shape)
        Mapped file.
    counters : ndarray (len(COUNTERS),) int64
        Mapped file.
    messenger : Messenger
    """

    name: str
    window: Window
    sending: Window
    radix: Radix | None
    batch: LavaBatch
    lines: tuple[Line, ...]
    limit: int
    record: np.ndarray
    counters: np.ndarray
    messenger: Messenger

    def count(self, counter: str, amount: int) -> None:
        """Add to one of `COUNTERS`."""
        self.counters[COUNTERS.index(counter)] += amount
