"""Leaky populations as Lava Processes: the arithmetic of Lava's own LIF, beside our delays, lanes and resets.

Lava's compiler may execute this file again to look for models: keep it free of side effects.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from hw_targets.lava_runtime.processes.populations import Arrived, PopulationModel, PopulationProcess
from toolchain.netlist import CubaLif, Leaky, per_channel
from toolchain.netlist.leaky import DECAY_UNITY, STATE_LIMIT, WEIGHT_SHIFT


class LeakyProcess(PopulationProcess):
    """Neurons whose current and membrane potential decay."""

    def __init__(self, *, population: Leaky, lanes: int, **common: Any):
        super().__init__(population=population, lanes=lanes, **common)
        self.u = Var(shape=(lanes, *population.shape), init=0)
        self.v = Var(shape=(lanes, *population.shape), init=0)


class CubaLifProcess(LeakyProcess):
    """Those that fire and reset."""


class LeakyReadoutProcess(LeakyProcess):
    """Those whose potential is read."""


class LeakyModel(PopulationModel):
    """``u <- wrap(decay(u) + 64 I); v <- clip(decay(v) + u + b)``, in 32-bit integers as Lava's LIF has them.

    Decays are a product and a shift of the magnitude, whose sign is put back: truncation toward zero.
    """

    in_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    u: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        population: Leaky = self.population
        shape = population.shape
        self.keep_u = DECAY_UNITY - per_channel(population.current_decay, shape).astype(np.int64)
        self.keep_v = DECAY_UNITY - per_channel(population.voltage_decay, shape).astype(np.int64)
        self.bias = per_channel(population.bias, shape).astype(np.int32)

    def start_samples(self) -> None:
        """Forget current and potential of the samples before."""
        self.u[...] = 0
        self.v[...] = 0

    def compute(self, arrived: Arrived, samples: slice, timestep: int) -> np.ndarray:
        """Let current and potential decay and add what arrived; return the potential itself, to be changed in place."""
        n = samples.stop - samples.start
        u, v = self.u[:n], self.v[:n]
        current = self.current(arrived, np.zeros(u.shape, np.int64))
        free = _kept(u, self.keep_u) + np.left_shift(current, WEIGHT_SHIFT).astype(np.int32)
        u[...] = free
        u[free > STATE_LIMIT] -= 2 * STATE_LIMIT
        u[free <= -STATE_LIMIT] += 2 * STATE_LIMIT
        unclipped = _kept(v, self.keep_v) + u + self.bias
        np.clip(unclipped, -STATE_LIMIT + 1, STATE_LIMIT - 1, out=v)
        self.task.count("clips", int(np.count_nonzero(u != free)) + int(np.count_nonzero(v != unclipped)))
        return v


@implements(proc=CubaLifProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class CubaLifModel(LeakyModel):
    """``s <- v > 64 theta``, and v back to zero, or less by 64 theta."""

    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        population: CubaLif = self.population
        threshold = per_channel(population.threshold, population.shape)
        self.threshold = threshold.astype(np.int32) << WEIGHT_SHIFT
        self.left = -self.threshold if population.reset == "subtract" else None

    def compute(self, arrived: Arrived, samples: slice, timestep: int) -> np.ndarray:
        """Integrate, fire and reset once."""
        v = super().compute(arrived, samples, timestep)
        spikes: np.ndarray = v > self.threshold
        np.copyto(v, np.int32(0) if self.left is None else v + self.left, where=spikes)
        return spikes.astype(np.uint8)


@implements(proc=LeakyReadoutProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class LeakyReadoutModel(LeakyModel):
    """Delivers the potential as it is."""


def _kept(state: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return what stays of a state, in the 32 bits that Lava has for it."""
    product = state.astype(np.int64) * keep
    kept: np.ndarray = (np.sign(product) * (np.abs(product) >> 12)).astype(np.int32)
    return kept
