"""Populations as Lava Processes, with fixed-point models that compute what semantics.md says.

Each step of a model has three parts: the payload of the step before leaves, what arrives enters the
delay lines, and, inside the population's window of time, one timestep of the reference is computed
and recorded. Sending first makes one step of latency per hop.

Lava's compiler may execute this file again to look for models: keep it free of side effects.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from hw_targets.lava_runtime.kernels import build_burst, build_window_maximum
from hw_targets.lava_runtime.task import Task
from toolchain.netlist import AdaFire, Input, MaxPool, Readout, per_channel

#: A Lava type for each Var and port of a model, by name.
Types = dict[str, LavaPyType]

#: What arrived on each line for one timestep.
Arrived = list[np.ndarray | None]


class PopulationProcess(AbstractProcess):
    """A population with its incoming connections.

    Parameters
    ----------
    population : Population
    inputs : tuple of ndarray (0, *shape)
        What arrives at each InPort ``in_<i>``: shape of one lane and dtype.
    task : Task
    types : mapping of str to LavaPyType
        Widths of this population's ports and Vars, in place of the model's own.
    """

    def __init__(self, *, population: Any, lanes: int, inputs: tuple[tuple[int, ...], ...], task: Task, types: Types):
        super().__init__(name=population.name, population=population, lanes=lanes, task=task, types=types)
        for index, shape in enumerate(inputs):
            setattr(self, f"in_{index}", InPort(shape=(lanes, *shape)))
        if population.emits:
            self.out = OutPort(shape=(lanes, *population.shape))


class SourceProcess(PopulationProcess):
    """Sends the quantised payload: the same one at every timestep, or one frame per timestep.

    Parameters
    ----------
    payloads : ndarray (N, *shape) or (T, N, *shape), int8 or uint8
    """

    def __init__(self, *, payloads: np.ndarray, **common: Any):
        super().__init__(**common)
        self.proc_params["payloads"] = payloads


class AdaFireProcess(PopulationProcess):
    """AdaFire neurons: integrate, fire a burst of up to phi, subtract it from the membrane."""

    def __init__(self, *, population: AdaFire, lanes: int, **common: Any):
        super().__init__(population=population, lanes=lanes, **common)
        threshold = per_channel(population.threshold, population.shape)
        bias = per_channel(population.bias, population.shape)
        initial = per_channel(population.initial, population.shape)
        self.u = Var(shape=(lanes, *population.shape), init=0)
        self.threshold = Var(shape=threshold.shape, init=threshold)
        self.bias = Var(shape=bias.shape, init=bias)
        self.initial = Var(shape=initial.shape, init=initial)


class MaxPoolProcess(PopulationProcess):
    """Spiking max-pooling: emits the growth of the maximum of the summed payloads."""

    def __init__(self, *, population: MaxPool, lanes: int, **common: Any):
        super().__init__(population=population, lanes=lanes, **common)
        self.total = Var(shape=(lanes, *population.input_shape), init=0)
        self.maximum = Var(shape=(lanes, *population.shape), init=0)


class ReadoutProcess(PopulationProcess):
    """Accumulates its current over the timesteps of a sample and never fires."""

    def __init__(self, *, population: Readout, lanes: int, **common: Any):
        super().__init__(population=population, lanes=lanes, **common)
        bias = per_channel(population.bias, population.shape)
        self.total = Var(shape=(lanes, *population.shape), init=0)
        self.bias = Var(shape=bias.shape, init=bias)


class PopulationModel(PyLoihiProcessModel):
    """What all populations have in common: time, ports, delay lines, recording, errors."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.population = proc_params["population"]
        self.task: Task = proc_params["task"]
        self.base = 1 if self.task.radix is None else self.task.radix.base
        lanes = proc_params["lanes"]
        self.payload = np.zeros((lanes, *self.population.shape), self.task.record.dtype)

    def run_spk(self) -> None:
        """Run one step; the traceback of whatever goes wrong reaches the caller."""
        try:
            self._step(self.time_step - 1)
        except BaseException:
            self.task.messenger.fail(self.task.name)
            raise

    def _step(self, step: int) -> None:
        task, begin = self.task, perf_counter_ns()
        if self.population.emits and task.sending.sends(step):
            self.out.send(self.payload)
        sent = perf_counter_ns()
        for index, line in enumerate(task.lines):
            if line.window.sends(step):
                line.receive(step, getattr(self, f"in_{index}").recv())
        received = perf_counter_ns()
        task.count("send_ns", sent - begin)
        task.count("receive_ns", received - sent)
        self.advance(step)

    def advance(self, step: int) -> None:
        """Compute and give out what is due at a step, if anything is."""
        now, begin = self.task.window.when(step), perf_counter_ns()
        if now is not None:
            samples = self.task.batch.occupied(now[0])
            emitted = self.take_in(samples, now[1])
            self.task.count("compute_ns", perf_counter_ns() - begin)
            self.give_out(emitted, samples, now[1])

    def take_in(self, samples: slice, timestep: int) -> np.ndarray:
        """Compute one timestep of some samples from what has waited for it; return what `compute` does."""
        occupied = slice(0, samples.stop - samples.start)
        if timestep == 0:
            self.start_samples()
        taken = [line.take(timestep) for line in self.task.lines]
        arrived = [None if payload is None else payload[occupied] for payload in taken]
        return self.compute(arrived, samples, timestep)

    def give_out(self, emitted: np.ndarray, samples: slice, timestep: int) -> None:
        """Record what is emitted (n, *shape) at a timestep of some samples, and let it leave with the next step."""
        begin = perf_counter_ns()
        self.task.record[timestep, samples] = emitted
        if self.population.emits:
            self.payload[: samples.stop - samples.start] = emitted
        self.task.count("record_ns", perf_counter_ns() - begin)

    def last(self, timestep: int) -> bool:
        """Return whether a timestep takes the last digit of a window in: the one that the bias comes with."""
        return self.task.radix is not None and timestep == self.task.radix.digits - 1

    def start_samples(self) -> None:
        """Return to the state before the first timestep."""

    def compute(self, arrived: Arrived, samples: slice, timestep: int) -> np.ndarray:
        """Compute one timestep of the occupied lanes.

        Parameters
        ----------
        arrived : list of ndarray (n, *source shape) or None
            One payload per line; None for lines without connections, and where none has come yet.
        samples : slice
            Which samples of the run these are; n of them.
        timestep : int

        Returns
        -------
        ndarray (n, *shape)
            The payload to emit, or a readout's running sum.
        """
        raise NotImplementedError

    def current(self, arrived: Arrived, start: np.ndarray) -> np.ndarray:
        """Add the currents of all connections to `start`, in place, and return it."""
        for line, payload in zip(self.task.lines, arrived, strict=True):
            if payload is not None:
                for kernel in line.kernels:
                    start += kernel(payload).astype(start.dtype)
        return start


