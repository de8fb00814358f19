"""What each linear operator computes, in plain numpy: the definition that all kernels are held to.

`apply` is the operator, `adjoint` its transpose. Both take arrays with any number of leading batch
axes and keep the dtype exact: integers stay integers (int64 sums). Written to be read, not to be
fast: a convolution is one sum over kernel offsets of strided views.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

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
from toolchain.netlist.shapes import Pairs, Shape, size

#: Unit vectors that `chain_matrix` sends through a chain at a time: bounds the memory of what lies between.
_UNITS = 256


def apply(operator: Operator, x: np.ndarray, shape: Shape) -> np.ndarray:
    """Apply one linear operator.

    Parameters
    ----------
    operator : Operator
    x : ndarray (..., *shape)
        int64 or float64; leading axes are a batch.
    shape : tuple of int
        The operator's input shape.

    Returns
    -------
    ndarray (..., *operator.output_shape(shape)), dtype of `x`
    """
    lead = x.shape[: x.ndim - len(shape)]
    out = operator.output_shape(shape)
    flat = x.reshape(-1, *shape)
    return _apply(operator, flat, out).reshape(*lead, *out)


def adjoint(operator: Operator, y: np.ndarray, shape: Shape) -> np.ndarray:
    """Apply the transpose of one linear operator.

    Parameters
    ----------
    operator : Operator
    y : ndarray (..., *operator.output_shape(shape))
    shape : tuple of int
        The operator's input shape.

    Returns
    -------
    ndarray (..., *shape), dtype of `y`
    """
    out = operator.output_shape(shape)
    lead = y.shape[: y.ndim - len(out)]
    flat = y.reshape(-1, *out)
    return _adjoint(operator, flat, shape).reshape(*lead, *shape)


def apply_chain(operators: tuple[Operator, ...], x: np.ndarray, shape: Shape) -> np.ndarray:
    """Apply operators in order to `x` (..., *shape)."""
    for operator in operators:
        x = apply(operator, x, shape)
        shape = operator.output_shape(shape)
    return x


def chain_matrix(operators: tuple[Operator, ...], shape: Shape) -> np.ndarray:
    """Multiply a chain of integer operators out to one matrix, by what it does to each unit vector.

    Parameters
    ----------
    operators : tuple of Operator
    shape : tuple of int
        The chain's input shape.

    Returns
    -------
    ndarray (neurons out, neurons in), int64
        Both sides flattened in C order.
    """
    neurons = size(shape)
    rows = []
    for start in range(0, neurons, _UNITS):
        units = np.eye(min(_UNITS, neurons - start), neurons, k=start, dtype=np.int64)
        rows.append(apply_chain(operators, units.reshape(-1, *shape), shape).reshape(len(units), -1))
    return np.ascontiguousarray(np.concatenate(rows).T)


def _at(weight: np.ndarray, offset: tuple[int, ...]) -> np.ndarray:
    """Return the channel matrix at one kernel offset."""
    index: tuple[Any, ...] = (slice(None), slice(None), *offset)
    return weight[index]


def _windows(x: np.ndarray, offset: tuple[int, ...], stride: tuple[int, ...], count: tuple[int, ...]) -> np.ndarray:
    """View the elements that one kernel offset touches: (N, C, *count)."""
    index = tuple(slice(o, o + (n - 1) * s + 1, s) for o, s, n in zip(offset, stride, count, strict=True))
    return x[(slice(None), slice(None), *index)]


def _pad_spatial(x: np.ndarray, padding: Pairs) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), *padding))


def _crop_spatial(x: np.ndarray, padding: Pairs) -> np.ndarray:
    index = tuple(slice(before, n - after) for (before, after), n in zip(padding, x.shape[2:], strict=True))
    return x[(slice(None), slice(None), *index)]


def _mix(weight: np.ndarray, x: np.ndarray, groups: int) -> np.ndarray:
    """Multiply channels: weight (C_out, C_in/groups) by x (N, C_in, ...) -> (N, C_out, ...)."""
    n, spatial = x.shape[0], x.shape[2:]
    grouped = x.reshape(n, groups, x.shape[1] // groups, -1)
    blocks = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1]).astype(x.dtype, copy=False)
    return np.matmul(blocks, grouped).reshape(n, weight.shape[0], *spatial)


def _transpose_groups(weight: np.ndarray, groups: int) -> np.ndarray:
    """Transpose (C_out, C_in/groups) group by group into (C_in, C_out/groups)."""
    blocks = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1])
    return blocks.transpose(0, 2, 1).reshape(-1, weight.shape[0] // groups)


def _apply(operator: Operator, x: np.ndarray, out: Shape) -> np.ndarray:
    match operator:
        case Conv(weight, stride, padding, dilation, groups):
            padded = _pad_spatial(x, padding)
            y = np.zeros((x.shape[0], *out), dtype=x.dtype)
            for k in product(*(range(n) for n in weight.shape[2:])):
                offset = tuple(i * d for i, d in zip(k, dilation, strict=True))
                y += _mix(_at(weight, k), _windows(padded, offset, stride, out[1:]), groups)
            return y
        case ConvTranspose(weight, stride, padding, groups):
            return _scatter(weight, stride, padding, groups, x, out)
        case Linear(weight):
            return x @ weight.T.astype(x.dtype, copy=False)
        case Scale(weight):
            return x * weight.astype(x.dtype, copy=False).reshape(-1, *(1 for _ in x.shape[2:]))
        case SumPool(kernel, stride, padding):
            padded = _pad_spatial(x, padding)
            y = np.zeros((x.shape[0], *out), dtype=x.dtype)
            for k in product(*(range(n) for n in kernel)):
                y += _windows(padded, k, stride, out[1:])
            return y
        case Resample(matrices):
            for axis, matrix in enumerate(matrices, start=2):
                x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix.T.astype(x.dtype, copy=False), -1, axis)
            return x
        case Reshape(shape):
            return x.reshape(x.shape[0], *shape)
        case Permute(axes):
            return x.transpose(0, *(a + 1 for a in axes))
        case Slice(axis, start, stop, step):
            return x[(slice(None),) * (axis + 1) + (slice(start, stop, step),)]
        case Pad(padding):
            return np.pad(x, ((0, 0), *padding))


def _scatter(
    weight: np.ndarray, stride: tuple[int, ...], padding: Pairs, groups: int, x: np.ndarray, out: Shape
) -> np.ndarray:
    """Transposed convolution: every input adds its kernel into the full output, which is then cut."""
    kernel = weight.shape[2:]
    full = tuple(
        max((n - 1) * s + k, before + size)
        for n, s, k, size, (before, _) in zip(x.shape[2:], stride, kernel, out[1:], padding, strict=True)
    )
    y = np.zeros((x.shape[0], out[0], *full), dtype=x.dtype)
    for k in product(*(range(n) for n in kernel)):
        offset_weight = _transpose_groups(_at(weight, k), groups)
        _windows(y, k, stride, x.shape[2:])[...] += _mix(offset_weight, x, groups)
    index = tuple(slice(before, before + size) for (before, _), size in zip(padding, out[1:], strict=True))
    return y[(slice(None), slice(None), *index)]


def _adjoint(operator: Operator, y: np.ndarray, shape: Shape) -> np.ndarray:
    match operator:
        case Conv(weight, stride, padding, dilation, groups):
            padded = np.zeros(
                (y.shape[0], shape[0], *(n + a + b for n, (a, b) in zip(shape[1:], padding, strict=True))), y.dtype
            )
            for k in product(*(range(n) for n in weight.shape[2:])):
                offset = tuple(i * d for i, d in zip(k, dilation, strict=True))
                transposed = _transpose_groups(_at(weight, k), groups)
                _windows(padded, offset, stride, y.shape[2:])[...] += _mix(transposed, y, groups)
            return _crop_spatial(padded, padding)
        case ConvTranspose(weight, stride, padding, groups):
            after = tuple(
                (a, max(0, (n - 1) * s + k - a - size))
                for (a, _), n, s, k, size in zip(padding, shape[1:], stride, weight.shape[2:], y.shape[2:], strict=True)
            )
            padded = _pad_spatial(y, after)
            x = np.zeros((y.shape[0], *shape), y.dtype)
            for k in product(*(range(n) for n in weight.shape[2:])):
                x += _mix(_at(weight, k), _windows(padded, k, stride, shape[1:]), groups)
            return x
        case Linear(weight):
            return y @ weight.astype(y.dtype, copy=False)
        case Scale():
            return _apply(operator, y, shape)
        case SumPool(kernel, stride, padding):
            padded = np.zeros(
                (y.shape[0], shape[0], *(n + a + b for n, (a, b) in zip(shape[1:], padding, strict=True))), y.dtype
            )
            for k in product(*(range(n) for n in kernel)):
                _windows(padded, k, stride, y.shape[2:])[...] += y
            return _crop_spatial(padded, padding)
        case Resample(matrices):
            return _apply(Resample(tuple(m.T for m in matrices)), y, shape)
        case Reshape():
            return y.reshape(y.shape[0], *shape)
        case Permute(axes):
            inverse = tuple(int(a) for a in np.argsort(axes))
            return _apply(Permute(inverse), y, shape)
        case Slice(axis, start, stop, step):
            x = np.zeros((y.shape[0], *shape), y.dtype)
            x[(slice(None),) * (axis + 1) + (slice(start, stop, step),)] = y
            return x
        case Pad(padding):
            index = tuple(slice(before, before + n) for (before, _), n in zip(padding, shape, strict=True))
            return y[(slice(None), *index)]
