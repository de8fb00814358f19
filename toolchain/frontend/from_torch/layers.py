"""ATen operations that weigh, sum and clip, in terms of layers."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
from torch import Tensor

from toolchain.frontend import layers
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.operations import (
    Table,
    fixed,
    is_value,
    optional_fixed,
    per_axis,
    per_sample,
    per_side,
)
from toolchain.netlist import Pairs

LAYERS = Table()


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


@LAYERS.operation("matmul", "mm", role="weighted")
def _matmul(_: NetworkBuilder, x: Any, y: Any) -> Value:
    if not is_value(x) or is_value(y) or y.ndim != 2:
        raise Refusal("multiplies activations by something other than a fixed matrix", "use nn.Linear")
    return layers.linear(x, np.ascontiguousarray(y.numpy().T), None)


@LAYERS.operation("addmm", role="weighted")
def _addmm(_: NetworkBuilder, bias: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    if not is_value(x) or is_value(y) or is_value(bias):
        raise Refusal("multiplies activations by something other than a fixed matrix", "use nn.Linear")
    product = layers.linear(x, np.ascontiguousarray(alpha * y.numpy().T), None)
    return layers.shift(product, beta * per_sample(product, bias))


@LAYERS.operation("batch_norm", "_native_batch_norm_legit_no_training", role="affine")
def _batch_norm(_: NetworkBuilder, x: Value, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any) -> Any:
    if mean is None or variance is None or rest[0] is True:
        raise Refusal("uses the statistics of the batch", "use BatchNorm with running statistics")
    mu, var = fixed(mean), fixed(variance)
    if len(rest) == 2:  # _native_batch_norm_legit_no_training(momentum, eps) returns three tensors
        return (layers.normalization(x, optional_fixed(weight), optional_fixed(bias), mu, var, rest[1]), None, None)
    return layers.normalization(x, optional_fixed(weight), optional_fixed(bias), mu, var, rest[2])


# Arithmetic --------------------------------------------------------------------------------------


@LAYERS.operation("add")
def _add(_: NetworkBuilder, x: Any, y: Any, *, alpha: float = 1) -> Value:
    if is_value(x) and is_value(y):
        return layers.add(x, y if alpha == 1 else layers.scale(y, np.asarray(float(alpha))))
    if is_value(x):
        return layers.shift(x, alpha * per_sample(x, y))
    return layers.shift(layers.scale(y, np.asarray(float(alpha))), per_sample(y, x))


@LAYERS.operation("sub")
def _sub(builder: NetworkBuilder, x: Any, y: Any, *, alpha: float = 1) -> Value:
    return _add(builder, x, y, alpha=-alpha)


@LAYERS.operation("rsub")
def _rsub(builder: NetworkBuilder, x: Any, y: Any, *, alpha: float = 1) -> Value:
    return _add(builder, y, x, alpha=-alpha)


@LAYERS.operation("neg")
def _neg(_: NetworkBuilder, x: Value) -> Value:
    return layers.scale(x, np.asarray(-1.0))


@LAYERS.operation("mul", role="affine")
def _mul(_: NetworkBuilder, x: Any, y: Any) -> Value:
    if is_value(x) and is_value(y):
        raise Refusal(
            "multiplies two activations (a gate, attention or squeeze-and-excitation)",
            "replace the product by a sum, or remove the gate and train again",
        )
    value, constant = (x, y) if is_value(x) else (y, x)
    return layers.scale(value, per_sample(value, constant))


@LAYERS.operation("div", role="affine")
def _div(_: NetworkBuilder, x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    if is_value(y):
        raise Refusal("divides by an activation", "divide by a constant")
    if rounding_mode is not None:
        raise Refusal("rounds its quotient", "divide without rounding")
    return layers.scale(x, 1.0 / per_sample(x, y))


# Clipping ----------------------------------------------------------------------------------------


@LAYERS.operation("relu")
def _relu(builder: NetworkBuilder, x: Value) -> Value:
    return builder.clip(x, 0.0, inf)


@LAYERS.operation("relu6")
def _relu6(builder: NetworkBuilder, x: Value) -> Value:
    return builder.clip(x, 0.0, 6.0)


@LAYERS.operation("hardtanh")
def _hardtanh(builder: NetworkBuilder, x: Value, low: float = -1, high: float = 1) -> Value:
    return _clamp(builder, x, low, high)


@LAYERS.operation("clamp", "clip")
def _clamp(builder: NetworkBuilder, x: Value, low: Any = None, high: Any = None) -> Value:
    return layers.clamp(builder, x, *(None if b is None else _scalar(b) for b in (low, high)))


@LAYERS.operation("clamp_min", "maximum")
def _clamp_min(builder: NetworkBuilder, x: Any, low: Any) -> Value:
    return _clamp(builder, *((x, low) if is_value(x) else (low, x)))


@LAYERS.operation("clamp_max", "minimum")
def _clamp_max(builder: NetworkBuilder, x: Any, high: Any) -> Value:
    value, limit = (x, high) if is_value(x) else (high, x)
    return _clamp(builder, value, None, limit)


@LAYERS.operation("threshold")
def _threshold(builder: NetworkBuilder, x: Value, threshold: float, value: float) -> Value:
    if threshold != 0 or value != 0:
        raise Refusal(f"has threshold {threshold} and value {value}", "use ReLU")
    return builder.clip(x, 0.0, inf)


def _scalar(bound: Any) -> float:
    if is_value(bound):
        raise Refusal("compares two activations", "clip at a constant")
    array = np.asarray(bound)
    if array.size != 1:
        raise Refusal("clips every channel at a limit of its own", "clip at one constant per layer")
    return float(array.reshape(()))