@implements(proc=SourceProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SourceModel(PopulationModel):
    """Streams the payloads of a run, and tells the caller how far it is."""

    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def _step(self, step: int) -> None:
        self.task.messenger.tell(f"step {step + 1}")
        super()._step(step)

    def compute(self, arrived: Arrived, samples: slice, timestep: int) -> np.ndarray:
        """Pick the payload of this timestep."""
        payloads = self.proc_params["payloads"]
        source: Input = self.population
        payload: np.ndarray = payloads[timestep, samples] if source.coding == "frames" else payloads[samples]
        # A number is sent whole, where its place is worth one.
        return payload if self.task.radix is None or self.last(timestep) else np.zeros_like(payload)


@implements(proc=AdaFireProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class AdaFireModel(PopulationModel):
    """``u <- saturate(u + I + b); n <- clip(floor(u / theta), 0, phi); u <- u - n theta``, in integers."""

    in_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    u: np.ndarray = LavaPyType(np.ndarray, np.int64)
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int64)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int64)
    initial: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        threshold = per_channel(self.population.threshold, self.population.shape)
        self.burst = build_burst(threshold, self.population.phi, self.task.limit)

    def start_samples(self) -> None:
        """Set the membrane potential to its initial value."""
        self.u[...] = self.initial

    def compute(self, arrived: Arrived, samples: slice, timestep: int) -> np.ndarray:
        """Integrate and fire once."""
        n, limit = samples.stop - samples.start, self.task.limit
        u = self.u[:n]
        u += self.bias
        self.current(arrived, u)
        if int(u.max()) > limit or int(u.min()) < -limit:
            self.task.count("clips", int(np.count_nonzero((u > limit) | (u < -limit))))
            np.clip(u, -limit, limit, out=u)
        burst = self.burst(u)
        u -= burst * self.threshold
        return burst


@implements(proc=MaxPoolProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class MaxPoolModel(PopulationModel):
    """``n(t) = max_window cum(t) - B max_window cum(t - 1)``, ``cum(t) = B cum(t - 1) + I``; B is 1 for rates."""

    in_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    total: np.ndarray = LavaPyType(np.ndarray, np.int32)
    maximum: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.window_maximum = build_window_maximum(self.population.window, self.population.input_shape)

    def start_samples(self) -> None:
        """Forget the sums of the samples before."""
        self.total[...] = 0
        self.maximum[...] = 0

    def compute(self, arrived: Arrived, samples: slice, timestep: int) -> np.ndarray:
        """Add what arrived; emit how much each window's maximum grew."""
        n, base = samples.stop - samples.start, self.base
        self.total[:n] = self.current(arrived, base * self.total[:n])
        maximum = self.window_maximum(self.total[:n])
        growth: np.ndarray = maximum - base * self.maximum[:n]
        self.maximum[:n] = maximum
        return growth.astype(np.uint8)


@implements(proc=ReadoutProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ReadoutModel(PopulationModel):
    """``total <- B total + I + b``; B is 1 for rates, and of digits b comes with the last."""

    in_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    total: np.ndarray = LavaPyType(np.ndarray, np.int64)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def start_samples(self) -> None:
        """Start the running sum over."""
        self.total[...] = 0

    def compute(self, arrived: Arrived, samples: slice, timestep: int) -> np.ndarray:
        """Accumulate once."""
        n = samples.stop - samples.start
        held = self.base * self.total[:n]
        biased = held + self.bias if self.task.radix is None or self.last(timestep) else held
        self.total[:n] = self.current(arrived, biased)
        return self.total[:n]
