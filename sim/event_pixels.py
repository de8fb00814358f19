"""Convolution over what fires, of any form: an output pixel multiplies the lists of the input pixels that it sees."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from sim.jit import jit
from sim.vnni import (
    BLOCKS,
    aligned,
    four_narrow,
    four_wide,
    in_lanes,
    three_narrow,
    three_wide,
    two_narrow,
    two_wide,
)
from toolchain.netlist import Conv, Shape


@jit
def by_pixels(
    weight: np.ndarray,
    runs: np.ndarray,
    payloads: np.ndarray,
    listed: np.ndarray,
    starts: np.ndarray,
    out: np.ndarray,
) -> None:
    """Convolve the listed payloads.

    Parameters
    ----------
    weight, runs
        Of `EventPixels`.
    payloads, listed, starts
        From `sim.events`.
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


@dataclass(frozen=True, eq=False)
class EventPixels:
    """A convolution of any form, by output pixels.

    Parameters
    ----------
    weight : ndarray (blocks, taps, C_in, 64 or 32), int8
        In the order of `sim.vnni.in_lanes`, a row within a line of cache.
    runs : ndarray (P_out, runs, 3), int64
        The input pixels of each output pixel, from `_runs`.
    """

    weight: np.ndarray
    runs: np.ndarray

    @property
    def block(self) -> int:
        """Output channels that are computed together."""
        return self.weight.shape[-1]

    @property
    def pairs(self) -> int:
        """Pairs of an input and an output pixel that are multiplied."""
        return int((self.runs[..., 1] - self.runs[..., 0]).sum())

    @property
    def layout(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """What `sim.events.convolve` takes: weights, runs, no rows."""
        return self.weight, self.runs, np.zeros((0, 0), np.int64), 0


def lay_pixels(conv: Conv, shape: Shape) -> EventPixels | None:
    """Lay a convolution of payloads (C, spatial...) out; None where its output channels make no blocks."""
    channels, inputs, *kernel = conv.weight.shape
    block = next((block for block in BLOCKS if channels % block == 0), None)
    if block is None:
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
    weight = conv.weight.reshape(channels // block, block, inputs, -1).transpose(0, 3, 2, 1)
    return EventPixels(aligned(in_lanes(weight)), _runs(taps))
