"""Convolution over the neurons that fire, for processors with AVX-512 VNNI.

Many neurons are silent through all timesteps: their ReLU is zero. Per sample and pixel, the input channels that fire
at least once in four timesteps, in three or in two, are listed; an output pixel then multiplies these timesteps of the
listed payloads only. What is left out is zero times a weight, and sums of integers do not depend on their order: the
result is that of the dense convolution. It costs less the more is silent; `EventConv.run` declines where dense kernels
win.

The products are those of `sim.event_pixels` and `sim.event_rows`; the innermost loops are written for registers of 512
bits (`sim.vnni`). All else is ordinary numba.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from typing import Protocol

import numpy as np
import torch
from llvmlite import binding
from torch import Tensor

from sim.event_pixels import lay_pixels
from sim.event_rows import lay_rows
from sim.jit import jit
from sim.vnni import LANES, QUAD, STEPS, by_step, compress_four, compress_three, compress_two, has_instruction, silence
from toolchain.netlist import Conv, Shape

#: What a product costs here, and what listing an input payload costs, both in products of the dense kernels, by the
#: timesteps of a group and the output channels of a block; measured (docs/performance.md).
COSTS = {
    (4, 64): (1.1, 20),
    (4, 32): (1.2, 20),
    (4, 16): (0.85, 20),
    (3, 64): (1.15, 25),
    (3, 32): (1.4, 25),
    (3, 16): (1.0, 25),
    (2, 64): (1.4, 30),
    (2, 32): (1.8, 30),
    (2, 16): (1.2, 30),
}


@jit
def _share_active(x: np.ndarray) -> float:
    """Return the share of channels that fire in some pixels of the first sample of `x` (N, steps, P, C).

    Sixteen pixels are enough: the answer decides which kernel is faster, never what it computes.
    """
    _, steps, pixels, channels = x.shape
    step = max(1, pixels // 16)
    fires = np.empty(channels, np.uint8)
    count = 0
    for p in range(0, pixels, step):
        fires[:] = 0
        for t in range(steps):
            fires |= x[0, t, p]
        count += np.count_nonzero(fires)
    return count / (channels * len(range(0, pixels, step)))


def most_quads(pixels: int, channels: int) -> int:
    """Return how many fours the lists of a sample have room for: all channels, and whole registers behind the last."""
    return pixels * -(-channels // QUAD) + 2 * QUAD


@jit
def _list_active(x: np.ndarray, payloads: np.ndarray, listed: np.ndarray, starts: np.ndarray) -> None:
    """List, pixel after pixel, the channels of `x` (N, 4 to 2 timesteps, P, C), uint8, contiguous, that fire.

    Parameters
    ----------
    payloads : ndarray (N, most_quads(P, C), 4 timesteps, 4), uint8
        Written: the payloads of the listed channels, four of them together, as `sim.vnni` takes them.
    listed : ndarray (N, most_quads(P, C), 4), int32
        Written: which they are, channel c of pixel p as p * C + c.
    starts : ndarray (N, P + 1), int64
        Written: where the fours of each pixel begin, and where all end; what is beyond them means nothing.
    """
    samples, steps, pixels, channels = x.shape
    for n in range(samples):
        source, active, where = x[n].ctypes.data, payloads[n].ctypes.data, listed[n].ctypes.data
        end = 0
        for p in range(pixels):
            starts[n, p] = end
            # Both lists take four bytes a channel.
            count, first = QUAD * end, channels * p
            for c in range(0, channels, LANES):
                places = active + 4 * count, where + 4 * count
                given = source + first + c, x.strides[1], channels - c, first + c
                if steps == 4:
                    count += compress_four(*given, *places)
                elif steps == 3:
                    count += compress_three(*given, *places)
                else:
                    count += compress_two(*given, *places)
            # The last four are filled up.
            silence(first, active + 4 * count, where + 4 * count)
            end = (count + QUAD - 1) // QUAD
        starts[n, pixels] = end
        # Not before all is written: what was stored piece by piece is waited for.
        for quad in range(0, end, QUAD):
            by_step(active + 4 * QUAD * quad)


#: How many of what `COSTS` is counted in dense kernels compute meanwhile with AMX; and where a connection's weights do
#: not fit the second-level cache, from which AMX reads them anew for every picture; measured (docs/performance.md).
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

    def convolve(self, payloads: np.ndarray, listed: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None:
        """Write the current (N, steps, P_out, C_out), float32, of lists from `_list_active`."""


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
        # Whole groups of timesteps, each of one sample.
        steps = next((steps for steps in STEPS if timesteps % steps == 0), None)
        x = payload.numpy()
        if steps is None or len(x) == 0:
            return None
        channels, pixels = x.shape[1], prod(x.shape[2:])
        groups = np.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1)).reshape(-1, steps, pixels, channels)
        samples = len(groups)
        product, listing = COSTS[steps, self.kernel.block]
        if self.speed * (_share_active(groups) * product * self._unpadded + listing * self._payloads) > 1:
            return None
        most = most_quads(pixels, channels)
        payloads = np.empty((samples, most, QUAD, QUAD), np.uint8)
        listed = np.empty((samples, most, QUAD), np.int32)
        starts = np.empty((samples, pixels + 1), np.int64)
        out = np.empty((samples, steps, *self.shape[1:], self.shape[0]), np.float32)
        _list_active(groups, payloads, listed, starts)
        self.kernel.convolve(payloads, listed, starts, out.reshape(samples, steps, -1, self.shape[0]))
        current = out.reshape(len(x), *self.shape[1:], self.shape[0])
        return torch.from_numpy(current.transpose(0, current.ndim - 1, *range(1, current.ndim - 1)))

    @cached_property
    def _unpadded(self) -> float:
        """Products of all channels, in units of those that the dense kernel computes."""
        return self.kernel.pairs / self.dense

    @cached_property
    def _payloads(self) -> float:
        """Input payloads, in the same units."""
        return self.pixels / (self.shape[0] * self.dense)


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
