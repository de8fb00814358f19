"""ONNX operators that move and resample values."""

from __future__ import annotations

from math import prod

from onnx import TensorProto

from toolchain.frontend import layers
from toolchain.frontend.batch_axis import AnyValue, permute, reshape, whole_shape
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.curves import is_truth
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.from_onnx.node import FLOATING, OnnxNode
from toolchain.frontend.operations import (
    OperationTable,
    join,
    sample_axis,
    squeeze,
    take,
    unsqueeze,
)

MOVES = OperationTable()


@MOVES.operation("Identity", anywhere=True)
def _same(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    return node.value


@MOVES.operation("Dropout", anywhere=True)
def _dropout(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    ratio, training = node.constant(1), node.constant(2)
    if training is not None and training.any() and (ratio is None or ratio.any()):
        raise Refusal("drops values at random (training_mode)", "export the network in eval mode")
    return node.value


@MOVES.operation("Cast", anywhere=True)
def _cast(builder: NetworkBuilder, node: OnnxNode) -> AnyValue:
    if (to := node.attribute("to")) not in FLOATING and not is_truth(builder, node.value):
        raise Refusal(f"casts activations to {TensorProto.DataType.Name(to)}", "keep them floating point")
    return node.value


@MOVES.operation("Flatten", anywhere=True)
def _flatten(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    whole = whole_shape(node.value, node.batch)
    axis = node.attribute("axis", 1)
    axis = axis + len(whole) if axis < 0 else axis
    return reshape(node.value, (prod(whole[:axis]), prod(whole[axis:])), node.batch)


@MOVES.operation("Reshape", anywhere=True)
def _reshape(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    x, sizes = node.value, [int(n) for n in node.required(1)]
    if not node.attribute("allowzero", 0):
        full = whole_shape(x, node.batch)
        sizes = [full[i] if n == 0 and i < len(full) else n for i, n in enumerate(sizes)]
    return reshape(x, sizes, node.batch)


@MOVES.operation("Transpose", anywhere=True)
def _transpose(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    rank = len(whole_shape(node.value, node.batch))
    return permute(node.value, node.attribute("perm") or range(rank - 1, -1, -1), node.batch)


@MOVES.operation("Squeeze", anywhere=True)
def _squeeze(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    return squeeze(node.value, node.ints("axes", 1) or None, node.batch)


@MOVES.operation("Unsqueeze", anywhere=True)
def _unsqueeze(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    return unsqueeze(node.value, node.ints("axes", 1) or (), node.batch)


@MOVES.operation("Concat")
def _concat(_: NetworkBuilder, node: OnnxNode) -> Value:
    return join(node.inputs, node.attribute("axis"))


@MOVES.operation("Split")
def _split(_: NetworkBuilder, node: OnnxNode) -> tuple[Value, ...]:
    x, axis = node.value, sample_axis(node.value, node.attribute("axis", 0))
    sizes = node.ints("split", 1)
    if sizes is None:
        each = -(-x.shape[axis] // node.outputs)
        sizes = tuple(min(each, x.shape[axis] - i) for i in range(0, x.shape[axis], each))
    return layers.split(x, axis, sizes)


@MOVES.operation("Slice", anywhere=True)
def _slice(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    x: AnyValue = node.value
    starts, stops = node.ints("starts", 1) or (), node.ints("ends", 2) or ()
    axes = node.ints("axes", 3) or tuple(range(len(starts)))
    steps = node.ints("steps", 4) or (1,) * len(starts)
    for dim, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        x = take(x, dim, start, stop, step, node.batch)
    return x


@MOVES.operation("DepthToSpace")
def _depth_to_space(_: NetworkBuilder, node: OnnxNode) -> Value:
    x, r = node.value, node.attribute("blocksize")
    return layers.pixel_shuffle(x, r, parts_first=node.attribute("mode", "DCR") == "DCR")
