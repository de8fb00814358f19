"""Convolution over the neurons that fire, for processors with AVX-512 VNNI.

Many neurons are silent through all timesteps: their ReLU is zero. Per sample and pixel, the input channels that fire
at least once in four timesteps, in three or in two, are listed; an output pixel then multiplies these timesteps of the
listed payloads only. What is left out is zero times a weight, and sums of integers do not depend on their order: the
result is that of the dense convolution. It costs less the more is silent; `EventConv.run` declines where dense kernels
win.

The loops are in `sim.event_loops`; the innermost are written for registers of 512 bits (`sim.vnni`). All else is
ordinary numba.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from llvmlite import binding
from torch import Tensor

from sim import memory
from sim.event_loops import convolve, fire, most_quads
from sim.event_pixels import lay_pixels
from sim.event_rows import lay_rows
from sim.vnni import QUAD, STEPS, has_instruction
from toolchain.netlist import Conv, Shape

#: What a product costs here, and what listing an input payload costs, both in products of the dense kernels, by the
#: timesteps of a group and the output channels of a block; measured (docs/performance.md).
COSTS = {
    (4, 64): (1.1, 20),
    (4, 32): (1.0, 10),
    (4, 16): (0.85, 20),
    (3, 64): (1.15, 25),
    (3, 32): (1.2, 10),
    (3, 16): (1.0, 25),
    (2, 64): (1.4, 30),
    (2, 32): (1.4, 10),
    (2, 16): (1.2, 20),
}


#: How many times what `COSTS` is counted in dense kernels multiply with AMX; and where a connection's weights do not
#: fit the second-level cache, so that they are read anew for every picture; measured (docs/performance.md).
AMX, AMX_FROM_MEMORY = 5.0, 2.0


@cache
def _has_amx() -> bool:
    return bool(binding.get_host_cpu_features().get("amx-int8", False))


def dense_speed(weights: int) -> float:
    """Return how fast dense kernels multiply by so many weights here, beside those that `COSTS` is counted in."""
    if not _has_amx():
        return 1.0
    cache = torch.cpu.get_capabilities().get("l2_cache_size", 0)
    return AMX_FROM_MEMORY if weights > cache else AMX


class EventKernel(Protocol):
    """What multiplies listed payloads."""

    @property
    def block(self) -> int:
        """Output channels that are computed together."""

    @property
    def pairs(self) -> int:
        """Pairs of an input and an output pixel that are multiplied."""

    @property
    def layout(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Weights, runs, rows and width, as `convolve` takes them."""


@dataclass(frozen=True, eq=False)
class EventConv:
    """A convolution ready for `run`: see `compile_events`.

    Parameters
    ----------
    kernel : EventKernel
    shape : tuple of int
        (C_out, spatial...).
    pixels : int
        Of the input.
    dense : int
        Pairs of an input and an output pixel that the dense kernel multiplies, padding included.
    speed : float
        Of the dense kernel (`dense_speed`).
    """

    kernel: EventKernel
    shape: Shape
    pixels: int
    dense: int
    speed: float

    def run(self, payload: Tensor, timesteps: int) -> Tensor | None:
        """Return the current (B, *shape), float32, channels-last; None where the dense kernel is faster.

        Parameters
        ----------
        payload : Tensor (B, C, spatial...), uint8, channels-last
            The timesteps of a sample after each other.
        timesteps : int
        """
        steps = _steps(timesteps)
        x = payload.numpy()
        if steps == 0 or len(x) == 0:
            return None
        groups = np.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1)).reshape(-1, steps, self.pixels, x.shape[1])
        current = memory.empty((len(x), *self.shape[1:], self.shape[0]), np.float32)
        out = current.reshape(len(groups), steps, -1, self.shape[0])
        if not convolve(groups, *self._fixed[steps], *memory.room(*self._lists(len(groups), x.shape[1])), out):
            return None
        return torch.from_numpy(current.transpose(0, current.ndim - 1, *range(1, current.ndim - 1)))

    def fire(self, payload: np.ndarray, part: int, neurons: tuple[Any, ...], output: np.ndarray) -> int | None:
        """Write the bursts of a population that this alone and a skip reach; None where the dense kernel is faster.

        Parameters
        ----------
        payload : ndarray (N, T or 1, spatial..., C), uint8, contiguous
        part : int
            Samples at a time.
        neurons
            What `sim.scan.fire` takes, from `skip` to `limit`.
        output : ndarray (N, T, reached..., C_out), uint8
            Written.

        Returns
        -------
        int or None
            How often a potential was clipped.
        """
        samples, length = payload.shape[:2]
        steps = _steps(length)
        if steps == 0 or samples == 0:
            return None
        x = payload.reshape(samples, length, self.pixels, -1)
        burst = output.reshape(samples, length, -1, self.shape[0])
        part = min(part, samples)
        lists = self._lists(part * length // steps, x.shape[3])
        room = memory.room(*lists, ((part, *burst.shape[1:]), np.float32))
        clipped = fire(x, steps, *self._fixed[steps], *room, *neurons, burst)
        return None if clipped < 0 else clipped

    def _lists(self, count: int, channels: int) -> list[tuple[tuple[int, ...], type[np.generic]]]:
        """Return shape and type of some lists: of payloads, and of the channels listed."""
        places = count, most_quads(self.pixels, channels), QUAD
        return [((*places, QUAD), np.uint8), (places, np.int32)]

    @cached_property
    def _fixed(self) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, int, float]]:
        """The kernel's layout and the share of channels up to which events are faster, by the timesteps of a list."""
        # All channels' products, and the payloads, in units of the products that the dense kernel computes.
        unpadded, payloads = self.kernel.pairs / self.dense, self.pixels / (self.shape[0] * self.dense)
        costs = {steps: COSTS[steps, self.kernel.block] for steps in STEPS}
        layout = self.kernel.layout
        return {
            steps: (*layout, (1 / self.speed - listing * payloads) / (product * unpadded))
            for steps, (product, listing) in costs.items()
        }


@cache
def _steps(timesteps: int) -> int:
    """Return the timesteps of a list: whole lists, each of one sample; 0 where there are none."""
    return next((steps for steps in STEPS if timesteps % steps == 0), 0)


def compile_events(conv: Conv, shape: Shape, *, matrix: bool = False) -> EventConv | None:
    """Prepare a convolution of payloads (C, spatial...); None where it has no such kernel.

    With `matrix`, dense kernels run it as a matrix between whole maps.
    """
    if conv.groups != 1 or not has_instruction():
        return None
    out, pixels = conv.output_shape(shape), prod(shape[1:])
    kernel = lay_pixels(conv, shape) or lay_rows(conv, shape)
    dense = prod(out[1:]) * (pixels if matrix else prod(conv.weight.shape[2:]))
    return None if kernel is None else EventConv(kernel, out, pixels, dense, dense_speed(conv.weight.size))
