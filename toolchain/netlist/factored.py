"""Maps that are the product of a vector per axis: bounds and counts of big maps at the price of their axes.

What starts a bound or a count is the same for every neuron, and an operator treats all positions of a channel alike
but for borders, strides and slices, axis by axis. So a convolution's kernel is summed over its channels once, and
each of its taps contributes an outer product. `toolchain.netlist.linear` is the definition; the tests hold `forward`
and `backward` to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from toolchain.netlist.linear import adjoint, apply
from toolchain.netlist.operators import (
    Conv,
    ConvTranspose,
    Linear,
    Operator,
    Pad,
    Permute,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
)
from toolchain.netlist.shapes import Shape


@dataclass(frozen=True, eq=False)
class Factored:
    """An array ``values[c, y, x] = factors[0][c] * factors[1][y] * factors[2][x]``.

    Parameters
    ----------
    factors : tuple of ndarray
        One per axis, each (extent of the axis,) float64.
    """

    factors: tuple[np.ndarray, ...]

    @property
    def values(self) -> np.ndarray:
        """The array, multiplied out, float64."""
        return np.asarray(reduce(np.multiply.outer, self.factors))

    def along(self, axis: int, factor: np.ndarray) -> Factored:
        """Return the array with another factor along one axis."""
        return Factored((*self.factors[:axis], factor, *self.factors[axis + 1 :]))


#: A map, multiplied out or not.
Map = Factored | np.ndarray


def full(shape: Shape, value: float) -> Factored:
    """Return the map that holds one value everywhere."""
    return Factored(tuple(np.full(n, value if axis == 0 else 1.0) for axis, n in enumerate(shape)))


def multiplied(values: Map) -> np.ndarray:
    """Return a map as an array, float64."""
    return values.values if isinstance(values, Factored) else values


def forward(operator: Operator, x: Map, shape: Shape) -> Map:
    """Apply one linear operator: `toolchain.netlist.apply`, of float64.

    Parameters
    ----------
    operator : Operator
    x : Factored or ndarray `shape`
    shape : tuple of int
        The operator's input shape.

    Returns
    -------
    Factored or ndarray of the output shape
        Multiplied out where the operator mixes axes.
    """
    if not isinstance(x, Factored):
        return apply(operator, x, shape)
    out = operator.output_shape(shape)
    match operator:
        case Conv(weight, groups=groups):
            return _over_taps(_mixed(weight, x.factors[0], groups), _along_axes(_gathered, x, operator, out))
        case ConvTranspose(weight, groups=groups):
            return _over_taps(_mixed_back(weight, x.factors[0], groups), _along_axes(_scattered, x, operator, out))
        case SumPool():
            return _over_taps(x.factors[0], _along_axes(_gathered, x, operator, out))
        case Resample(matrices):
            return Factored((x.factors[0], *(m @ f for m, f in zip(matrices, x.factors[1:], strict=True))))
        case Scale(weight):
            return x.along(0, x.factors[0] * weight)
        case Permute(axes):
            return Factored(tuple(x.factors[a] for a in axes))
        case Slice(axis, start, stop, step):
            return x.along(axis, x.factors[axis][start:stop:step])
        case Pad(padding):
            return Factored(tuple(np.pad(f, around) for f, around in zip(x.factors, padding, strict=True)))
    return apply(operator, x.values, shape)


def backward(operator: Operator, y: Map, shape: Shape) -> Map:
    """Apply the transpose of one linear operator: `toolchain.netlist.adjoint`, of float64.

    Parameters
    ----------
    operator : Operator
    y : Factored or ndarray of the operator's output shape
    shape : tuple of int
        The operator's input shape.

    Returns
    -------
    Factored or ndarray `shape`
        Multiplied out where the operator mixes axes.
    """
    if not isinstance(y, Factored):
        return adjoint(operator, y, shape)
    match operator:
        case Conv(weight, groups=groups):
            return _over_taps(_mixed_back(weight, y.factors[0], groups), _along_axes(_scattered, y, operator, shape))
        case ConvTranspose(weight, groups=groups):
            return _over_taps(_mixed(weight, y.factors[0], groups), _along_axes(_gathered, y, operator, shape))
        case SumPool():
            return _over_taps(y.factors[0], _along_axes(_scattered, y, operator, shape))
        case Linear(weight) if _is_one_number(weight):
            return full(shape, float(weight.flat[0] * y.factors[0].sum()))
        case Reshape() if len(y.factors) == 1 and np.ptp(y.factors[0]) == 0:
            return full(shape, float(y.factors[0][0]))
        case Resample(matrices):
            return Factored((y.factors[0], *(m.T @ f for m, f in zip(matrices, y.factors[1:], strict=True))))
        case Scale():
            return forward(operator, y, shape)
        case Permute(axes):
            return Factored(tuple(y.factors[a] for a in np.argsort(axes)))
        case Slice(axis, start, stop, step):
            factor = np.zeros(shape[axis])
            factor[start:stop:step] = y.factors[axis]
            return y.along(axis, factor)
        case Pad(padding):
            inside = (f[before : before + n] for f, (before, _), n in zip(y.factors, padding, shape, strict=True))
            return Factored(tuple(inside))
    return adjoint(operator, y.values, shape)


def _is_one_number(weight: np.ndarray) -> bool:
    """Return whether the weights are one number in memory, seen from everywhere (`numpy.broadcast_to`)."""
    return not any(weight.strides)


def _along_axes(
    move: Callable[[np.ndarray, int, int, int, int, int], np.ndarray],
    values: Factored,
    operator: Conv | ConvTranspose | SumPool,
    shape: Shape,
) -> list[np.ndarray]:
    """Return what each tap of an operator's windows does along each axis but the channels', towards `shape`."""
    kernel = operator.kernel if isinstance(operator, SumPool) else operator.weight.shape[2:]
    dilation = operator.dilation if isinstance(operator, Conv) else (1,) * len(kernel)
    axes = zip(values.factors[1:], kernel, operator.stride, operator.padding, dilation, shape[1:], strict=True)
    return [move(factor, k, s, before, d, n) for factor, k, s, (before, _), d, n in axes]


def _gathered(factor: np.ndarray, kernel: int, stride: int, before: int, dilation: int, count: int) -> np.ndarray:
    """Return what each tap of a kernel reads along an axis, ``factor[m * stride + k * dilation - before]``, (k, m)."""
    positions = np.arange(count) * stride + np.arange(kernel)[:, None] * dilation - before
    exists = (positions >= 0) & (positions < factor.size)
    return np.where(exists, factor[np.where(exists, positions, 0)], 0.0)


def _scattered(factor: np.ndarray, kernel: int, stride: int, before: int, dilation: int, count: int) -> np.ndarray:
    """Return where each tap of a kernel adds along an axis, the transpose of `_gathered`, (k, n)."""
    positions = np.arange(factor.size) * stride + np.arange(kernel)[:, None] * dilation - before
    spread = np.zeros((kernel, count))
    tap, m = np.nonzero((positions >= 0) & (positions < count))
    # Positions of one tap differ, so none is written twice.
    spread[tap, positions[tap, m]] = factor[m]
    return spread


def _mixed(weight: np.ndarray, channels: np.ndarray, groups: int) -> np.ndarray:
    """Sum a kernel (A, B/groups, *k) over B, times a number per channel (B,): (A, *k), or (A,) if it is one number."""
    grouped = channels.reshape(groups, -1)
    if _is_one_number(weight):
        return np.repeat(grouped.sum(axis=1) * weight.flat[0], weight.shape[0] // groups)
    blocks = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1).astype(np.float64, copy=False)
    return np.einsum("gabk,gb->gak", blocks, grouped, optimize=True).reshape(weight.shape[0], *weight.shape[2:])


def _mixed_back(weight: np.ndarray, channels: np.ndarray, groups: int) -> np.ndarray:
    """Sum a kernel (A, B/groups, *k) over A, times a number per channel (A,): (B, *k), or (B,) if it is one number."""
    grouped = channels.reshape(groups, -1)
    if _is_one_number(weight):
        return np.repeat(grouped.sum(axis=1) * weight.flat[0], weight.shape[1])
    blocks = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1).astype(np.float64, copy=False)
    return np.einsum("gabk,ga->gbk", blocks, grouped, optimize=True).reshape(-1, *weight.shape[2:])


def _over_taps(kernel: np.ndarray, taps: list[np.ndarray]) -> Map:
    """Add up the outer products of a kernel's taps; a kernel of one number per channel leaves the axes apart."""
    if kernel.ndim == 1:
        return Factored((kernel, *(t.sum(axis=0) for t in taps)))
    total = kernel
    for axis, tap in enumerate(taps, start=1):
        total = np.moveaxis(np.moveaxis(total, axis, -1) @ tap, -1, axis)
    return total
