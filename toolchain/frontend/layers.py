"""Layers in terms of expressions, shared by the readers.

Arrays are NumPy float64 and carry no batch axis; axis 0 of a value is its channel axis. Every function
here either returns the exact equivalent or raises `Refusal`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, pairwise
from math import inf, prod

import numpy as np

from toolchain.frontend.axis_maps import empty, expand, map_axes
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.channels import channel_values
from toolchain.frontend.expression import Expression, Refusal, Value, settled
from toolchain.netlist import (
    Conv,
    ConvTranspose,
    Linear,
    Pad,
    Pairs,
    Permute,
    Reshape,
    Scale,
    Slice,
    SumPool,
    per_channel,
)


def convolution(
    x: Value,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: tuple[int, ...],
    padding: Pairs,
    dilation: tuple[int, ...],
    groups: int,
) -> Value:
    """Convolve; `bias` is (C_out,)."""
    return _biased(settled(x).through(Conv(weight, stride, padding, dilation, groups)), bias)


def transposed_convolution(
    x: Value,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: tuple[int, ...],
    padding: Pairs,
    dilation: tuple[int, ...],
    groups: int,
) -> Value:
    """Convolve transposed; `padding` is what is cut from the full output."""
    if set(dilation) != {1}:
        raise Refusal(f"has dilation {dilation}", "use a transposed convolution without dilation")
    return _biased(settled(x).through(ConvTranspose(weight, stride, padding, groups)), bias)


def linear(x: Value, weight: np.ndarray, bias: np.ndarray | None) -> Value:
    """Multiply the last axis by `weight` (out, in); earlier axes are positions (a 1x1 convolution)."""
    x = settled(x)
    positions = len(x.shape) - 1
    if positions == 0:
        return _biased(x.through(Linear(weight)), bias)
    if positions > 3:
        raise Refusal(f"multiplies the last axis of {x.shape}", "reshape to at most three axes of positions first")
    ones, zeros = (1,) * positions, ((0, 0),) * positions
    x = x.through(Permute((positions, *range(positions))))
    kernel = weight.reshape(*weight.shape, *ones)
    y = _biased(x.through(Conv(kernel, ones, zeros, ones)), bias)
    return y.through(Permute((*range(1, positions + 1), 0)))


def _biased(x: Expression, bias: np.ndarray | None) -> Expression:
    return x if bias is None else x.shift(per_channel(bias, x.shape))


def normalization(
    x: Value, gain: np.ndarray | None, bias: np.ndarray | None, mean: np.ndarray, variance: np.ndarray, eps: float
) -> Value:
    """Normalise per channel with fixed statistics (BatchNorm in eval mode)."""
    factor = 1 / np.sqrt(variance + eps) if gain is None else gain / np.sqrt(variance + eps)
    shift = -mean * factor if bias is None else bias - mean * factor
    return x.through(Scale(factor)).shift(per_channel(shift, x.shape))


def scale(x: Value, factor: np.ndarray) -> Value:
    """Multiply by a constant; both are broadcast."""
    x = _broadcast(x, factor.shape)
    full = np.broadcast_to(factor, x.shape)
    channels = channel_values(full)
    if channels is not None:
        return x.through(Scale(channels))
    flat = settled(x).through(Reshape((full.size,))).through(Scale(full.flatten()))
    return flat.through(Reshape(x.shape))


def shift(x: Value, constant: np.ndarray) -> Value:
    """Add a constant; both are broadcast."""
    return _broadcast(x, constant.shape).shift(constant)


def add(x: Value, y: Value) -> Value:
    """Add two values; both are broadcast."""
    x, y = _broadcast(x, y.shape), _broadcast(y, x.shape)
    return settled(x).plus(settled(y))


def _broadcast(x: Value, shape: tuple[int, ...]) -> Value:
    """Repeat a value so that it takes an operand of another shape, as arrays are broadcast."""
    try:
        whole = np.broadcast_shapes(x.shape, shape)
    except ValueError:
        raise Refusal(f"joins shapes {x.shape} and {shape}", "make the shapes equal first") from None
    return x if whole == x.shape else expand(x, whole)


def reshape(x: Value, shape: tuple[int, ...]) -> Value:
    """Give the same values another shape; a scalar per sample is not a population."""
    if not shape:
        shape = (1,)
    return x.through(Reshape(shape)) if shape != x.shape else x


def take(x: Value, axis: int, start: int, stop: int, step: int) -> Value:
    """Slice one axis; bounds as in Python, already non-negative."""
    stop = min(stop, x.shape[axis])
    if start >= stop:
        raise Refusal(f"slices {start}:{stop} of an axis of {x.shape[axis]}, which is empty", "drop the slice")
    return x if (start, stop, step) == (0, x.shape[axis], 1) else x.through(Slice(axis, start, stop, step))


def clamp(builder: NetworkBuilder, x: Value, low: np.ndarray | None, high: np.ndarray | None) -> Value:
    """Clip at constants that broadcast to the value, at least one of them; the same everywhere, or along its axes."""
    if low is None:
        assert high is not None
        if isinstance(x, Expression) and builder.is_non_negative(x):
            low = np.zeros(())
        else:  # min(x, high) = high - relu(high - x)
            over = builder.clip(shift(scale(x, np.asarray(-1.0)), high), 0.0, inf)
            return shift(scale(over, np.asarray(-1.0)), high)
    high = np.full((), inf) if high is None else high
    if np.ptp(low) == 0 and (np.isinf(high).all() or np.ptp(high) == 0):
        return builder.clip(x, float(low.flat[0]), float(high.flat[0]))
    shifted = shift(x, -low)
    if np.isinf(high).all():
        return shift(builder.clip(shifted, 0.0, inf), low)
    width = high - low
    if not np.all(np.isfinite(width) & (width > 0)):
        raise Refusal("clips some channels to a constant, and others not", "clip every channel to a range")
    return shift(scale(builder.clip(scale(shifted, 1.0 / width), 0.0, 1.0), width), low)


def split(x: Value, axis: int, sizes: Iterable[int]) -> tuple[Value, ...]:
    """Cut an axis into parts of these sizes."""
    bounds = pairwise(accumulate(sizes, initial=0))
    return tuple(take(x, axis, start, stop, 1) for start, stop in bounds)


def pad(x: Value, around: Pairs) -> Value:
    """Add zeros around, one (before, after) pair per axis; negative numbers crop."""
    for axis, (before, after) in enumerate(around):
        if before < 0 or after < 0:
            x = take(x, axis, max(-before, 0), x.shape[axis] - max(-after, 0), 1)
    grown = tuple((max(before, 0), max(after, 0)) for before, after in around)
    return settled(x).through(Pad(grown)) if any(n for pair in grown for n in pair) else x


def pixel_shuffle(x: Value, factor: int, *, parts_first: bool = False) -> Value:
    """Spread channels over ``factor x factor`` pixels; they are ordered by channel and part, or by part first."""
    c, h, w = x.shape
    c //= factor * factor
    if parts_first:
        x = reshape(x, (factor, factor, c, h, w)).through(Permute((2, 3, 0, 4, 1)))
    else:
        x = reshape(x, (c, factor, factor, h, w)).through(Permute((0, 3, 1, 4, 2)))
    return reshape(x, (c, h * factor, w * factor))


def pixel_unshuffle(x: Value, factor: int, *, parts_first: bool = False) -> Value:
    """Gather ``factor x factor`` pixels into channels, ordered by channel and part, or by part first."""
    c, h, w = x.shape
    x = reshape(x, (c, h // factor, factor, w // factor, factor))
    x = x.through(Permute((2, 4, 0, 1, 3) if parts_first else (0, 2, 4, 1, 3)))
    return reshape(x, (c * factor * factor, h // factor, w // factor))


def average_pool(
    x: Value,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Pairs,
    *,
    ceil_mode: bool = False,
    count_padding: bool = True,
    divisor: float | None = None,
) -> Value:
    """Average over windows: their sum by `divisor`, or by the values that each has, with the padding or without it."""
    whole = _ceil_padding(x.shape, kernel, stride, padding, ceil_mode)
    x = settled(x)
    if whole == padding and (count_padding or divisor is not None or not np.any(padding)):
        x = x.through(SumPool(kernel, stride, padding))
        return x.through(Scale(np.full(x.shape[0], 1.0 / (divisor or prod(kernel)))))
    if divisor is not None:
        x = x.through(SumPool(kernel, stride, whole))
        return x.through(Scale(np.full(x.shape[0], 1.0 / divisor)))
    axes = zip(x.shape[1:], kernel, stride, padding, whole, strict=True)
    return map_axes(x, {a: _window_means(*axis, count_padding) for a, axis in enumerate(axes, start=1)})


def _window_means(
    n: int, kernel: int, stride: int, padding: tuple[int, int], whole: tuple[int, int], count_padding: bool
) -> np.ndarray:
    """Return what windows make of an axis, (windows, n): means of the values that each has, padding counted or not.

    What `ceil_mode` adds behind the padding never counts.
    """
    before, after = padding
    starts = np.arange(0, n + before + whole[1] - kernel + 1, stride) - before
    matrix = empty(len(starts), n)
    for row, start in zip(matrix, starts, strict=True):
        row[max(start, 0) : start + kernel] = 1
        counted = min(start + kernel, n + after) - start if count_padding else row.sum()
        row /= max(counted, 1)
    return matrix


def max_pool(
    builder: NetworkBuilder,
    x: Value,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Pairs,
    dilation: tuple[int, ...],
    ceil_mode: bool,
) -> Value:
    """Maximum over windows."""
    if set(dilation) != {1}:
        raise Refusal(f"has dilation {dilation}", "use a max pool without dilation")
    return builder.maximum(x, SumPool(kernel, stride, _ceil_padding(x.shape, kernel, stride, padding, ceil_mode)))


def _ceil_padding(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: Pairs, ceil_mode: bool
) -> Pairs:
    """Return the padding with which plain (floor) windows are those of `ceil_mode`; `shape` is (C, ...)."""
    pairs = []
    for n, k, s, (before, after) in zip(shape[1:], kernel, stride, padding, strict=True):
        count = (n + before + after - k) // s + 1
        if ceil_mode and (n + before + after - k) % s and count * s < n + before:
            count += 1  # a partial window counts when it starts inside the input or the padding before it
        pairs.append((before, max(after, (count - 1) * s + k - n - before)))
    return tuple(pairs)


def adaptive_average_pool(x: Value, output: tuple[int, ...]) -> Value:
    """Average over the windows of adaptive pooling: from floor(i n / m) to ceil((i + 1) n / m)."""
    x = settled(x)
    windows = [[(i * n // m, -(-(i + 1) * n // m)) for i in range(m)] for n, m in zip(x.shape[1:], output, strict=True)]
    lengths = [{stop - start for start, stop in each} for each in windows]
    strides = [{b[0] - a[0] for a, b in pairwise(each)} for each in windows]
    if output == x.shape[1:]:
        return x
    if all(len(k) == 1 and len(s) <= 1 and s != {0} for k, s in zip(lengths, strides, strict=True)):
        stride = tuple(s.pop() if s else n for s, n in zip(strides, x.shape[1:], strict=True))
        return average_pool(x, tuple(k.pop() for k in lengths), stride, ((0, 0),) * len(output))
    matrices = {}
    for axis, each in enumerate(windows, start=1):
        matrices[axis] = empty(len(each), x.shape[axis])
        for row, (start, stop) in zip(matrices[axis], each, strict=True):
            row[start:stop] = 1 / (stop - start)
    return map_axes(x, matrices)


def adaptive_max_pool(builder: NetworkBuilder, x: Value, output: tuple[int, ...]) -> Value:
    """Maximum over the windows of adaptive pooling, when they tile the axis."""
    if any(n % m for n, m in zip(x.shape[1:], output, strict=True)):
        raise Refusal(f"pools {x.shape[1:]} adaptively into {output}", "choose an output size that divides the input's")
    kernel = tuple(n // m for n, m in zip(x.shape[1:], output, strict=True))
    return builder.maximum(x, SumPool(kernel, kernel, ((0, 0),) * len(kernel)))


def reduce_axes(builder: NetworkBuilder, x: Value, axes: tuple[int, ...], kind: str, keepdim: bool) -> Value:
    """Sum, mean, maximum or minimum ("sum", "mean", "max", "min") over whole axes."""
    if kind == "min":
        greatest = reduce_axes(builder, scale(x, np.asarray(-1.0)), axes, "max", keepdim)
        return scale(settled(greatest), np.asarray(-1.0))
    shape = x.shape
    kept = [a for a in range(len(shape)) if a not in axes]
    if 0 in axes:
        # Some axis must serve as channels: a kept one, or a new one of size 1.
        x = x.through(Permute((*kept, *axes))) if kept else x.through(Reshape((1, *shape)))
        kernel = (*(1 for _ in kept[1:]), *(shape[a] for a in axes))
    else:
        kernel = tuple(shape[a] if a in axes else 1 for a in range(1, len(shape)))
    window = SumPool(kernel, kernel, ((0, 0),) * len(kernel))
    if kind == "max":
        x = builder.maximum(x, window)
    else:
        x = settled(x).through(window)
        if kind == "mean":
            x = x.through(Scale(np.full(x.shape[0], 1.0 / prod(kernel))))
    return reshape(x, tuple(1 if a in axes else n for a, n in enumerate(shape) if keepdim or a not in axes))
