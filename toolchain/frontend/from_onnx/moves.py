"""ONNX operators that move and resample values."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from onnx import TensorProto

from toolchain.frontend import layers
from toolchain.frontend.batch_axis import AnyValue, permute, reshape, whole_shape
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.from_onnx.node import FLOATING, OnnxNode
from toolchain.frontend.operations import (
    OperationTable,
    join,
    sample_axis,
    select,
    squeeze,
    take,
    unsqueeze,
)

MOVES = OperationTable()


@MOVES.operation("Resize", "Upsample")
def _resize(_: NetworkBuilder, node: OnnxNode) -> Value:
    x = node.value
    old = node.version < 11  # Upsample, and Resize of operator set 10: (X, scales)
    sizes, scales = (None, node.constant(1)) if old else (node.constant(3), node.constant(2))
    full = [node.batch, *x.shape]
    axes = [a % len(full) for a in node.attribute("axes", range(len(full)))]
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    if sizes is not None and policy != "stretch":
        raise Refusal(f"chooses its size by {policy}", "give the size that results")
    if sizes is not None:
        wanted = {a: int(n) for a, n in zip(axes, sizes, strict=True)}
    elif scales is not None and all(f == int(f) for f in scales):
        wanted = {a: full[a] * int(f) for a, f in zip(axes, scales, strict=True)}
    else:
        raise Refusal("resamples by a fraction", "use a whole-number scale factor")
    target = tuple(wanted.get(a, n) for a, n in enumerate(full))
    if target[:2] != (node.batch, x.shape[0]):
        raise Refusal("resamples other axes than the spatial ones", "resample space alone")
    mode = node.attribute("mode", "nearest")
    place = node.attribute("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    if mode == "nearest":
        rounding = node.attribute("nearest_mode", "floor" if old else "round_prefer_floor")
        # With a whole factor these choose the pixel that was enlarged.
        if (place, rounding) not in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")) and not (
            place in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round")
        ):
            raise Refusal(f"takes the nearest pixel by {place}, {rounding}", "export nn.Upsample(mode='nearest')")
        return layers.upsample_nearest(x, target[2:])
    if mode != "linear" or place not in ("half_pixel", "pytorch_half_pixel"):
        raise Refusal(f"interpolates by {mode}, {place}", "use bilinear upsampling with align_corners=False")
    if all(n == 1 for n in target[2:]) and place == "pytorch_half_pixel":
        return x
    return layers.upsample_linear(x, target[2:])


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
def _cast(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    if (to := node.attribute("to")) not in FLOATING:
        raise Refusal(f"casts activations to {TensorProto.DataType.Name(to)}", "keep them floating point")
    return node.value


@MOVES.operation("Flatten")
def _flatten(_: NetworkBuilder, node: OnnxNode) -> Value:
    if node.attribute("axis", 1) % (len(node.value.shape) + 1) != 1:
        raise Refusal(f"flattens from axis {node.attribute('axis', 1)}", "flatten everything but the batch axis")
    return layers.reshape(node.value, (prod(node.value.shape),))


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


@MOVES.operation("Gather", anywhere=True)
def _gather(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    x, index = node.value, node.required(1)
    axis = node.attribute("axis", 0) % len(whole_shape(x, node.batch))
    if index.size != 1:
        raise Refusal("picks values by a list", "slice a range")
    picked = select(x, axis, int(index.ravel()[0]), node.batch)
    return unsqueeze(picked, range(axis, axis + index.ndim), node.batch) if index.ndim else picked


@MOVES.operation("Pad")
def _pad(_: NetworkBuilder, node: OnnxNode) -> Value:
    x, pads = node.value, node.ints("pads", 1) or ()
    fill = node.constant(2)
    value = float(fill) if fill is not None and fill.size else node.attribute("value", 0.0)
    if node.attribute("mode", "constant") != "constant" or value:
        raise Refusal(f"pads by {node.attribute('mode', 'constant')} {value}", "pad with zeros")
    axes: Sequence[int] = node.ints("axes", 3) or range(len(x.shape) + 1)
    around = [(0, 0)] * len(x.shape)
    for dim, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if before or after:
            around[sample_axis(x, dim)] = (before, after)
    return layers.pad(x, tuple(around))


@MOVES.operation("DepthToSpace")
def _depth_to_space(_: NetworkBuilder, node: OnnxNode) -> Value:
    x, r = node.value, node.attribute("blocksize")
    return layers.pixel_shuffle(x, r, parts_first=node.attribute("mode", "DCR") == "DCR")
