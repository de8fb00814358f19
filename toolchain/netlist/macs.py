"""Multiply-accumulates of one operator: without the products with padding zeros, and with them."""

from __future__ import annotations

from math import prod

import numpy as np

from toolchain.netlist.operators import Conv, ConvTranspose, Linear, Operator
from toolchain.netlist.shapes import Pairs, Shape, size


def dense_macs(operator: Operator, shape: Shape) -> int:
    """Count the multiplications of one operator for one sample; a product with a padding zero is none.

    Parameters
    ----------
    operator : Operator
        A scale counts nothing, it folds into a neighbour; what only moves or adds does not either.
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


def padded_macs(operator: Operator, shape: Shape) -> int:
    """Count the multiplications of one operator for one sample with padding zeros, as FLOP counters do.

    Parameters
    ----------
    operator : Operator
        As for `dense_macs`.
    shape : tuple of int
        Its input shape.
    """
    match operator:
        case Linear(weight):
            return int(weight.size)
        case Conv(weight):
            return size(operator.output_shape(shape)) * prod(weight.shape[1:])
        case ConvTranspose(weight):
            return size(shape) * prod(weight.shape[1:])
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
