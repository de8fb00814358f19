"""ATen operations that weigh and sum, in terms of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from toolchain.frontend import layers
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.contractions import einsum
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.from_torch.arguments import fixed, optional_fixed, per_axis, per_side
from toolchain.frontend.operations import (
    OperationTable,
    add,
    is_value,
    matrix_product,
)
from toolchain.netlist import Pairs

LAYERS = OperationTable()


@LAYERS.operation("conv1d", "conv2d", "conv3d", role="weighted")
def _conv(
    _: NetworkBuilder,
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    w, b = fixed(weight), optional_fixed(bias)
    n = w.ndim - 2
    dilations = per_axis(dilation, n)
    if padding == "valid":
        padding = 0
    if padding == "same":
        extents = [d * (k - 1) for d, k in zip(dilations, w.shape[2:], strict=True)]
        pairs: Pairs = tuple((e // 2, e - e // 2) for e in extents)
    else:
        pairs = per_side(padding, n)
    return layers.convolution(x, w, b, per_axis(stride, n), pairs, dilations, groups)


@LAYERS.operation("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", role="weighted")
def _conv_transpose(
    _: NetworkBuilder,
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    w, b = fixed(weight), optional_fixed(bias)
    n = w.ndim - 2
    cut = tuple((p, p - o) for p, o in zip(per_axis(padding, n), per_axis(output_padding, n), strict=True))
    return layers.transposed_convolution(x, w, b, per_axis(stride, n), cut, per_axis(dilation, n), groups)


@LAYERS.operation("linear", role="weighted")
def _linear(_: NetworkBuilder, x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
    w, b = fixed(weight), optional_fixed(bias)
    return layers.linear(x, w, b)


@LAYERS.operation("matmul", "mm", role="weighted", anywhere=True)
def _matmul(_: NetworkBuilder, x: Any, y: Any) -> Value:
    return matrix_product(x, y)


@LAYERS.operation("addmm", role="weighted")
def _addmm(_: NetworkBuilder, bias: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    return add(matrix_product(x, y, alpha), bias, beta)


@LAYERS.operation("batch_norm", "_native_batch_norm_legit_no_training", role="affine")
def _batch_norm(_: NetworkBuilder, x: Value, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any) -> Any:
    if mean is None or variance is None or rest[0] is True:
        raise Refusal("uses the statistics of the batch", "use BatchNorm with running statistics")
    mu, var = fixed(mean), fixed(variance)
    if len(rest) == 2:  # _native_batch_norm_legit_no_training(momentum, eps) returns three tensors
        return (layers.normalization(x, optional_fixed(weight), optional_fixed(bias), mu, var, rest[1]), None, None)
    return layers.normalization(x, optional_fixed(weight), optional_fixed(bias), mu, var, rest[2])


@LAYERS.operation("bmm", role="weighted")
def _bmm(_: NetworkBuilder, x: Any, y: Any) -> Value:
    return matrix_product(x, y)


@LAYERS.operation("einsum", role="weighted")
def _einsum(_: NetworkBuilder, equation: str, operands: Any, **options: Any) -> Value:
    return einsum(equation, [o if is_value(o) else np.asarray(o) for o in operands])


# Arithmetic --------------------------------------------------------------------------------------


@LAYERS.operation("add")
def _add(_: NetworkBuilder, x: Any, y: Any, *, alpha: float = 1) -> Value:
    return add(x, y, alpha)


@LAYERS.operation("sub")
def _sub(_: NetworkBuilder, x: Any, y: Any, *, alpha: float = 1) -> Value:
    return add(x, y, -alpha)


@LAYERS.operation("rsub")
def _rsub(_: NetworkBuilder, x: Any, y: Any, *, alpha: float = 1) -> Value:
    return add(y, x, -alpha)


@LAYERS.operation("neg")
def _neg(_: NetworkBuilder, x: Value) -> Value:
    return layers.scale(x, np.asarray(-1.0))
