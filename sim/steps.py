"""Populations over time in plain torch, for any device and any shape.

The compiled loops of `sim.scan` do the same faster, on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sim.currents import CompiledConnection
from sim.layer import Layer, LayerResult
from sim.leaky import leak
from toolchain.netlist import AdaFire, CubaLif, LeakyReadout, MaxPool, Readout, Shape, per_channel


def constants(values: np.ndarray, shape: Shape, like: Tensor) -> Tensor:
    """Return per-channel or per-neuron integers as a tensor that broadcasts over (N, *shape)."""
    array = np.ascontiguousarray(per_channel(values, shape), dtype=np.int64)
    return torch.from_numpy(array).to(like.device)


def fire(
    population: AdaFire, current: Tensor, timesteps: int, limit: int | None, state: Tensor | None
) -> tuple[Tensor, Tensor, int]:
    """Integrate, fire and reset, in the float type of the current: exact as `sim.scan.fire`, whose notes say why.

    Parameters
    ----------
    population : AdaFire
    current : Tensor (T or 1, N, *shape), float32 or float64
        Written over.
    timesteps : int
    limit : int or None
        Where the potential is clipped.
    state : Tensor (N, *shape) or None
        Membrane potential to go on from.

    Returns
    -------
    bursts (T, N, *shape) uint8, membrane potential (N, *shape) in the type of `current`, how often it was clipped
    """

    def lay(values: np.ndarray) -> Tensor:
        return constants(values, population.shape, current).to(current.dtype)

    theta = lay(population.threshold)
    # The quotient of two floats in numpy: rounded to nearest, whatever a device's division does.
    inverse = torch.from_numpy(1 / theta.cpu().numpy()).to(theta.device)
    current += lay(population.bias)
    # All of them lie channels-last in memory, as currents that are matrix products do.
    potential = torch.empty_like(current[0]).copy_(lay(population.initial) if state is None else state).add_(0.5)
    samples, channels, *spatial = current.shape[1:]
    output = torch.empty((timesteps, samples, *spatial, channels), dtype=torch.uint8, device=current.device)
    output = output.movedim(-1, 2)
    burst = torch.empty_like(potential)
    clipped = torch.zeros((), dtype=torch.int64, device=current.device)
    for t in range(timesteps):
        potential += current[min(t, len(current) - 1)]
        if limit is not None:
            free = potential
            potential = free.clamp(0.5 - limit, 0.5 + limit)
            clipped += (potential != free).sum()
        torch.mul(potential, inverse, out=burst).clamp_(0, population.phi).trunc_()
        output[t] = burst
        potential.addcmul_(burst, theta, value=-1)
    return output, potential - 0.5, int(clipped)


def accumulate(population: Readout, current: Tensor, timesteps: int, state: Tensor | None) -> Tensor:
    """Return the running sum (T, N, *shape) int64 of a current (T or 1, N, *shape) int64."""
    bias = constants(population.bias, population.shape, current)
    total = (current + bias).expand(timesteps, *current.shape[1:]).cumsum(0)
    return total if state is None else total + state


def grow_maxima(population: MaxPool, payload: Tensor, timesteps: int, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the growth of the maxima (T, N, *shape) uint8, and the summed payload (N, *input shape)."""
    total = torch.zeros_like(payload[0]) if state is None else state
    before = maxima(total, population)
    output = torch.empty((timesteps, *before.shape), dtype=torch.uint8, device=payload.device)
    for t in range(timesteps):
        total = total + payload[min(t, len(payload) - 1)]
        after = maxima(total, population)
        output[t] = after - before
        before = after
    return output, total


def maxima(x: Tensor, population: MaxPool) -> Tensor:
    """Return the maximum over the windows of `population` of `x` (N, *input_shape), which is never negative."""
    x = F.pad(x, [n for pair in reversed(population.padding) for n in pair])
    for axis, (kernel, stride) in enumerate(zip(population.kernel, population.stride, strict=True), start=2):
        x = x.unfold(axis, kernel, stride).amax(-1)
    return x


def sum_currents(
    currents: Sequence[tuple[str, CompiledConnection]], spikes: Mapping[str, Tensor], dtype: torch.dtype
) -> Tensor:
    """Return the sum (T or 1, N, *shape) of what some connections, at least one, deliver, in a type that holds it."""
    values = []
    for name, current in currents:
        payload = spikes[name]
        value = current(payload.flatten(0, 1)).to(dtype)
        values.append(value.reshape(*payload.shape[:2], *value.shape[1:]))
    return sum(values[1:], start=values[0])


@dataclass(frozen=True, eq=False)
class PlainLayer(Layer):
    """A layer in plain torch."""

    def _run(self, spikes: Mapping[str, Tensor], length: int, state: Tensor | None, keep_state: bool) -> LayerResult:
        # Only firing neurons run in floats.
        kind = self.dtype if isinstance(self.population, AdaFire) else torch.int64
        total = sum_currents(self.currents, spikes, kind)
        match self.population:
            case AdaFire():
                output, last, clipped = fire(self.population, total, length, self.limit, state)
                return LayerResult(output, clipped, last)
            case Readout():
                output = accumulate(self.population, total, length, state)
                return LayerResult(output, 0, output[-1])
            case CubaLif() | LeakyReadout():
                output, last, limited = leak(self.population, total, length, state)
                return LayerResult(output, limited, last)
            case MaxPool():
                output, last = grow_maxima(self.population, total, length, state)
                return LayerResult(output, 0, last)
