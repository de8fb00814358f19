"""Boxes of neurons, and which source neurons a box of targets listens to.

A box is one half-open (start, stop) per axis of a population's shape. Receptive boxes are exact for
convolutions and pooling without dilation, and otherwise the smallest box around the true sources.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

from toolchain.netlist import (
    Conv,
    ConvTranspose,
    Linear,
    Operator,
    Pad,
    Permute,
    Resample,
    Reshape,
    Scale,
    Shape,
    Slice,
    SumPool,
    chain_shapes,
)

Range = tuple[int, int]
Box = tuple[Range, ...]


def whole(shape: Shape) -> Box:
    """Return the box of all neurons."""
    return tuple((0, n) for n in shape)


def volume(box: Box) -> int:
    """Return the number of neurons in a box."""
    return math.prod(stop - start for start, stop in box)


def intersection(a: Box, b: Box) -> Box | None:
    """Return the common part of two boxes, None where there is none."""
    box = tuple((max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a, b, strict=True))
    return box if all(start < stop for start, stop in box) else None


def index(box: Box) -> tuple[slice, ...]:
    """Return the numpy index of a box."""
    return tuple(slice(*r) for r in box)


def grid(shape: Shape, block: Shape) -> Iterator[Box]:
    """Cut a shape into boxes of at most `block`, in C order."""
    axes = ([(i, min(i + b, n)) for i in range(0, n, b)] for n, b in zip(shape, block, strict=True))
    return product(*axes)


def _clip(start: int, stop: int, n: int) -> Range:
    start, stop = max(start, 0), min(stop, n)
    return (start, stop) if start < stop else (0, 0)


def _window(r: Range, n: int, window: int, stride: int, before: int) -> Range:
    """Return the inputs that windows r read: window i covers ``i * stride - before`` and what follows."""
    return _clip(r[0] * stride - before, (r[1] - 1) * stride - before + window, n)


def _before(operator: Operator, box: Box, shape: Shape) -> Box:
    """Return the box of `operator`'s input, of `shape`, that its output `box` depends on."""
    if any(start == stop for start, stop in box):
        return tuple((0, 0) for _ in shape)
    match operator:
        case Conv(weight, stride, padding, dilation, groups):
            spatial = zip(box[1:], shape[1:], weight.shape[2:], stride, padding, dilation, strict=True)
            return (
                _groups(box[0], shape[0], weight.shape[0], groups),
                *(_window(r, n, d * (k - 1) + 1, s, p[0]) for r, n, k, s, p, d in spatial),
            )
        case ConvTranspose(weight, stride, padding, groups):
            # Input i reaches the outputs i * s - p to i * s - p + k - 1. So output o hears the inputs from
            # ceil((o + p - k + 1) / s), written with floor division, to floor((o + p) / s).
            spatial = zip(box[1:], shape[1:], weight.shape[2:], stride, padding, strict=True)
            return (
                _groups(box[0], shape[0], weight.shape[1] * groups, groups),
                *(_clip(-((k - 1 - p[0] - r[0]) // s), (r[1] - 1 + p[0]) // s + 1, n) for r, n, k, s, p in spatial),
            )
        case SumPool(kernel, stride, padding):
            spatial = zip(box[1:], shape[1:], kernel, stride, padding, strict=True)
            return (box[0], *(_window(r, n, k, s, p[0]) for r, n, k, s, p in spatial))
        case Resample(matrices):
            return (box[0], *(_columns(m, r) for m, r in zip(matrices, box[1:], strict=True)))
        case Linear():
            return whole(shape)
        case Scale():
            return box
        case Reshape(after):
            return _reshaped(box, after, shape)
        case Permute(axes):
            return tuple(box[axes.index(a)] for a in range(len(axes)))
        case Slice(axis, start, _, step):
            r = (start + box[axis][0] * step, start + (box[axis][1] - 1) * step + 1)
            return (*box[:axis], r, *box[axis + 1 :])
        case Pad(padding):
            return tuple(_clip(r[0] - p[0], r[1] - p[0], n) for r, p, n in zip(box, padding, shape, strict=True))


def _groups(channels: Range, inputs: int, outputs: int, groups: int) -> Range:
    """Return the input channels of every group that has a channel in the range."""
    per_out, per_in = outputs // groups, inputs // groups
    return channels[0] // per_out * per_in, ((channels[1] - 1) // per_out + 1) * per_in


def _columns(matrix: np.ndarray, rows: Range) -> Range:
    used = np.flatnonzero(matrix[slice(*rows)].any(axis=0))
    return (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)


def _reshaped(box: Box, after: Shape, before: Shape) -> Box:
    """Bound the values of a box, in C order, by a box of the shape before.

    Between the first and the last value of the box, leading axes on which both agree stay as they are, the
    next one runs from one to the other, and all behind it may take any value.
    """
    first = np.unravel_index(np.ravel_multi_index([r[0] for r in box], after), before)
    last = np.unravel_index(np.ravel_multi_index([r[1] - 1 for r in box], after), before)
    ranges: list[Range] = []
    together = True
    for low, high, n in zip(first, last, before, strict=True):
        ranges.append((int(low), int(high) + 1) if together else (0, n))
        together = together and low == high
    return tuple(ranges)


def receptive_box(operators: tuple[Operator, ...], shape: Shape, box: Box) -> Box:
    """Return the box of source neurons that a box of targets listens to through a connection.

    Parameters
    ----------
    operators : tuple of Operator
    shape : tuple of int
        The source population's shape.
    box : Box
        In the shape that the connection delivers.
    """
    shapes = chain_shapes(operators, shape)
    for operator, before in zip(reversed(operators), reversed(shapes[:-1]), strict=True):
        box = _before(operator, box, before)
    return box
