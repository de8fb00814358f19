"""ONNX operators that weigh, sum and pool, in terms of layers."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from toolchain.frontend import layers
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.contractions import einsum
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.from_onnx.node import OnnxNode
from toolchain.frontend.operations import (
    OperationTable,
    add,
    is_value,
    matrix_product,
    sample_axes,
)
from toolchain.netlist import Pairs

LAYERS = OperationTable()


def _windows(node: OnnxNode, spatial: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[tuple[int, ...], Pairs, Any]:
    """Return stride, padding and dilation of a convolution or pool."""
    n = len(kernel)
    if node.attribute("kernel_shape", kernel) != kernel:
        raise ValueError(f"its kernel_shape is {node.attribute('kernel_shape')}, its weights have {kernel}")
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
def _conv(_: NetworkBuilder, node: OnnxNode) -> Value:
    weight = node.required(1)
    stride, pairs, dilation = _windows(node, node.value.shape[1:], weight.shape[2:])
    return layers.convolution(node.value, weight, node.constant(2), stride, pairs, dilation, node.attribute("group", 1))


@LAYERS.operation("ConvTranspose", role="weighted")
def _conv_transpose(_: NetworkBuilder, node: OnnxNode) -> Value:
    weight = node.required(1)
    n = weight.ndim - 2
    stride, pairs, dilation = _windows(node, node.value.shape[1:], weight.shape[2:])
    extra = node.attribute("output_padding", (0,) * n)
    cut = tuple((before, after - e) for (before, after), e in zip(pairs, extra, strict=True))
    auto, wanted = node.attribute("auto_pad", "NOTSET"), node.attribute("output_shape")
    if wanted is None and auto.startswith("SAME"):
        wanted = tuple(m * s for m, s in zip(node.value.shape[1:], stride, strict=True))
    if wanted is not None:
        axes = zip(wanted[-n:], node.value.shape[1:], stride, extra, dilation, weight.shape[2:], strict=True)
        totals = [s * (m - 1) + e + d * (k - 1) + 1 - size for size, m, s, e, d, k in axes]
        halves = [(t // 2, t - t // 2) for t in totals]
        sides = [(b, a) if auto != "SAME_UPPER" else (a, b) for a, b in halves]
        cut = tuple((before, after - e) for (before, after), e in zip(sides, extra, strict=True))
    return layers.transposed_convolution(
        node.value, weight, node.constant(2), stride, cut, dilation, node.attribute("group", 1)
    )


@LAYERS.operation("Gemm", role="weighted")
def _gemm(_: NetworkBuilder, node: OnnxNode) -> Value:
    weight = node.required(1)
    if node.attribute("transA", 0):
        raise Refusal("transposes the batch", "export it without transA")
    matrix = weight.T if node.attribute("transB", 0) else weight
    product = matrix_product(node.value, matrix, node.attribute("alpha", 1.0))
    bias = node.operand(2)
    return product if bias is None else add(product, bias, node.attribute("beta", 1.0))


@LAYERS.operation("MatMul", role="weighted", anywhere=True)
def _matmul(_: NetworkBuilder, node: OnnxNode) -> Value:
    return matrix_product(*node.inputs)


@LAYERS.operation("BatchNormalization", role="affine")
def _batch_norm(_: NetworkBuilder, node: OnnxNode) -> Value:
    if node.attribute("training_mode", 0) or node.outputs > 1:  # before operator set 14, more results say so
        raise Refusal("uses the statistics of the batch", "export the network in eval mode")
    gain, bias, mean, variance = (node.required(i) for i in range(1, 5))
    return layers.normalization(node.value, gain, bias, mean, variance, node.attribute("epsilon", 1e-5))


@LAYERS.operation("Add", "Sum")
def _add(_: NetworkBuilder, node: OnnxNode) -> Value:
    return reduce(add, sorted(node.inputs, key=is_value, reverse=True))


@LAYERS.operation("Mean")
def _mean(_: NetworkBuilder, node: OnnxNode) -> Value:
    return layers.scale(_add(_, node), np.asarray(1 / len(node.inputs)))


@LAYERS.operation("Einsum", role="weighted")
def _einsum(_: NetworkBuilder, node: OnnxNode) -> Value:
    return einsum(node.attribute("equation"), node.inputs)


@LAYERS.operation("Sub")
def _sub(_: NetworkBuilder, node: OnnxNode) -> Value:
    x, y = node.inputs
    return add(x, y, -1)


@LAYERS.operation("Neg")
def _neg(_: NetworkBuilder, node: OnnxNode) -> Value:
    return layers.scale(node.value, np.asarray(-1.0))


def _ceil_mode(node: OnnxNode, kernel: tuple[int, ...], stride: tuple[int, ...], pairs: Pairs) -> bool:
    """Return whether partial windows count; before operator set 22 those that lie in the padding would, too."""
    ceil_mode = bool(node.attribute("ceil_mode", 0))
    for n, k, s, (before, after) in zip(node.value.shape[1:], kernel, stride, pairs, strict=True):
        last = -(-(n + before + after - k) // s) * s
        if ceil_mode and last >= n + before and node.version < 22:
            raise Refusal(
                "has ceil_mode with a window that lies in the padding", "choose a size that the stride divides"
            )
    return ceil_mode


@LAYERS.operation("AveragePool")
def _average_pool(_: NetworkBuilder, node: OnnxNode) -> Value:
    kernel = node.attribute("kernel_shape")
    stride, pairs, dilation = _windows(node, node.value.shape[1:], kernel)
    if set(dilation) != {1}:
        raise Refusal(f"has dilations {dilation}", "use a pool without dilation")
    ceil_mode, count_padding = _ceil_mode(node, kernel, stride, pairs), bool(node.attribute("count_include_pad", 0))
    return layers.average_pool(node.value, kernel, stride, pairs, ceil_mode=ceil_mode, count_padding=count_padding)


@LAYERS.operation("MaxPool")
def _max_pool(builder: NetworkBuilder, node: OnnxNode) -> Value:
    kernel = node.attribute("kernel_shape")
    stride, pairs, dilation = _windows(node, node.value.shape[1:], kernel)
    if node.outputs > 1:
        raise Refusal("returns indices", "use the maxima alone")
    ceil_mode = _ceil_mode(node, kernel, stride, pairs)
    return layers.max_pool(builder, node.value, kernel, stride, pairs, dilation, ceil_mode)


@LAYERS.operation("GlobalAveragePool")
def _global_average(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return layers.reduce_axes(builder, node.value, tuple(range(1, len(node.value.shape))), "mean", True)


@LAYERS.operation("GlobalMaxPool")
def _global_max(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return layers.reduce_axes(builder, node.value, tuple(range(1, len(node.value.shape))), "max", True)


def reduced(kind: str, builder: NetworkBuilder, node: OnnxNode) -> Value:
    """Return the "mean", "sum", "max" or "min" over the axes that a node names."""
    axes = node.ints("axes", 1)
    if not axes and node.attribute("noop_with_empty_axes", 0):
        return node.value
    return layers.reduce_axes(
        builder, node.value, sample_axes(node.value, axes), kind, bool(node.attribute("keepdims", 1))
    )


@LAYERS.operation("ReduceMean")
def _reduce_mean(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return reduced("mean", builder, node)


@LAYERS.operation("ReduceSum")
def _reduce_sum(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return reduced("sum", builder, node)


@LAYERS.operation("ReduceMax")
def _reduce_max(builder: NetworkBuilder, node: OnnxNode) -> Value:
    return reduced("max", builder, node)
