"""Convolution over the neurons that fire, for processors with AVX-512 VNNI.

Many neurons are silent through all timesteps: their ReLU is zero. Per sample and pixel, the input channels that fire
at least once in four timesteps, in three or in two, are listed; an output pixel then multiplies these timesteps of the
listed payloads only. What is left out is zero times a weight, and sums of integers do not depend on their order: the
result is that of the dense convolution. It costs less the more is silent; `EventConv.run` declines where dense kernels
win.

The innermost loops are written for registers of 512 bits (`sim.vnni`). All else is ordinary numba.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import prod

import numpy as np
import torch
from llvmlite import binding
from torch import Tensor

from sim.jit import jit
from sim.vnni import (
    BLOCKS,
    LANES,
    QUAD,
    REGISTER,
    STEPS,
    by_step,
    compress_four,
    compress_three,
    compress_two,
    four_narrow,
    four_wide,
    has_instruction,
    in_lanes,
    silence,
    three_narrow,
    three_wide,
    two_narrow,
    two_wide,
)
from toolchain.netlist import Conv, Shape

#: What a product costs here, and what listing an input payload costs, both in products of the dense kernels, by the
#: timesteps of a group and the output channels of a block; measured (docs/performance.md).
COSTS = {
    (4, 64): (1.1, 20),
    (4, 32): (1.2, 20),
    (3, 64): (1.15, 25),
    (3, 32): (1.4, 25),
    (2, 64): (1.4, 30),
    (2, 32): (1.8, 30),
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


@jit
def _convolve(
    weight: np.ndarray,
    payloads: np.ndarray,
    listed: np.ndarray,
    starts: np.ndarray,
    runs: np.ndarray,
    out: np.ndarray,
) -> None:
    """Convolve the listed payloads.

    Parameters
    ----------
    weight : ndarray (blocks, taps, C_in, 64 or 32), int8
    payloads, listed, starts
        From `_list_active`.
    runs : ndarray (P_out, runs, 3), int64
        From `_runs`.
    out : ndarray (N, steps, P_out, C_out), float32
        Written.
    """
    blocks, _, _, channels = weight.shape
    samples, steps, pixels, _ = out.shape
    rows = np.empty((runs.shape[1], 4), np.int64)
    # Blocks first: the weights of one stay in cache for all samples.
    for block in range(blocks):
        for n in range(samples):
            for p in range(pixels):
                count = 0
                for run in runs[p]:
                    start = starts[n, run[0]]
                    rows[count, 0] = payloads[n, start].ctypes.data
                    rows[count, 1] = listed[n, start].ctypes.data
                    rows[count, 2] = starts[n, run[1]] - start
                    # The list counts channels from the first pixel on, the weights those of the taps.
                    rows[count, 3] = weight[block].ctypes.data + weight.strides[1] * run[2]
                    count += 1
                target = out[n, 0, p, block * channels :].ctypes.data
                given = rows.ctypes.data, count, target, out.strides[1]
                if channels == 64:
                    if steps == 4:
                        four_wide(*given)
                    elif steps == 3:
                        three_wide(*given)
                    else:
                        two_wide(*given)
                elif steps == 4:
                    four_narrow(*given)
                elif steps == 3:
                    three_narrow(*given)
                else:
                    two_narrow(*given)


def _runs(taps: np.ndarray) -> np.ndarray:
    """Join taps that see one input pixel after the other, whose lists are one, then.

    Parameters
    ----------
    taps : ndarray (P_out, taps), int64
        The input pixel of each tap of each output pixel, -1 in the padding.

    Returns
    -------
    ndarray (P_out, runs, 3), int64
        First input pixel, the one behind the last, and how many taps a tap's number is above its pixel's. Runs that
        an output pixel has fewer of than others are empty.
    """
    seen = taps >= 0
    joined = np.zeros_like(seen)
    joined[:, 1:] = seen[:, :-1] & (taps[:, 1:] == taps[:, :-1] + 1)
    number = np.cumsum(seen & ~joined, axis=1) - 1
    runs = np.zeros((len(taps), number.max(initial=0) + 1, 3), np.int64)
    p, k = np.nonzero(seen & ~joined)
    runs[p, number[p, k], 0] = taps[p, k]
    runs[p, number[p, k], 2] = k - taps[p, k]
    p, k = np.nonzero(seen)
    # The last of a run is written last.
    runs[p, number[p, k], 1] = taps[p, k] + 1
    return runs


@cache
def usable() -> bool:
    """Return whether events can be faster than dense kernels here: AMX multiplies eight times as fast, and they win."""
    return has_instruction() and not binding.get_host_cpu_features().get("amx-int8", False)


@dataclass(frozen=True, eq=False)
class EventConv:
    """A convolution ready for `run`: see `compile_events`.

    Parameters
    ----------
    weight : ndarray (blocks, taps, C_in, 64 or 32), int8
        In the order of `sim.vnni.in_lanes`, a row within a line of cache.
    runs : ndarray (P_out, runs, 3), int64
        The input pixels of each output pixel, from `_runs`.
    shape : tuple of int
        (C_out, spatial...).
    pixels : int
        Of the input.
    dense : int
        Pairs of an input and an output pixel that the dense kernel multiplies, padding included.
    """

    weight: np.ndarray
    runs: np.ndarray
    shape: Shape
    pixels: int
    dense: int

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
        product, listing = COSTS[steps, self.weight.shape[-1]]
        if _share_active(groups) * product * self._unpadded + listing * self._payloads > 1:
            return None
        most = most_quads(pixels, channels)
        payloads = np.empty((samples, most, QUAD, QUAD), np.uint8)
        listed = np.empty((samples, most, QUAD), np.int32)
        starts = np.empty((samples, pixels + 1), np.int64)
        out = np.empty((samples, steps, *self.shape[1:], self.shape[0]), np.float32)
        _list_active(groups, payloads, listed, starts)
        _convolve(self.weight, payloads, listed, starts, self.runs, out.reshape(samples, steps, -1, self.shape[0]))
        current = out.reshape(len(x), *self.shape[1:], self.shape[0])
        return torch.from_numpy(current.transpose(0, current.ndim - 1, *range(1, current.ndim - 1)))

    @cached_property
    def _unpadded(self) -> float:
        """Products of all channels, in units of those that the dense kernel computes."""
        return int((self.runs[..., 1] - self.runs[..., 0]).sum()) / self.dense

    @cached_property
    def _payloads(self) -> float:
        """Input payloads, in the same units."""
        return self.pixels / (self.shape[0] * self.dense)


def _aligned(weight: np.ndarray) -> np.ndarray:
    """Copy weights to int8 that begin at a multiple of a register: one row, one line of cache."""
    memory = np.empty(weight.size + REGISTER, np.int8)
    result = memory[-memory.ctypes.data % REGISTER :][: weight.size].reshape(weight.shape)
    result[...] = weight
    return result


def compile_events(conv: Conv, shape: Shape, *, matrix: bool = False) -> EventConv | None:
    """Prepare a convolution of payloads (C, spatial...); None where it has no such kernel.

    With `matrix`, dense kernels run it as a matrix between whole maps.
    """
    channels, inputs, *kernel = conv.weight.shape
    block = next((block for block in BLOCKS if channels % block == 0), None)
    if conv.groups != 1 or block is None or not usable():
        return None
    out = conv.output_shape(shape)
    pixels = np.pad(np.arange(prod(shape[1:])).reshape(shape[1:]), conv.padding, constant_values=-1)
    taps = np.stack(
        [
            pixels[
                tuple(
                    slice(i * d, i * d + (n - 1) * s + 1, s)
                    for i, d, n, s in zip(k, conv.dilation, out[1:], conv.stride, strict=True)
                )
            ].reshape(-1)
            for k in np.ndindex(*kernel)
        ],
        axis=-1,
    )
    weight = in_lanes(conv.weight.reshape(channels // block, block, inputs, -1).transpose(0, 3, 2, 1))
    before = prod(shape[1:])
    dense = before * len(taps) if matrix else taps.size
    return EventConv(_aligned(weight), _runs(taps), out, before, dense)
