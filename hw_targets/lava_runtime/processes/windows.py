"""Neurons of radix code as a Lava Process: a window of digits in, a number, a window of digits out.

Lava's compiler may execute this file again to look for models: keep it free of side effects.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from hw_targets.lava_runtime.kernels import build_burst
from hw_targets.lava_runtime.processes.populations import AdaFireProcess, Arrived, PopulationModel
from toolchain.netlist import AdaFire, per_channel


class WindowProcess(AdaFireProcess):
    """AdaFire neurons that take a number in, digit by digit, and send one."""

    def __init__(self, *, population: AdaFire, lanes: int, **common: Any):
        super().__init__(population=population, lanes=lanes, **common)
        self.number = Var(shape=(lanes, *population.shape), init=0)


@implements(proc=WindowProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class WindowModel(PopulationModel):
    """``u <- saturate(B u + I)``, with the last digit plus b + u0; then ``n <- clip(floor(u / theta), 0, B**K - 1)``.

    With the last digit of a number the first one of what follows from it is there. So digits of one sample leave while
    those of the next come in: two numbers per neuron, u and n.
    """

    in_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    u: np.ndarray = LavaPyType(np.ndarray, np.int64)
    number: np.ndarray = LavaPyType(np.ndarray, np.uint8)
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int64)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int64)
    initial: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        radix = self.task.radix
        if radix is None:
            raise TypeError("a window needs digits")
        threshold = per_channel(self.population.threshold, self.population.shape)
        self.fire = build_burst(threshold, radix.greatest, self.task.limit)
        self.places = radix.places.astype(np.uint8)

    def start_samples(self) -> None:
        """Forget the window before: nothing of it is left over."""
        self.u[...] = 0

    def advance(self, step: int) -> None:
        """Take a digit in where one is due, and give one out where one is due: of the same sample or the one before."""
        task, begin = self.task, perf_counter_ns()
        if (now := task.window.when(step)) is not None:
            self.take_in(task.batch.occupied(now[0]), now[1])
        due, digit = task.sending.when(step), None
        if due is not None:
            samples = task.batch.occupied(due[0])
            number = self.number[: samples.stop - samples.start]
            digit = number if len(self.places) == 1 else number // self.places[due[1]] % np.uint8(self.base)
        task.count("compute_ns", perf_counter_ns() - begin)
        if due is not None and digit is not None:
            self.give_out(digit, samples, due[1])

    def compute(self, arrived: Arrived, samples: slice, timestep: int) -> np.ndarray:
        """Integrate one digit; with the last one, fire."""
        n, limit = samples.stop - samples.start, self.task.limit
        u = self.current(arrived, self.base * self.u[:n])
        if self.last(timestep):
            u = u + self.bias + self.initial
        if int(u.max()) > limit or int(u.min()) < -limit:
            clipped = np.clip(u, -limit, limit)
            self.task.count("clips", int(np.count_nonzero(clipped != u)))
            u = clipped
        self.u[:n] = u
        if self.last(timestep):
            self.number[:n] = self.fire(u)
        return self.number[:n]
