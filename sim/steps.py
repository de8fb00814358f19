"""Populations over time in plain torch, for any device and any shape.

The compiled loops of `sim.scan` do the same faster, on a CPU. All arithmetic of neurons is in int64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

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
    """Integrate, fire and reset.

    Parameters
    ----------
    population : AdaFire
    current : Tensor (T or 1, N, *shape), int64
    timesteps : int
    limit : int or None
        Where the potential is clipped.
    state : Tensor (N, *shape) or None
        Membrane potential to go on from.

    Returns
    -------
    bursts (T, N, *shape) uint8, membrane potential (N, *shape) int64, how often it was clipped
    """
    shape = population.shape
    theta, bias = constants(population.threshold, shape, current), constants(population.bias, shape, current)
    potential = constants(population.initial, shape, current).expand_as(current[0]) if state is None else state
    output = torch.empty((timesteps, *current.shape[1:]), dtype=torch.uint8, device=current.device)
    saturations = 0
    for t in range(timesteps):
        free = potential + current[min(t, len(current) - 1)] + bias
        potential = free if limit is None else free.clamp(-limit, limit)
        if limit is not None:
            saturations += int((potential != free).sum())
        burst = torch.div(potential, theta, rounding_mode="floor").clamp_(0, population.phi)
        potential = potential - burst * theta
        output[t] = burst
    return output, potential, saturations


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


@dataclass(frozen=True, eq=False)
class PlainLayer(Layer):
    """A layer in plain torch."""

    def _run(self, spikes: Mapping[str, Tensor], length: int, state: Tensor | None, keep_state: bool) -> LayerResult:
        currents = []
        for name, current in self.currents:
            payload = spikes[name]
            value = current(payload.flatten(0, 1)).to(torch.int64)
            currents.append(value.reshape(*payload.shape[:2], *value.shape[1:]))
        total = sum(currents[1:], start=currents[0])
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
