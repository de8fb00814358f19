"""Multiply-accumulates of the original network: what an energy report compares with.

They are counted layer by layer as the module has them, before chains are composed and branches joined:
the network that results may read one value through several connections.
"""

from __future__ import annotations

from math import prod

import numpy as np

from toolchain.netlist import Conv, ConvTranspose, Linear, Pairs, Shape, Weighted


def dense_macs(operator: Weighted, shape: Shape) -> int:
    """Count the multiplications of one operator for one sample, borders included.

    Parameters
    ----------
    operator : Conv, ConvTranspose, Linear or Scale
        A scale counts nothing: it folds into a neighbour.
    shape : tuple of int
        Its input shape.
    """
    out = operator.output_shape(shape)
    match operator:
        case Linear(weight):
            return int(weight.size)
        case Conv(weight, stride, padding, dilation):
            pairs = _pairs(out[1:], shape[1:], weight.shape[2:], stride, padding, dilation)
            return weight.shape[0] * weight.shape[1] * pairs
        case ConvTranspose(weight, stride, padding):
            ones = (1,) * len(stride)
            pairs = _pairs(shape[1:], out[1:], weight.shape[2:], stride, padding, ones)
            return weight.shape[0] * weight.shape[1] * pairs
    return 0


def _pairs(
    coarse: Shape, fine: Shape, kernel: Shape, stride: tuple[int, ...], padding: Pairs, dilation: tuple[int, ...]
) -> int:
    """Count the positions (coarse, kernel) whose pixel ``coarse * s + kernel * d - before`` exists, over all axes."""
    counts = []
    for m, n, k, s, (before, _), d in zip(coarse, fine, kernel, stride, padding, dilation, strict=True):
        pixel = np.arange(m)[:, None] * s + np.arange(k)[None] * d - before
        counts.append(int(np.count_nonzero((pixel >= 0) & (pixel < n))))
    return prod(counts)
