"""Layers in terms of expressions, shared by the readers.

Arrays are NumPy float64 and carry no batch axis; axis 0 of a value is its channel axis. Every function
here either returns the exact equivalent or raises `Refusal`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, pairwise
from math import inf, prod

import numpy as np

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
    Resample,
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
    """Multiply by a constant that broadcasts to the value's shape (or to a larger one)."""
    if np.broadcast_shapes(factor.shape, x.shape) != x.shape:
        raise Refusal(f"multiplies {x.shape} by a constant of shape {factor.shape}", "repeat the value explicitly")
    full = np.broadcast_to(factor, x.shape)
    channels = channel_values(full)
    if channels is not None:
        return x.through(Scale(channels))
    flat = settled(x).through(Reshape((full.size,))).through(Scale(full.flatten()))
    return flat.through(Reshape(x.shape))


def shift(x: Value, constant: np.ndarray) -> Value:
    """Add a constant that broadcasts to the value's shape."""
    if np.broadcast_shapes(constant.shape, x.shape) != x.shape:
        raise Refusal(f"adds a constant of shape {constant.shape} to {x.shape}", "repeat the value explicitly")
    return x.shift(constant)


def add(x: Value, y: Value) -> Value:
    """Add two values of the same shape."""
    if x.shape != y.shape:
        raise Refusal(f"adds values of shapes {x.shape} and {y.shape}", "make the shapes equal before the sum")
    return settled(x).plus(settled(y))


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


def select(x: Value, axis: int, index: int) -> Value:
    """Take one index of an axis, which goes; a negative one counts from the end."""
    index = index % x.shape[axis]
    return reshape(take(x, axis, index, index + 1, 1), (*x.shape[:axis], *x.shape[axis + 1 :]))


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
    """Average over windows, all of the same number of values: `divisor`, or as many as the kernel has."""
    if _ceil_padding(x.shape, kernel, stride, padding, ceil_mode) != padding:
        raise Refusal("has ceil_mode with a partial window at the border", "choose a size that the stride divides")
    if any(n for pair in padding for n in pair) and not count_padding and divisor is None:
        raise Refusal("averages over fewer values at the border", "use count_include_pad=True, or no padding")
    x = settled(x).through(SumPool(kernel, stride, padding))
    return x.through(Scale(np.full(x.shape[0], 1.0 / (divisor or prod(kernel)))))


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
    """Average over the windows of adaptive pooling, when all of an axis have one size."""
    x = settled(x)
    if output == x.shape[1:]:
        return x
    starts, lengths = _adaptive_windows(x.shape[1:], output)
    strides = [{b - a for a, b in pairwise(s)} for s in starts]
    if all(len(s) <= 1 and s != {0} for s in strides):
        stride = tuple(s.pop() if s else n for s, n in zip(strides, lengths, strict=True))
        return average_pool(x, lengths, stride, ((0, 0),) * len(output))
    matrices = []
    for n, first, length in zip(x.shape[1:], starts, lengths, strict=True):
        matrix = np.zeros((len(first), n), dtype=np.int64)
        for row, begin in zip(matrix, first, strict=True):
            row[begin : begin + length] = 1
        matrices.append(matrix)
    x = x.through(Resample(tuple(matrices)))
    return x.through(Scale(np.full(x.shape[0], 1.0 / prod(lengths))))


def _adaptive_windows(shape: tuple[int, ...], output: tuple[int, ...]) -> tuple[list[list[int]], tuple[int, ...]]:
    """Return where the windows start, per axis, and their common length."""
    starts, lengths = [], []
    for n, m in zip(shape, output, strict=True):
        first = [i * n // m for i in range(m)]
        sizes = {-(-(i + 1) * n // m) - i * n // m for i in range(m)}
        if len(sizes) != 1:
            raise Refusal(
                f"pools {n} values adaptively into {m} windows of different sizes",
                f"choose an output size that divides {n}",
            )
        starts.append(first)
        lengths.append(sizes.pop())
    return starts, tuple(lengths)


def adaptive_max_pool(builder: NetworkBuilder, x: Value, output: tuple[int, ...]) -> Value:
    """Maximum over the windows of adaptive pooling, when they tile the axis."""
    if any(n % m for n, m in zip(x.shape[1:], output, strict=True)):
        raise Refusal(f"pools {x.shape[1:]} adaptively into {output}", "choose an output size that divides the input's")
    kernel = tuple(n // m for n, m in zip(x.shape[1:], output, strict=True))
    return builder.maximum(x, SumPool(kernel, kernel, ((0, 0),) * len(kernel)))


def reduce_axes(builder: NetworkBuilder, x: Value, axes: tuple[int, ...], kind: str, keepdim: bool) -> Value:
    """Sum, mean or maximum ("sum", "mean", "max") over whole axes."""
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


def upsample_nearest(x: Value, output: tuple[int, ...]) -> Value:
    """Repeat every value; the factors must be whole numbers."""
    x = settled(x)
    factors = _factors(x.shape[1:], output)
    return x.through(
        Resample(tuple(np.eye(n, dtype=np.int64).repeat(f, axis=0) for n, f in zip(x.shape[1:], factors, strict=True)))
    )


def upsample_linear(x: Value, output: tuple[int, ...]) -> Value:
    """Interpolate linearly between pixel centres (``align_corners=False``); factors are whole numbers."""
    x = settled(x)
    factors = _factors(x.shape[1:], output)
    matrices = tuple(_linear_matrix(n, f) for n, f in zip(x.shape[1:], factors, strict=True))
    x = x.through(Resample(matrices))
    return x.through(Scale(np.full(x.shape[0], 1.0 / prod(2 * f for f in factors))))


def _factors(shape: tuple[int, ...], output: tuple[int, ...]) -> tuple[int, ...]:
    if any(m % n for n, m in zip(shape, output, strict=True)):
        raise Refusal(f"resamples {shape} to {output}", "use a whole-number scale factor")
    return tuple(m // n for n, m in zip(shape, output, strict=True))


def _linear_matrix(n: int, factor: int) -> np.ndarray:
    """Interpolation weights (n * factor, n) in units of 1 / (2 * factor)."""
    matrix = np.zeros((n * factor, n), dtype=np.int64)
    for i in range(n * factor):
        position = max(2 * i + 1 - factor, 0)  # 2 * factor times the source coordinate
        low, part = divmod(position, 2 * factor)
        matrix[i, low] += 2 * factor - part
        matrix[i, min(low + 1, n - 1)] += part
    return matrix
