"""Convolution over the neurons that fire, for processors with AVX-512 VNNI.

Many neurons are silent through all timesteps: their ReLU is zero. Per sample and pixel, the input channels that fire
at least once in eight timesteps, or in four, are listed; an output pixel then multiplies these timesteps of the listed
payloads only. What is left out is zero times a weight, and sums of integers do not depend on their order: the result
is that of the dense convolution. It costs less the more is silent; `EventConv.run` declines where dense kernels win.

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
    BLOCK,
    QUAD,
    REGISTER,
    STEPS,
    WIDTH,
    accumulate_eight,
    accumulate_four,
    by_step,
    compress,
    has_instruction,
)
from toolchain.netlist import Conv, Shape

#: Integers of as many bytes as there are timesteps.
_HISTORY = {8: np.uint64, 4: np.uint32}

#: Products per second of the dense kernels over those of this one, and what listing an input payload costs in such
#: products, measured (docs/performance.md).
DENSE_ADVANTAGE, LISTING = 1.2, 45


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


def most_quads(channels: int) -> int:
    """Return how many fours a list of channels has room for: all of them, and whole registers."""
    return -(-(channels + QUAD) // WIDTH) * (WIDTH // QUAD)


@jit
def _list_active(
    x: np.ndarray, history: np.ndarray, payloads: np.ndarray, listed: np.ndarray, quads: np.ndarray
) -> None:
    """List, per sample and pixel, the channels of `x` (N, steps, P, C), uint8, that fire.

    Parameters
    ----------
    history : ndarray (C, rounded up to 64 bytes), unsigned integer of as many bytes as there are timesteps
        Scratch.
    payloads : ndarray (N, P, most_quads(C), steps, 4), uint8
        Written: the payloads of the listed channels, four of them together, as `sim.vnni` takes them.
    listed : ndarray (N, P, most_quads(C), 4), int32
        Written: which channels they are.
    quads : ndarray (N, P), int64
        Written: how many fours there are; what is beyond them means nothing.
    """
    samples, steps, pixels, channels = x.shape
    # The payloads of a channel as bytes of one integer, lowest first: to fire at all is to differ from zero.
    # Processors with the instruction store integers lowest byte first, so the same bytes in memory are the timesteps.
    kind = history.dtype.type
    lanes = REGISTER // steps
    active = np.zeros(QUAD * payloads.shape[2] + lanes, history.dtype)
    where = np.zeros(active.size, np.int32)
    channel = listed.reshape(samples, pixels, -1)
    for n in range(samples):
        for p in range(pixels):
            history[:] = 0
            for t in range(steps):
                row = x[n, t, p]
                for c in range(channels):
                    history[c] |= kind(row[c]) << kind(8 * t)
            count = 0
            for c in range(0, history.size, lanes):
                count += compress(
                    history[0],
                    history.ctypes.data + c * steps,
                    c,
                    active.ctypes.data + count * steps,
                    where.ctypes.data + count * 4,
                )
            # The last four are filled up with silence: payloads of zero, by the weights of channel 0.
            active[count : count + QUAD] = 0
            where[count : count + QUAD] = 0
            quads[n, p] = (count + QUAD - 1) // QUAD
            row, target = channel[n, p], payloads[n, p].ctypes.data
            for i in range(QUAD * quads[n, p]):
                row[i] = where[i]
            for i in range(0, QUAD * quads[n, p], lanes):
                by_step(history[0], active.ctypes.data + i * steps, target + i * steps)


@jit
def _convolve(
    weight: np.ndarray,
    payloads: np.ndarray,
    listed: np.ndarray,
    quads: np.ndarray,
    taps: np.ndarray,
    out: np.ndarray,
) -> None:
    """Convolve the listed payloads.

    Parameters
    ----------
    weight : ndarray (blocks, taps, C_in, 32), int8
    payloads, listed, quads
        From `_list_active`.
    taps : ndarray (P_out, taps), int64
        The input pixel of each tap of each output pixel, -1 in the padding.
    out : ndarray (N, steps, P_out, C_out), float32
        Written.
    """
    blocks, positions, _, _ = weight.shape
    samples, steps, pixels, _ = out.shape
    rows = np.empty((positions, 4), np.int64)
    # Blocks first: the weights of one stay in cache for all samples.
    for block in range(blocks):
        for n in range(samples):
            for p in range(pixels):
                count = 0
                for k in range(positions):
                    q = taps[p, k]
                    if q >= 0:
                        rows[count, 0] = payloads[n, q].ctypes.data
                        rows[count, 1] = listed[n, q].ctypes.data
                        rows[count, 2] = quads[n, q]
                        rows[count, 3] = weight[block, k].ctypes.data
                        count += 1
                target = out[n, 0, p, block * BLOCK :].ctypes.data
                if steps == 8:
                    accumulate_eight(rows.ctypes.data, count, target, out.strides[1])
                else:
                    accumulate_four(rows.ctypes.data, count, target, out.strides[1])


@cache
def usable() -> bool:
    """Return whether events can be faster than dense kernels here: AMX multiplies eight times as fast, and they win."""
    return has_instruction() and not binding.get_host_cpu_features().get("amx-int8", False)


@dataclass(frozen=True, eq=False)
class EventConv:
    """A convolution ready for `run`: see `compile_events`.

    Parameters
    ----------
    weight : ndarray (C_out / 32, taps, C_in, 32), int8
    taps : ndarray (P_out, taps), int64
        The input pixel of each tap of each output pixel, -1 in the padding.
    shape : tuple of int
        (C_out, spatial...).
    pixels : int
        Of the input.
    dense : int
        Pairs of an input and an output pixel that the dense kernel multiplies, padding included.
    """

    weight: np.ndarray
    taps: np.ndarray
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
        if _share_active(groups) * self._product_cost + self._listing_cost > 1:
            return None
        most, lanes = most_quads(channels), REGISTER // steps
        payloads = np.empty((samples, pixels, most, steps, QUAD), np.uint8)
        listed = np.empty((samples, pixels, most, QUAD), np.int32)
        quads = np.empty((samples, pixels), np.int64)
        out = np.empty((samples, steps, self.taps.shape[0], self.shape[0]), np.float32)
        history = np.empty(-(-channels // lanes) * lanes, _HISTORY[steps])
        _list_active(groups, history, payloads, listed, quads)
        _convolve(self.weight, payloads, listed, quads, self.taps, out)
        current = out.reshape(len(x), *self.shape[1:], self.shape[0])
        return torch.from_numpy(current.transpose(0, current.ndim - 1, *range(1, current.ndim - 1)))

    @cached_property
    def _product_cost(self) -> float:
        """What the products of all channels cost, in units of all that the dense kernel does."""
        return DENSE_ADVANTAGE * np.count_nonzero(self.taps >= 0) / self.dense

    @cached_property
    def _listing_cost(self) -> float:
        """What listing the payloads costs, in the same units."""
        return LISTING * self.pixels / (self.shape[0] * self.dense)


def compile_events(conv: Conv, shape: Shape, *, matrix: bool = False) -> EventConv | None:
    """Prepare a convolution of payloads (C, spatial...); None where it has no such kernel.

    With `matrix`, dense kernels run it as a matrix between whole maps.
    """
    channels, inputs, *kernel = conv.weight.shape
    if conv.groups != 1 or channels % BLOCK or not usable():
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
    weight = conv.weight.reshape(channels // BLOCK, BLOCK, inputs, -1).transpose(0, 3, 2, 1)
    before = prod(shape[1:])
    dense = before * len(taps) if matrix else taps.size
    return EventConv(np.ascontiguousarray(weight, dtype=np.int8), np.ascontiguousarray(taps), out, before, dense)
