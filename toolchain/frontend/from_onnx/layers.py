"""ONNX operators that weigh, sum, clip and pool, in terms of layers.

Values carry no batch axis, ONNX's arguments do: as in `toolchain.frontend.operations`, whose helpers are used.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from toolchain.frontend import layers
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.from_onnx.node import Node
from toolchain.frontend.operations import Table, is_value, per_sample, sample_axes
from toolchain.netlist import Pairs, SumPool

LAYERS = Table()


def _windows(node: Node, spatial: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[tuple[int, ...], Pairs, Any]:
    """Return stride, padding and dilation of a convolution or pool."""
    n = len(kernel)
    stride, dilation = node.attribute("strides", (1,) * n), node.attribute("dilations", (1,) * n)
    pads = node.attribute("pads", (0,) * 2 * n)
    pairs: Pairs = tuple((pads[i], pads[i + n]) for i in range(n))
    auto = node.attribute("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max(0, (-(-size // s) - 1) * s + d * (k - 1) + 1 - size)
            for size, s, d, k in zip(spatial, stride, dilation, kernel, strict=True)
        ]
        halves = [(t // 2, t - t // 2) for t in totals]
        pairs = tuple(h if auto == "SAME_UPPER" else (h[1], h[0]) for h in halves)
    elif auto == "VALID":
        pairs = ((0, 0),) * n
    return stride, pairs, dilation


@LAYERS.operation("Conv", role="weighted")
def _conv(_: NetworkBuilder, node: Node) -> Value:
    weight = node.required(1)
    stride, pairs, dilation = _windows(node, node.value.shape[1:], weight.shape[2:])
    return layers.convolution(node.value, weight, node.constant(2), stride, pairs, dilation, node.attribute("group", 1))


@LAYERS.operation("ConvTranspose", role="weighted")
def _conv_transpose(_: NetworkBuilder, node: Node) -> Value:
    weight = node.required(1)
    if node.attribute("output_shape") is not None or node.attribute("auto_pad", "NOTSET") != "NOTSET":
        raise Refusal("derives its padding from the output's shape", "export it with explicit pads")
    n = weight.ndim - 2
    stride, pairs, dilation = _windows(node, node.value.shape[1:], weight.shape[2:])
    extra = node.attribute("output_padding", (0,) * n)
    cut = tuple((before, after - e) for (before, after), e in zip(pairs, extra, strict=True))
    return layers.transposed_convolution(
        node.value, weight, node.constant(2), stride, cut, dilation, node.attribute("group", 1)
    )


@LAYERS.operation("Gemm", role="weighted")
def _gemm(_: NetworkBuilder, node: Node) -> Value:
    weight = node.required(1)
    if node.attribute("transA", 0):
        raise Refusal("transposes the batch", "export it without transA")
    weight = weight if node.attribute("transB", 0) else weight.T
    y = layers.linear(node.value, np.ascontiguousarray(weight * node.attribute("alpha", 1.0)), None)
    bias = node.constant(2)
    return y if bias is None else layers.shift(y, node.attribute("beta", 1.0) * per_sample(y, bias))


@LAYERS.operation("MatMul", role="weighted")
def _matmul(_: NetworkBuilder, node: Node) -> Value:
    if not is_value(node.inputs[0]) or is_value(node.inputs[1]) or node.inputs[1].ndim != 2:
        raise Refusal("multiplies activations by something other than a fixed matrix", "use a linear layer")
    return layers.linear(node.value, np.ascontiguousarray(node.required(1).T), None)


@LAYERS.operation("BatchNormalization", role="affine")
def _batch_norm(_: NetworkBuilder, node: Node) -> Value:
    if node.attribute("training_mode", 0):
        raise Refusal("uses the statistics of the batch", "export the network in eval mode")
    gain, bias, mean, variance = (node.required(i) for i in range(1, 5))
    return layers.normalization(node.value, gain, bias, mean, variance, node.attribute("epsilon", 1e-5))


@LAYERS.operation("Add", "Sum")
def _add(_: NetworkBuilder, node: Node) -> Value:
    values = [v for v in node.inputs if is_value(v)]
    total: Value = values[0]
    for value in values[1:]:
        total = layers.add(total, value)
    for constant in node.inputs:
        if not is_value(constant):
            total = layers.shift(total, per_sample(total, constant))
    return total


@LAYERS.operation("Sub")
def _sub(_: NetworkBuilder, node: Node) -> Value:
    x, y = node.inputs
    if is_value(x) and is_value(y):
        return layers.add(x, layers.scale(y, np.asarray(-1.0)))
    if is_value(x):
        return layers.shift(x, -per_sample(x, y))
    return layers.shift(layers.scale(y, np.asarray(-1.0)), per_sample(y, x))


@LAYERS.operation("Neg")
def _neg(_: NetworkBuilder, node: Node) -> Value:
    return layers.scale(node.value, np.asarray(-1.0))


@LAYERS.operation("Mul", role="affine")
def _mul(_: NetworkBuilder, node: Node) -> Value:
    x, y = node.inputs
    if is_value(x) and is_value(y):
        raise Refusal(
            "multiplies two activations (a gate, attention or squeeze-and-excitation)",
            "replace the product by a sum, or remove the gate and train again",
        )
    value, constant = (x, y) if is_value(x) else (y, x)
    return layers.scale(value, per_sample(value, constant))


@LAYERS.operation("Div", role="affine")
def _div(_: NetworkBuilder, node: Node) -> Value:
    if is_value(node.inputs[1]):
        raise Refusal("divides by an activation", "divide by a constant")
    return layers.scale(node.value, 1.0 / per_sample(node.value, node.inputs[1]))


@LAYERS.operation("Relu")
def _relu(builder: NetworkBuilder, node: Node) -> Value:
    return builder.clip(node.value, 0.0, inf)


@LAYERS.operation("Clip")
def _clip(builder: NetworkBuilder, node: Node) -> Value:
    bounds = []
    for index, name in ((1, "min"), (2, "max")):
        bound = node.constant(index)
        bounds.append(node.attribute(name) if bound is None else float(bound))
    return layers.clamp(builder, node.value, *bounds)


@LAYERS.operation("Max")
def _max(builder: NetworkBuilder, node: Node) -> Value:
    value, limit = _with_constant(node)
    return layers.clamp(builder, value, limit, None)


@LAYERS.operation("Min")
def _min(builder: NetworkBuilder, node: Node) -> Value:
    value, limit = _with_constant(node)
    return layers.clamp(builder, value, None, limit)


def _with_constant(node: Node) -> tuple[Value, float]:
    values = [v for v in node.inputs if is_value(v)]
    constants = [v for v in node.inputs if not is_value(v)]
    if len(values) != 1 or len(constants) != 1 or constants[0].size != 1:
        raise Refusal("compares two activations, or limits every channel by itself", "clip at one constant per layer")
    return values[0], float(constants[0].reshape(()))


@LAYERS.operation("AveragePool")
def _average_pool(_: NetworkBuilder, node: Node) -> Value:
    kernel = node.attribute("kernel_shape")
    stride, pairs, dilation = _windows(node, node.value.shape[1:], kernel)
    if set(dilation) != {1}:
        raise Refusal(f"has dilations {dilation}", "use a pool without dilation")
    if layers.ceil_padding(node.value.shape, kernel, stride, pairs, bool(node.attribute("ceil_mode", 0))) != pairs:
        raise Refusal("has ceil_mode with a partial window at the border", "choose a size that the stride divides")
    if any(n for pair in pairs for n in pair) and not node.attribute("count_include_pad", 0):
        raise Refusal("averages over fewer values at the border", "use count_include_pad=1, or no padding")
    return layers.average_pool(node.value, kernel, stride, pairs)


@LAYERS.operation("MaxPool")
def _max_pool(builder: NetworkBuilder, node: Node) -> Value:
    kernel = node.attribute("kernel_shape")
    stride, pairs, dilation = _windows(node, node.value.shape[1:], kernel)
    if set(dilation) != {1}:
        raise Refusal(f"has dilations {dilation}", "use a pool without dilation")
    if node.outputs > 1:
        raise Refusal("returns indices", "use the maxima alone")
    pairs = layers.ceil_padding(node.value.shape, kernel, stride, pairs, bool(node.attribute("ceil_mode", 0)))
    return builder.maximum(node.value, SumPool(kernel, stride, pairs))


@LAYERS.operation("GlobalAveragePool")
def _global_average(builder: NetworkBuilder, node: Node) -> Value:
    return layers.reduce_axes(builder, node.value, tuple(range(1, len(node.value.shape))), "mean", True)


@LAYERS.operation("GlobalMaxPool")
def _global_max(builder: NetworkBuilder, node: Node) -> Value:
    return layers.reduce_axes(builder, node.value, tuple(range(1, len(node.value.shape))), "max", True)


def _reduce(kind: str, builder: NetworkBuilder, node: Node) -> Value:
    axes = node.ints("axes", 1)
    if axes is None and node.attribute("noop_with_empty_axes", 0):
        return node.value
    return layers.reduce_axes(
        builder, node.value, sample_axes(node.value, axes), kind, bool(node.attribute("keepdims", 1))
    )


@LAYERS.operation("ReduceMean")
def _reduce_mean(builder: NetworkBuilder, node: Node) -> Value:
    return _reduce("mean", builder, node)


@LAYERS.operation("ReduceSum")
def _reduce_sum(builder: NetworkBuilder, node: Node) -> Value:
    return _reduce("sum", builder, node)


@LAYERS.operation("ReduceMax")
def _reduce_max(builder: NetworkBuilder, node: Node) -> Value:
    return _reduce("max", builder, node)
