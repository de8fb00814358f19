"""ATen operations that clip, bend and multiply values, in terms of curves."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
from torch import Tensor

from toolchain.frontend import curves, layers
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Refusal, Value, settled
from toolchain.frontend.from_torch.arguments import fixed
from toolchain.frontend.operations import OperationTable, is_value, sample_axes, sample_axis
from toolchain.netlist import per_channel
from toolchain.network import Function, X

#: What clipping computes exactly, and products; the network's end reads these too.
CLIPS = OperationTable()
#: Other functions: at the network's end, they are left to the host.
CURVES = OperationTable()

#: ATen operations that `toolchain.network.function` knows by the same name, without parameters.
_PLAIN = (
    *("exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sin", "cos", "atan", "sinh", "cosh", "asinh", "tanh", "erf"),
    *("sigmoid", "log_sigmoid", "silu", "mish", "selu", "hardswish", "floor", "ceil", "trunc", "sign"),
)


def _plain(operation: str) -> Any:
    return lambda builder, x, **options: curves.curve(builder, x, operation)


for _name in _PLAIN:
    CURVES.operation(_name)(_plain(_name))


# Clipping ----------------------------------------------------------------------------------------


@CLIPS.operation("relu")
def _relu(builder: NetworkBuilder, x: Value) -> Value:
    return builder.clip(x, 0.0, inf)


@CLIPS.operation("relu6")
def _relu6(builder: NetworkBuilder, x: Value) -> Value:
    return builder.clip(x, 0.0, 6.0)


@CLIPS.operation("hardtanh")
def _hardtanh(builder: NetworkBuilder, x: Value, low: float = -1, high: float = 1) -> Value:
    return builder.clip(x, low, high)


@CLIPS.operation("hardsigmoid")
def _hardsigmoid(builder: NetworkBuilder, x: Value) -> Value:
    return builder.clip(layers.shift(layers.scale(x, np.asarray(1 / 6)), np.asarray(0.5)), 0.0, 1.0)


@CLIPS.operation("clamp", "clip")
def _clamp(builder: NetworkBuilder, x: Value, low: Any = None, high: Any = None) -> Value:
    return curves.bounded(builder, x, low, high)


@CLIPS.operation("clamp_min", "maximum")
def _clamp_min(builder: NetworkBuilder, x: Any, low: Any) -> Value:
    return curves.bounded(builder, *((x, low) if is_value(x) else (low, x)), None)


@CLIPS.operation("clamp_max", "minimum")
def _clamp_max(builder: NetworkBuilder, x: Any, high: Any) -> Value:
    value, bound = (x, high) if is_value(x) else (high, x)
    return curves.bounded(builder, value, None, bound)


@CLIPS.operation("threshold")
def _threshold(builder: NetworkBuilder, x: Value, threshold: float, value: float) -> Value:
    if threshold == value == 0:
        return builder.clip(x, 0.0, inf)
    return builder.curve(x, Function("where", (Function("gt", (X, float(threshold))), X, float(value))))


@CLIPS.operation("leaky_relu")
def _leaky_relu(builder: NetworkBuilder, x: Value, slope: float = 0.01) -> Value:
    return curves.leaky_relu(builder, x, slope)


@CLIPS.operation("rrelu")
def _rrelu(
    builder: NetworkBuilder, x: Value, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Value:
    if training:
        raise Refusal("draws its slope at random", "leave `training` out")
    return curves.leaky_relu(builder, x, (lower + upper) / 2)


@CLIPS.operation("prelu", "_prelu_kernel")
def _prelu(builder: NetworkBuilder, x: Value, slope: Tensor) -> Value:
    slopes = fixed(slope).ravel()
    return curves.leaky_relu(builder, x, slopes if slopes.size == 1 else per_channel(slopes, x.shape))


@CURVES.operation("abs")
def _abs(builder: NetworkBuilder, x: Value) -> Value:
    return curves.magnitude(builder, x)


# Other functions of one value --------------------------------------------------------------------


@CURVES.operation("gelu")
def _gelu(builder: NetworkBuilder, x: Value, *, approximate: str = "none") -> Value:
    return curves.curve(builder, x, "gelu_tanh" if approximate == "tanh" else "gelu")


@CURVES.operation("softplus")
def _softplus(builder: NetworkBuilder, x: Value, beta: float = 1, threshold: float = 20) -> Value:
    return curves.curve(builder, x, "softplus", beta, threshold)


@CURVES.operation("elu")
def _elu(builder: NetworkBuilder, x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    inner = layers.scale(x, np.asarray(float(input_scale)))
    return layers.scale(curves.curve(builder, inner, "elu", alpha), np.asarray(float(scale)))


@CURVES.operation("celu")
def _celu(builder: NetworkBuilder, x: Value, alpha: float = 1) -> Value:
    return curves.curve(builder, x, "celu", alpha)


@CURVES.operation("hardshrink")
def _hardshrink(builder: NetworkBuilder, x: Value, bound: float = 0.5) -> Value:
    return curves.curve(builder, x, "hardshrink", bound)


@CLIPS.operation("softshrink")
def _softshrink(builder: NetworkBuilder, x: Value, bound: float = 0.5) -> Value:
    above = builder.clip(x.shift(-float(bound)), 0.0, inf)
    below = builder.clip(layers.scale(x, np.asarray(-1.0)).shift(-float(bound)), 0.0, inf)
    return layers.add(above, layers.scale(below, np.asarray(-1.0)))


@CURVES.operation("round")
def _round(builder: NetworkBuilder, x: Value, *, decimals: int = 0) -> Value:
    step = np.asarray(10.0**decimals)
    return layers.scale(curves.curve(builder, layers.scale(x, step), "round"), 1 / step)


@CURVES.operation("pow")
def _pow(builder: NetworkBuilder, x: Any, exponent: Any) -> Value:
    return curves.power(builder, x, exponent)


@CURVES.operation("square")
def _square(builder: NetworkBuilder, x: Value) -> Value:
    return curves.power(builder, x, 2.0)


@CURVES.operation("reciprocal")
def _reciprocal(builder: NetworkBuilder, x: Value) -> Value:
    return curves.power(builder, x, -1.0)


def _comparison(operation: str) -> Any:
    return lambda builder, x, y: curves.compared(builder, operation, x, y)


for _name in ("gt", "ge", "lt", "le"):
    CURVES.operation(_name)(_comparison(_name))


def _logic(operation: str) -> Any:
    return lambda builder, *operands: curves.holds(builder, operation, *operands)


for _name in ("and", "or", "xor", "not"):
    CURVES.operation(f"logical_{_name}", f"bitwise_{_name}")(_logic(_name))


@CURVES.operation("amin")
def _amin(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return layers.reduce_axes(builder, x, sample_axes(x, dim), "min", keepdim)


@CURVES.operation("min")
def _min(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False) -> Any:
    if is_value(dim):
        return curves.least(builder, x, dim)
    return (layers.reduce_axes(builder, x, sample_axes(x, dim), "min", keepdim), None)


@CLIPS.operation("where")
def _where(builder: NetworkBuilder, condition: Any, x: Any, y: Any) -> Value:
    return curves.chosen(builder, condition, x, y)


@CLIPS.operation("masked_fill")
def _masked_fill(builder: NetworkBuilder, x: Any, mask: Any, fill: Any) -> Value:
    return curves.chosen(builder, mask, fill, x)


@CLIPS.operation("fake_quantize_per_tensor_affine")
def _fake_quantize(builder: NetworkBuilder, x: Value, scale: Any, zero: Any, least: int, most: int) -> Value:
    step, origin = float(scale), float(zero)
    return curves.fake_quantized(builder, x, (least - origin) * step, (most - origin) * step)


# Products ----------------------------------------------------------------------------------------


@CLIPS.operation("mul", role="affine")
def _mul(builder: NetworkBuilder, x: Any, y: Any) -> Value:
    return curves.product(builder, x, y)


@CLIPS.operation("div", role="affine")
def _div(builder: NetworkBuilder, x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    quotient = curves.quotient(builder, x, y)
    if rounding_mode is None:
        return quotient
    return curves.curve(builder, settled(quotient), {"floor": "floor", "trunc": "trunc"}[rounding_mode])


@CLIPS.operation("glu")
def _glu(builder: NetworkBuilder, x: Value, dim: int = -1) -> Value:
    return curves.gated_linear_unit(builder, x, sample_axis(x, dim))
