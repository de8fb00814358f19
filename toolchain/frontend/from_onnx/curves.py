"""ONNX operators that clip, bend and multiply values, in terms of curves."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import inf
from typing import Any

import numpy as np

from toolchain.frontend import curves, layers
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.from_onnx.layers import reduced
from toolchain.frontend.from_onnx.node import OnnxNode
from toolchain.frontend.from_onnx.quantized import LIMITS
from toolchain.frontend.operations import OperationTable, is_value, per_sample
from toolchain.network import Function, X

#: What clipping computes exactly, and products; the network's end reads these too.
CLIPS = OperationTable()
#: Other functions: at the network's end, they are left to the host.
CURVES = OperationTable()

#: ONNX operators that are elementary functions without parameters, by their name in `toolchain.network.function`.
_PLAIN = {
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Sin": "sin",
    "Cos": "cos",
    "Atan": "atan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Asinh": "asinh",
    "Tanh": "tanh",
    "Erf": "erf",
    "Sigmoid": "sigmoid",
    "Mish": "mish",
    "HardSwish": "hardswish",
    "Softsign": "softsign",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
    "Sign": "sign",
}


def _plain(operation: str) -> Any:
    return lambda builder, node: curves.curve(builder, node.value, operation)


for _name, _function in _PLAIN.items():
    CURVES.operation(_name)(_plain(_function))


# Clipping ----------------------------------------------------------------------------------------


@CLIPS.operation("Relu")
def _relu(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return builder.clip(node.value, 0.0, inf)


@CLIPS.operation("Clip")
def _clip(builder: NetworkBuilder, node: OnnxNode) -> Value:
    bounds = [node.attribute(n) if node.operand(i) is None else node.operand(i) for i, n in ((1, "min"), (2, "max"))]
    return curves.bounded(builder, node.value, *bounds)


@CLIPS.operation("Max")
def _max(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return _reduce(node, lambda x, y: curves.bounded(builder, x, y, None))


@CLIPS.operation("Min")
def _min(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return _reduce(node, lambda x, y: curves.bounded(builder, x, None, y))


def _reduce(node: OnnxNode, two: Callable[[Value, Any], Value]) -> Value:
    """Reduce the operands by a function of two, the first of which is a value."""
    return reduce(two, sorted(node.inputs, key=is_value, reverse=True))


@CLIPS.operation("HardSigmoid")
def _hard_sigmoid(builder: NetworkBuilder, node: OnnxNode) -> Value:
    alpha, beta = np.asarray(node.attribute("alpha", 0.2)), np.asarray(node.attribute("beta", 0.5))
    return builder.clip(layers.shift(layers.scale(node.value, alpha), beta), 0.0, 1.0)


@CLIPS.operation("LeakyRelu")
def _leaky_relu(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.leaky_relu(builder, node.value, node.attribute("alpha", 0.01))


@CLIPS.operation("PRelu")
def _prelu(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.leaky_relu(builder, node.value, per_sample(node.value, node.required(1)))


@CURVES.operation("ThresholdedRelu")
def _thresholded_relu(builder: NetworkBuilder, node: OnnxNode) -> Value:
    bound = float(node.attribute("alpha", 1.0))
    return builder.curve(node.value, Function("where", (Function("gt", (X, bound)), X, 0.0)))


@CURVES.operation("Abs")
def _abs(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.magnitude(builder, node.value)


# Other functions of one value --------------------------------------------------------------------


@CURVES.operation("Elu")
def _elu(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.curve(builder, node.value, "elu", node.attribute("alpha", 1.0))


@CURVES.operation("Celu")
def _celu(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.curve(builder, node.value, "celu", node.attribute("alpha", 1.0))


@CURVES.operation("Selu")
def _selu(builder: NetworkBuilder, node: OnnxNode) -> Value:
    # The defaults are those of the operator's definition; torch's own are longer.
    alpha, gamma = (
        node.attribute("alpha", 1.67326319217681884765625),
        node.attribute("gamma", 1.05070102214813232421875),
    )
    return layers.scale(curves.curve(builder, node.value, "elu", alpha), np.asarray(gamma))


@CURVES.operation("Gelu")
def _gelu(builder: NetworkBuilder, node: OnnxNode) -> Value:
    tanh = node.attribute("approximate", "none") == "tanh"
    return curves.curve(builder, node.value, "gelu_tanh" if tanh else "gelu")


@CURVES.operation("Swish")
def _swish(builder: NetworkBuilder, node: OnnxNode) -> Value:
    alpha = np.asarray(node.attribute("alpha", 1.0))
    return layers.scale(curves.curve(builder, layers.scale(node.value, alpha), "silu"), 1 / alpha)


@CURVES.operation("Softplus")
def _softplus(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.curve(builder, node.value, "softplus", 1.0, 20.0)


@CURVES.operation("Shrink")
def _shrink(builder: NetworkBuilder, node: OnnxNode) -> Value:
    bound, bias = float(node.attribute("lambd", 0.5)), float(node.attribute("bias", 0.0))
    below = Function("where", (Function("lt", (X, -bound)), X.affine(1.0, bias), 0.0))
    above = Function("where", (Function("gt", (X, bound)), X.affine(1.0, -bias), below))
    return builder.curve(node.value, above)


@CURVES.operation("Pow")
def _pow(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.power(builder, *node.inputs)


@CURVES.operation("Reciprocal")
def _reciprocal(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.power(builder, node.value, -1.0)


def _comparison(operation: str) -> Any:
    return lambda builder, node: curves.compared(builder, operation, *node.inputs)


for _name, _function in {"Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt", "LessOrEqual": "le"}.items():
    CURVES.operation(_name)(_comparison(_function))


def _logic(operation: str) -> Any:
    return lambda builder, node: curves.holds(builder, operation, *node.inputs)


for _name in ("and", "or", "xor", "not"):
    CURVES.operation(_name.capitalize())(_logic(_name))


@CURVES.operation("ReduceMin")
def _reduce_min(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return reduced("min", builder, node)


@CLIPS.operation("Where")
def _where(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.chosen(builder, *node.inputs)


# Rounding as quantisation-aware training leaves it -----------------------------------------------


@CLIPS.operation("QuantizeLinear")
def _quantize(builder: NetworkBuilder, node: OnnxNode) -> Value:
    scale, zero = node.required(1), node.constant(2)
    kind = "B" if zero is None else zero.dtype.char
    if kind not in LIMITS:
        raise Refusal(f"quantises to {zero.dtype if zero is not None else kind}", "quantise to 8 or 16 bits")
    origin = 0.0 if zero is None else zero
    if np.ptp(scale) or np.ptp(origin):
        raise Refusal("quantises every channel of an activation by a scale of its own", "quantise it per tensor")
    step, shift = float(scale.flat[0]), float(np.asarray(origin).flat[0])
    low, high = LIMITS[kind]
    return curves.fake_quantized(builder, node.value, (low - shift) * step, (high - shift) * step)


@CLIPS.operation("DequantizeLinear")
def _dequantize(_: NetworkBuilder, node: OnnxNode) -> Value:
    return node.value


# Products ----------------------------------------------------------------------------------------


@CLIPS.operation("Mul", role="affine")
def _mul(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.product(builder, *node.inputs)


@CLIPS.operation("Div", role="affine")
def _div(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return curves.quotient(builder, *node.inputs)
