"""Chains of operators in the few forms that NIR's nodes have, with exactly the same result.

NIR has square convolutions with even zero padding, dense matrices, 2-D sum pooling and flattening;
its type check knows no groups. Every other operator becomes one of these: a group is a block of zeros in
a dense kernel, uneven padding and a slice move a kernel inside a larger one, a channel pad is a
1x1 convolution. What has no such form is refused, unless the chain ends in a flat population, for which
any linear map is a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.netlist import (
    Conv,
    Linear,
    Operator,
    Pad,
    Reshape,
    Scale,
    Shape,
    Slice,
    SumPool,
    UnsupportedError,
    chain_matrix,
    chain_shapes,
)

#: Largest dense array that lowering makes, in elements.
MAX_DENSE = 1 << 28

#: What to do about a network that a format has no form for.
KEEP = "keep the .h5 netlist for this network"


@dataclass(frozen=True, eq=False)
class Lowered:
    """One operator of a lowered chain.

    Parameters
    ----------
    operator : Conv, Linear, SumPool or Reshape
        A `Conv` without groups, of one or two axes, square, evenly padded; a `SumPool` of two axes, evenly padded.
    origin : int or None
        Position in the original chain of the operator whose weights these are, each of them exactly
        once; None where there is none or not all of them are here.
    """

    operator: Conv | Linear | SumPool | Reshape
    origin: int | None = None


def lower(where: str, operators: Sequence[Operator], shape: Shape) -> tuple[Lowered, ...]:
    """Lower a connection's operators.

    Parameters
    ----------
    where : str
        The connection, for messages.
    operators : sequence of Operator
    shape : tuple of int
        The source population's shape.

    Returns
    -------
    tuple of Lowered

    Raises
    ------
    UnsupportedError
        When NIR has no form for an operator; names it.
    """
    shapes = chain_shapes(tuple(operators), shape)
    try:
        return _lower_each(where, operators, shapes)
    except UnsupportedError:
        if len(shapes[-1]) == 1 and math.prod(shape) * shapes[-1][0] <= MAX_DENSE:
            return _as_matrix(tuple(operators), shape)
        raise


def _lower_each(where: str, operators: Sequence[Operator], shapes: Sequence[Shape]) -> tuple[Lowered, ...]:
    done: list[Lowered] = []
    pending: _Selection | None = None

    def flush() -> None:
        nonlocal pending
        if pending is not None and not pending.is_identity:
            done.append(Lowered(pending.operator(where)))
        pending = None

    for position, (operator, shape) in enumerate(zip(operators, shapes, strict=False)):
        if isinstance(operator, Scale | Slice | Pad):
            joined = (pending or _Selection.identity(shape)).then(operator)
            if joined is None:
                flush()
                joined = _Selection.identity(shape).then(operator)
            pending = joined
            continue
        flush()
        match operator:
            case Conv() if operator.weight.ndim <= 4:
                done.append(Lowered(_plain_conv(where, operator, shape), position))
            case Linear():
                done.append(Lowered(operator, position))
            case SumPool(kernel, _, padding) if len(kernel) == 2 and all(a == b for a, b in padding):
                done.append(Lowered(operator))
            case SumPool(kernel, stride, padding) if len(kernel) <= 2:
                ones = np.broadcast_to(
                    _eye(shape[0]).reshape(shape[0], shape[0], *(1 for _ in kernel)), (shape[0], shape[0], *kernel)
                )
                done.append(Lowered(_plain_conv(where, Conv(ones, stride, padding, (1,) * len(kernel)), shape)))
            case Reshape(new):
                if new != shape:
                    flattening(where, shape, new)
                    done.append(Lowered(operator))
            case _:
                raise UnsupportedError(
                    where,
                    f"NIR has no node for {type(operator).__name__} of shape {shape}",
                    KEEP,
                )
    flush()
    return tuple(done)


def flattening(where: str, shape: Shape, new: Shape) -> tuple[int, int]:
    """Return the first and last axis that a flattening joins to make `new` of `shape`."""
    for first in range(len(shape)):
        for last in range(first, len(shape)):
            if (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]) == new:
                return first, last
    raise UnsupportedError(where, f"NIR only flattens, and {shape} to {new} is no flattening", KEEP)


def identity(where: str, shape: Shape) -> Lowered:
    """Return the operator that passes every value of the population `where` on, in a form that carries a bias."""
    return Lowered(_Selection.identity(shape).operator(where))


def zeros(where: str, source: Shape, target: Shape) -> tuple[Lowered, ...]:
    """Return a chain from one shape to another that delivers nothing: it only carries a bias."""
    flat = math.prod(source)
    if len(target) == 1 and flat * target[0] <= MAX_DENSE:
        flatten = (Lowered(Reshape((flat,))),) if len(source) > 1 else ()
        return (*flatten, Lowered(Linear(np.zeros((target[0], flat), np.int64))))
    if len(source) == len(target):
        for step in range(1, max(source[1:]) + 1):
            geometry = _fit(
                source[1:], target[1:], (0,) * (len(source) - 1), (step,) * (len(source) - 1), (1,) * (len(source) - 1)
            )
            if geometry is not None:
                side, padding = geometry
                weight = np.zeros((target[0], source[0], *(side for _ in target[1:])), np.int64)
                return (Lowered(_even(weight, (step,) * len(padding), padding)),)
    raise UnsupportedError(where, f"no connection reaches it, and no NIR node makes {target} of {source}", KEEP)


def _eye(n: int) -> np.ndarray:
    return np.eye(n, dtype=np.int64)


def _even(weight: np.ndarray, stride: tuple[int, ...], padding: tuple[int, ...]) -> Conv:
    return Conv(weight, stride, tuple((p, p) for p in padding), (1,) * len(padding))


def _fit(
    n: Shape, m: Shape, start: tuple[int, ...], step: tuple[int, ...], span: tuple[int, ...]
) -> tuple[int, tuple[int, ...]] | None:
    """Find the smallest square window with even padding that reads what is wanted.

    Output i of an axis with n inputs and m outputs reads `span` inputs from ``start + i * step`` on.
    A window of `side` with padding p on both sides begins at ``i * step - p``; what is wanted lies at
    ``start + p`` inside.

    Returns
    -------
    side, padding per axis; None when there is none.
    """
    for side in range(max(span), 2 * (max(n) + max(span) + max(abs(s) for s in start)) + 1):
        padding = []
        for size, count, s, d, k in zip(n, m, start, step, span, strict=True):
            fitting = (
                p
                for p in range(max(0, -s), side - k - s + 1)
                if size + 2 * p >= side and (size + 2 * p - side) // d + 1 == count
            )
            found = next(fitting, None)
            if found is None:
                break
            padding.append(found)
        else:
            return side, tuple(padding)
    return None


def _placed(where: str, kernel: np.ndarray, n: Shape, m: Shape, start: tuple[int, ...], step: tuple[int, ...]) -> Conv:
    """Put a kernel (C_out, C_in, K...) into a square one with even padding."""
    geometry = _fit(n, m, start, step, kernel.shape[2:])
    if geometry is None:
        raise UnsupportedError(
            where, f"a window of {kernel.shape[2:]} on {n} has no square form with even padding", KEEP
        )
    side, padding = geometry
    if math.prod(kernel.shape[:2]) * side ** len(n) > MAX_DENSE:
        raise UnsupportedError(where, f"a dense kernel of {(*kernel.shape[:2], *(side for _ in n))} is too large")
    weight = np.zeros((*kernel.shape[:2], *(side for _ in n)), kernel.dtype)
    inside = tuple(slice(s + p, s + p + k) for s, p, k in zip(start, padding, kernel.shape[2:], strict=True))
    weight[(slice(None), slice(None), *inside)] = kernel
    return _even(weight, step, padding)


def _plain_conv(where: str, conv: Conv, shape: Shape) -> Conv:
    """Return the same convolution without groups, square and evenly padded."""
    conv = _ungrouped(where, conv)
    sides = conv.weight.shape[2:]
    if all(before == after for before, after in conv.padding) and len(set(sides)) == 1:
        return conv
    spans = tuple(d * (k - 1) + 1 for d, k in zip(conv.dilation, sides, strict=True))
    kernel = np.zeros((*conv.weight.shape[:2], *spans), conv.weight.dtype)
    kernel[(slice(None), slice(None), *(slice(None, None, d) for d in conv.dilation))] = conv.weight
    start = tuple(-before for before, _ in conv.padding)
    return _placed(where, kernel, shape[1:], conv.output_shape(shape)[1:], start, conv.stride)


def _ungrouped(where: str, conv: Conv) -> Conv:
    if conv.groups == 1:
        return conv
    c_out, c_in = conv.weight.shape[:2]
    if conv.weight.size * conv.groups > MAX_DENSE:
        raise UnsupportedError(where, f"{conv.groups} groups of {conv.weight.shape} are too large as one dense kernel")
    dense = np.zeros((c_out, c_in * conv.groups, *conv.weight.shape[2:]), conv.weight.dtype)
    each = c_out // conv.groups
    for g in range(conv.groups):
        dense[g * each : (g + 1) * each, g * c_in : (g + 1) * c_in] = conv.weight[g * each : (g + 1) * each]
    return replace(conv, weight=dense, groups=1)


def _as_matrix(operators: tuple[Operator, ...], shape: Shape) -> tuple[Lowered, ...]:
    """Write a whole chain as one matrix."""
    flatten = (Lowered(Reshape((math.prod(shape),))),) if len(shape) > 1 else ()
    return (*flatten, Lowered(Linear(chain_matrix(operators, shape))))


@dataclass(frozen=True, eq=False)
class _Selection:
    """Where each value comes from: slices, pads and per-channel factors in one.

    `taken` lists, per axis, the source index of each target index, -1 for a zero; `factor` multiplies
    the target channels. Spatial axes must be arithmetic progressions: a strided window.
    """

    shape: Shape
    taken: tuple[np.ndarray, ...]
    factor: np.ndarray
    weighted: bool = False

    @classmethod
    def identity(cls, shape: Shape) -> _Selection:
        return cls(shape, tuple(np.arange(n) for n in shape), np.ones(shape[0], np.int64))

    @property
    def is_identity(self) -> bool:
        return (
            not self.weighted
            and tuple(len(t) for t in self.taken) == self.shape
            and all(np.array_equal(t, np.arange(len(t))) for t in self.taken)
        )

    def then(self, operator: Scale | Slice | Pad) -> _Selection | None:
        """Return this followed by `operator`, or None where that is no single window."""
        taken, factor = list(self.taken), self.factor
        match operator:
            case Scale(weight):
                if self.weighted:
                    return None
                return replace(self, factor=factor * weight, weighted=True)
            case Slice(axis, start, stop, step):
                taken[axis] = taken[axis][start:stop:step]
                if axis == 0:
                    factor = factor[start:stop:step]
            case Pad(padding):
                taken = [np.pad(t, pair, constant_values=-1) for t, pair in zip(taken, padding, strict=True)]
                factor = np.pad(factor, padding[0])
        joined = replace(self, taken=tuple(taken), factor=factor)
        fits = all(_progression(t, n) for t, n in zip(taken[1:], self.shape[1:], strict=True))
        return joined if fits else None

    def operator(self, where: str) -> Conv | Linear:
        """Return the convolution (the matrix, without spatial axes) that does it."""
        channels = self.taken[0]
        if len(channels) * self.shape[0] > MAX_DENSE:
            raise UnsupportedError(where, f"{len(channels)} times {self.shape[0]} channels are too many for a matrix")
        matrix = np.zeros((len(channels), self.shape[0]), np.int64)
        used = np.flatnonzero(channels >= 0)
        matrix[used, channels[used]] = self.factor[used]
        if len(self.shape) == 1:
            return Linear(matrix)
        found = [_progression(t, n) for t, n in zip(self.taken[1:], self.shape[1:], strict=True)]
        if len(found) > 2 or not all(found):
            raise UnsupportedError(where, f"NIR has no window that takes these values of {self.shape}", KEEP)
        start, step = zip(*(f for f in found if f), strict=True)
        counts = tuple(len(t) for t in self.taken[1:])
        return _placed(where, matrix.reshape(*matrix.shape, *(1 for _ in counts)), self.shape[1:], counts, start, step)


def _progression(taken: np.ndarray, n: int) -> tuple[int, int] | None:
    """Return start and step of ``taken[i] = start + i * step`` (-1 outside 0..n-1), or None."""
    inside = np.flatnonzero(taken >= 0)
    if not len(inside):
        return None
    first = int(inside[0])
    step = int(taken[inside[1]] - taken[first]) if len(inside) > 1 else (n if len(taken) > 1 else 1)
    if step < 1:
        return None
    start = int(taken[first]) - first * step
    wanted = start + np.arange(len(taken)) * step
    wanted[(wanted < 0) | (wanted >= n)] = -1
    return (start, step) if np.array_equal(wanted, taken) else None


def merge_pool(where: str, pool: SumPool, conv: Conv, shape: Shape) -> Conv:
    """Return the one convolution that a sum-pooling and a convolution after it make.

    Exact where the padding of the convolution means the same before the pooling: what lies beyond the
    pooled map must lie beyond the map itself.

    Parameters
    ----------
    where : str
        The connection, for messages.
    pool : SumPool
    conv : Conv
    shape : tuple of int
        What the pooling takes, (C, H, W).

    Raises
    ------
    UnsupportedError
        When they make no single convolution.
    """
    pooled = pool.output_shape(shape)
    axes = zip(pool.kernel, pool.stride, pool.padding, shape[1:], pooled[1:], conv.padding, strict=True)
    for window, stride, (before, _), n, m, (low, high) in axes:
        if (low and window > stride + before) or (high and m * stride - before < n):
            raise UnsupportedError(
                where, f"the padding after {pool} reaches into the map before it: they are no single Conv", KEEP
            )
    kernel = conv.weight.shape[2:]
    steps = tuple(d * s for d, s in zip(conv.dilation, pool.stride, strict=True))
    extent = tuple((k - 1) * step + window for k, step, window in zip(kernel, steps, pool.kernel, strict=True))
    weight = np.zeros((*conv.weight.shape[:2], *extent), dtype=np.int64)
    for position in np.ndindex(*kernel):
        every = tuple(
            slice(i * step, i * step + window) for i, step, window in zip(position, steps, pool.kernel, strict=True)
        )
        tap: np.ndarray = np.moveaxis(conv.weight, (0, 1), (-2, -1))[position]
        weight[:, :, *every] += tap.reshape(*tap.shape, *(1 for _ in kernel))
    return Conv(
        weight,
        tuple(a * b for a, b in zip(conv.stride, pool.stride, strict=True)),
        tuple(
            (low * stride + before, high * stride + before)
            for (low, high), stride, (before, _) in zip(conv.padding, pool.stride, pool.padding, strict=True)
        ),
        (1,) * len(kernel),
        conv.groups,
    )


def carries_bias(lowered: tuple[Lowered, ...]) -> bool:
    """Return whether the last node of a lowered chain has a bias."""
    return bool(lowered) and isinstance(lowered[-1].operator, Conv | Linear)
