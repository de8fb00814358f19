"""Connections as fast numpy functions: exact integers on whatever number type carries them.

Convolutions are im2col and one matrix product per group. The number type is chosen by a computed
bound on every partial sum: float32 below 2**24, float64 below 2**53, int64 above. Held equal to
`toolchain.netlist.linear`, the definition, by tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import singledispatch
from itertools import product
from typing import Any

import numpy as np

from toolchain.netlist import (
    BackendError,
    Conv,
    ConvTranspose,
    Linear,
    Netlist,
    Operator,
    Pad,
    Pairs,
    Permute,
    Resample,
    Reshape,
    Scale,
    Shape,
    Slice,
    SumPool,
)

#: Maps a batch (n, *source shape) of payloads to currents (n, *target shape).
Kernel = Callable[[np.ndarray], np.ndarray]


def operator_gain(operator: Operator) -> int:
    """Bound the magnitude of an operator's partial sums, for inputs of magnitude 1."""
    match operator:
        case Conv(weight=weight) | Linear(weight=weight):
            return int(np.abs(weight.astype(np.int64)).reshape(weight.shape[0], -1).sum(axis=1).max())
        case ConvTranspose(weight=weight):
            return int(np.abs(weight.astype(np.int64)).sum(axis=(0, *range(2, weight.ndim))).max())
        case Scale(weight=weight):
            return int(np.abs(weight.astype(np.int64)).max())
        case SumPool(kernel=kernel):
            return math.prod(kernel)
        case Resample(matrices=matrices):
            return math.prod(int(np.abs(m.astype(np.int64)).sum(axis=1).max()) for m in matrices)
        case _:
            return 1


def chain_bound(operators: Sequence[Operator], magnitude: int) -> int:
    """Bound the magnitude of every partial sum of a chain, for payloads up to `magnitude`.

    Never below the exact bound of `toolchain.netlist.partial_sum_bound`, and much cheaper: it takes
    no account of borders.
    """
    worst = magnitude
    for operator in operators:
        magnitude *= operator_gain(operator)
        worst = max(worst, magnitude)
    return worst


def exact_dtype(bound: int) -> np.dtype[Any]:
    """Return the fastest number type that carries integers up to `bound` exactly.

    Raises
    ------
    BackendError
        When 64 bits are not enough.
    """
    for dtype, limit in ((np.float32, 2**24), (np.float64, 2**53), (np.int64, 2**63)):
        if bound < limit:
            return np.dtype(dtype)
    raise BackendError("lava", f"a connection's partial sums reach {bound}, more than 64 bits hold")


def build_kernel(netlist: Netlist, source: str, operators: Sequence[Operator]) -> tuple[Kernel, int]:
    """Prepare a connection's operators.

    Parameters
    ----------
    netlist : Netlist
    source : str
        The population that the payloads come from.
    operators : sequence of Operator

    Returns
    -------
    kernel : callable, ndarray (n, *source shape) to ndarray (n, *target shape)
        Takes payloads as they travel (int8 or uint8); returns the number type of `exact_dtype`.
        Keeps work buffers: one thread at a time.
    bound : int
        What no partial sum exceeds.
    """
    low, high = netlist.payload_range(source)
    return build_chain(operators, netlist[source].shape, max(-low, high))


def build_chain(operators: Sequence[Operator], shape: Shape, magnitude: int) -> tuple[Kernel, int]:
    """Prepare operators for payloads of `shape` and up to `magnitude`; returns as `build_kernel`."""
    bound = chain_bound(operators, magnitude)
    dtype = exact_dtype(bound)
    stages: list[Kernel] = []
    for operator in operators:
        stages.append(_prepare(operator, shape, dtype))
        shape = operator.output_shape(shape)

    def kernel(payload: np.ndarray) -> np.ndarray:
        for stage in stages:
            payload = stage(payload)
        return payload.astype(dtype, copy=False)

    return kernel, bound


