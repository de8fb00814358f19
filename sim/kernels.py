"""Linear operators on torch tensors, in the tensor's own float type.

These serve the float network (ANN) and, within the exactness bound of `toolchain.netlist.bounds`,
integers carried by floats. The definition is `toolchain.netlist.linear`; tests hold the two equal.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toolchain.netlist import Conv, ConvTranspose, Linear, Operator, Pad, Permute, Resample, Reshape, Scale, Slice
from toolchain.netlist import SumPool as SumPoolOperator

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def tensor_like(array: np.ndarray, x: Tensor) -> Tensor:
    """Return `array` as a tensor of the dtype and device of `x`."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(x)


@singledispatch
def apply(operator: Operator, x: Tensor) -> Tensor:
    """Apply one operator to a batch.

    Parameters
    ----------
    operator : Operator
    x : Tensor (N, *input shape)

    Returns
    -------
    Tensor (N, *output shape), dtype of `x`
    """
    raise TypeError(f"no kernel for {type(operator).__name__}")


def pad(x: Tensor, padding: tuple[tuple[int, int], ...]) -> Tensor:
    """Zero-pad the trailing axes; F.pad lists the last axis first."""
    flat = [n for pair in reversed(padding) for n in pair]
    return F.pad(x, flat) if any(flat) else x


def _symmetric(padding: tuple[tuple[int, int], ...]) -> bool:
    return all(before == after for before, after in padding)


@apply.register
def _(operator: Conv, x: Tensor) -> Tensor:
    padding: tuple[int, ...] = tuple(before for before, _ in operator.padding)
    if not _symmetric(operator.padding):
        x, padding = pad(x, operator.padding), (0,) * len(padding)
    conv = _CONV[len(padding)]
    weight = tensor_like(operator.weight, x)
    return conv(x, weight, None, operator.stride, padding, operator.dilation, operator.groups)


@apply.register
def _(operator: ConvTranspose, x: Tensor) -> Tensor:
    conv = _CONV_TRANSPOSE[len(operator.stride)]
    full = conv(x, tensor_like(operator.weight, x), None, operator.stride, 0, 0, operator.groups)
    return pad(full, tuple((-before, -after) for before, after in operator.padding))


@apply.register
def _(operator: Linear, x: Tensor) -> Tensor:
    return F.linear(x, tensor_like(operator.weight, x))


@apply.register
def _(operator: Scale, x: Tensor) -> Tensor:
    return x * tensor_like(operator.weight, x).reshape(-1, *(1,) * (x.ndim - 2))


@apply.register
def _(operator: SumPoolOperator, x: Tensor) -> Tensor:
    x = pad(x, operator.padding)
    for axis, (kernel, stride) in enumerate(zip(operator.kernel, operator.stride, strict=True), start=2):
        x = x.unfold(axis, kernel, stride).sum(-1)
    return x


@apply.register
def _(operator: Resample, x: Tensor) -> Tensor:
    for axis, matrix in enumerate(operator.matrices, start=2):
        x = torch.movedim(torch.movedim(x, axis, -1) @ tensor_like(matrix.T, x), -1, axis)
    return x


@apply.register
def _(operator: Reshape, x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], *operator.shape)


@apply.register
def _(operator: Permute, x: Tensor) -> Tensor:
    return x.permute(0, *(a + 1 for a in operator.axes))


@apply.register
def _(operator: Slice, x: Tensor) -> Tensor:
    return x[(slice(None),) * (operator.axis + 1) + (slice(operator.start, operator.stop, operator.step),)]


@apply.register
def _(operator: Pad, x: Tensor) -> Tensor:
    return pad(x, operator.padding)


def apply_chain(operators: tuple[Operator, ...], x: Tensor) -> Tensor:
    """Apply operators in order to a batch."""
    for operator in operators:
        x = apply(operator, x)
    return x