@singledispatch
def _prepare(operator: Operator, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    """Prepare one operator for inputs of `shape`."""
    raise TypeError(f"no kernel for {type(operator).__name__}")


def _strided(offset: Sequence[int], stride: Sequence[int], count: Sequence[int]) -> tuple[slice, ...]:
    """Index the elements that one kernel offset touches, per spatial axis."""
    return tuple(slice(o, o + (n - 1) * s + 1, s) for o, s, n in zip(offset, stride, count, strict=True))


def _inside(padding: Pairs, spatial: Shape) -> tuple[slice, ...]:
    """Index the unpadded part of padded spatial axes."""
    return tuple(slice(before, before + n) for (before, _), n in zip(padding, spatial, strict=True))


def _padded_shape(padding: Pairs, spatial: Shape) -> Shape:
    return tuple(n + before + after for (before, after), n in zip(padding, spatial, strict=True))


@_prepare.register
def _(operator: Conv, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    out = operator.output_shape(shape)
    groups, kernel = operator.groups, operator.weight.shape[2:]
    weight = np.ascontiguousarray(operator.weight.reshape(groups, out[0] // groups, -1), dtype=dtype)
    # One tap on every input: equal shapes alone would let padding take the place of what a stride skips.
    if set(kernel) == set(operator.stride) == {1} and not np.any(operator.padding):
        return lambda x: np.matmul(weight, x.astype(dtype).reshape(len(x), groups, -1, math.prod(out[1:]))).reshape(
            len(x), *out
        )
    padded = np.zeros((shape[0], *_padded_shape(operator.padding, shape[1:])), dtype)
    inside = padded[(slice(None), *_inside(operator.padding, shape[1:]))]
    spatial = tuple(range(1, len(shape)))
    span = [d * (k - 1) + 1 for k, d in zip(kernel, operator.dilation, strict=True)]
    view: np.ndarray = np.lib.stride_tricks.sliding_window_view(padded, span, axis=spatial)  # type: ignore[call-overload]
    every = tuple(slice(None, None, d) for d in operator.dilation)
    windows = view[(slice(None), *_strided((0,) * len(kernel), operator.stride, out[1:]), *every)]
    patches = windows.transpose(0, *(a + len(kernel) for a in spatial), *spatial)
    # One sample's columns at a time stay in the cache.
    columns = np.empty(patches.shape, dtype)
    matrix = columns.reshape(groups, weight.shape[2], -1)

    def convolve(x: np.ndarray) -> np.ndarray:
        y = np.empty((len(x), groups, out[0] // groups, math.prod(out[1:])), dtype)
        for sample, result in zip(x, y, strict=True):
            inside[...] = sample
            columns[...] = patches
            np.matmul(weight, matrix, out=result)
        return y.reshape(len(x), *out)

    return convolve


@_prepare.register
def _(operator: ConvTranspose, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    out = operator.output_shape(shape)
    groups, kernel = operator.groups, operator.weight.shape[2:]
    channels = out[0] // groups
    # (C_in, C_out/g, K...) -> per group (C_out/g * K, C_in/g): each input spreads its kernel.
    spread = operator.weight.reshape(groups, shape[0] // groups, -1).transpose(0, 2, 1)
    weight = np.ascontiguousarray(spread, dtype=dtype)
    full = tuple(
        max((n - 1) * s + k, before + size)
        for n, s, k, size, (before, _) in zip(
            shape[1:], operator.stride, kernel, out[1:], operator.padding, strict=True
        )
    )
    crop = (slice(None), slice(None), *_inside(operator.padding, out[1:]))
    offsets = [_strided(k, operator.stride, shape[1:]) for k in product(*map(range, kernel))]

    def scatter(x: np.ndarray) -> np.ndarray:
        flat = x.astype(dtype).reshape(len(x), groups, shape[0] // groups, -1)
        parts = np.matmul(weight, flat).reshape(len(x), groups, channels, len(offsets), *shape[1:])
        y = np.zeros((len(x), groups, channels, *full), dtype)
        for position, index in enumerate(offsets):
            y[(slice(None), slice(None), slice(None), *index)] += parts[:, :, :, position]
        return y.reshape(len(x), out[0], *full)[crop]

    return scatter


@_prepare.register
def _(operator: Linear, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    transposed = np.ascontiguousarray(operator.weight.T, dtype=dtype)
    return lambda x: x.astype(dtype) @ transposed


@_prepare.register
def _(operator: Scale, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    weight = operator.weight.astype(dtype).reshape(-1, *(1 for _ in shape[1:]))
    return lambda x: x * weight


@_prepare.register
def _(operator: SumPool, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    out = operator.output_shape(shape)
    padding = ((0, 0), (0, 0), *operator.padding)
    pads = any(n for pair in operator.padding for n in pair)

    def pool(x: np.ndarray) -> np.ndarray:
        x = np.pad(x.astype(dtype), padding) if pads else x.astype(dtype)
        for axis, (k, s, n) in enumerate(zip(operator.kernel, operator.stride, out[1:], strict=True), start=2):
            lead = (slice(None),) * axis
            total = x[(*lead, slice(0, (n - 1) * s + 1, s))].copy()
            for i in range(1, k):
                total += x[(*lead, slice(i, i + (n - 1) * s + 1, s))]
            x = total
        return x

    return pool


@_prepare.register
def _(operator: Resample, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    transposed = [m.T.astype(dtype) for m in operator.matrices]

    def resample(x: np.ndarray) -> np.ndarray:
        x = x.astype(dtype)
        for axis, matrix in enumerate(transposed, start=2):
            x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix, -1, axis)
        return x

    return resample


@_prepare.register
def _(operator: Reshape, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    return lambda x: x.reshape(len(x), *operator.shape)


@_prepare.register
def _(operator: Permute, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    axes = (0, *(a + 1 for a in operator.axes))
    return lambda x: x.transpose(axes)


@_prepare.register
def _(operator: Slice, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    index = (slice(None),) * (operator.axis + 1) + (slice(operator.start, operator.stop, operator.step),)
    return lambda x: x[index]


@_prepare.register
def _(operator: Pad, shape: Shape, dtype: np.dtype[Any]) -> Kernel:
    padding = ((0, 0), *operator.padding)
    return lambda x: np.pad(x, padding)


def build_burst(threshold: np.ndarray, phi: int, limit: int) -> Kernel:
    """Prepare ``n = clip(floor(u / threshold), 0, phi)`` for membrane potentials of at most `limit`.

    Divides in floating point, which is an order of magnitude faster than integer division and, within
    the bound checked here, as exact: for integers 0 <= u and theta >= 1 the quotient is at least 1/theta
    below the next integer k, and rounding only reaches k when that is at most half the spacing of
    the numbers below k, which is less than k * 2**-24 (2**-53 in float64). ``theta * k <= u + theta``.

    Parameters
    ----------
    threshold : ndarray, integer
        Broadcasts over the potentials.
    phi : int
    limit : int

    Returns
    -------
    callable, ndarray of integers to ndarray of the same shape, uint8
    """
    dtype = np.dtype(np.float32 if limit + int(threshold.max()) < 2**24 else np.float64)
    divisor: np.ndarray = threshold.astype(dtype)

    def burst(u: np.ndarray) -> np.ndarray:
        quotient: np.ndarray = u.astype(dtype)
        quotient /= divisor
        # Below zero there is no burst; above, the cast to integers is the floor.
        np.clip(quotient, 0, phi, out=quotient)
        return quotient.astype(np.uint8)

    return burst


def build_window_maximum(window: SumPool, shape: Shape) -> Kernel:
    """Prepare the maximum over the windows of a `MaxPool` population; zero padding never wins.

    Parameters
    ----------
    window : SumPool
        The windows' geometry.
    shape : tuple of int
        What the windows slide over.

    Returns
    -------
    callable, ndarray (n, *shape) to ndarray (n, *output shape), of the same dtype
    """
    out = window.output_shape(shape)
    padding = ((0, 0), (0, 0), *window.padding)
    pads = any(n for pair in window.padding for n in pair)

    def maximum(x: np.ndarray) -> np.ndarray:
        if pads:
            x = np.pad(x, padding)
        for axis, (k, s, n) in enumerate(zip(window.kernel, window.stride, out[1:], strict=True), start=2):
            lead = (slice(None),) * axis
            best = x[(*lead, slice(0, (n - 1) * s + 1, s))].copy()
            for i in range(1, k):
                np.maximum(best, x[(*lead, slice(i, i + (n - 1) * s + 1, s))], out=best)
            x = best
        return x

    return maximum
