"""ONNX operators that move and resample values."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from toolchain.frontend import layers
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Expression, Refusal, Value, concatenate, settled
from toolchain.frontend.from_onnx.node import Node
from toolchain.frontend.operations import Table, is_value, per_sample, sample_axes, sample_axis
from toolchain.netlist import Pad, Permute

MOVES = Table()


@MOVES.operation("Resize", "Upsample")
def _resize(_: NetworkBuilder, node: Node) -> Value:
    x = node.value
    old = len(node.inputs) == 2  # Upsample, and Resize of operator set 10: (X, scales)
    sizes, scales = (None, node.constant(1)) if old else (node.constant(3), node.constant(2))
    if sizes is not None:
        target = tuple(int(n) for n in sizes)
    elif scales is not None and all(f == int(f) for f in scales):
        target = tuple(n * int(f) for n, f in zip((node.batch, *x.shape), scales, strict=True))
    else:
        raise Refusal("resamples by a fraction", "use a whole-number scale factor")
    if len(target) != len(x.shape) + 1 or target[:2] != (node.batch, x.shape[0]):
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
    if any(n == 1 for n in target[2:]) and place == "pytorch_half_pixel":
        return x
    return layers.upsample_linear(x, target[2:])


@MOVES.operation("Identity", "Dropout", "Cast")
def _same(_: NetworkBuilder, node: Node) -> Value:
    return node.value


@MOVES.operation("Flatten")
def _flatten(_: NetworkBuilder, node: Node) -> Value:
    if node.attribute("axis", 1) % (len(node.value.shape) + 1) != 1:
        raise Refusal(f"flattens from axis {node.attribute('axis', 1)}", "flatten everything but the batch axis")
    return layers.reshape(node.value, (prod(node.value.shape),))


@MOVES.operation("Reshape")
def _reshape(_: NetworkBuilder, node: Node) -> Value:
    x, sizes = node.value, [int(n) for n in node.required(1)]
    full = (node.batch, *x.shape)
    if not node.attribute("allowzero", 0):
        sizes = [full[i] if n == 0 and i < len(full) else n for i, n in enumerate(sizes)]
    if -1 in sizes:
        known = -prod(sizes)
        sizes[sizes.index(-1)] = prod(full) // known if known else 0
    if not sizes or sizes[0] != node.batch or prod(sizes) != prod(full):
        raise Refusal("mixes the pictures of a batch", "flatten everything but the batch axis")
    return layers.reshape(x, tuple(sizes[1:]))


@MOVES.operation("Transpose")
def _transpose(_: NetworkBuilder, node: Node) -> Value:
    axes = node.attribute("perm") or tuple(range(len(node.value.shape), -1, -1))
    if axes[0] != 0:
        raise Refusal("moves the batch axis", "keep the batch axis first")
    return node.value.through(Permute(tuple(a - 1 for a in axes[1:])))


@MOVES.operation("Squeeze")
def _squeeze(_: NetworkBuilder, node: Node) -> Value:
    x, axes = node.value, node.ints("axes", 1)
    dropped = sample_axes(x, axes) if axes else tuple(a for a, n in enumerate(x.shape) if n == 1)
    return layers.reshape(x, tuple(n for a, n in enumerate(x.shape) if a not in dropped))


@MOVES.operation("Unsqueeze")
def _unsqueeze(_: NetworkBuilder, node: Node) -> Value:
    axes = node.ints("axes", 1) or ()
    rank = len(node.value.shape) + 1 + len(axes)
    shape = [node.batch, *node.value.shape]
    for axis in sorted(a % rank for a in axes):
        if axis == 0:
            raise Refusal("adds an axis before the batch", "keep the batch axis first")
        shape.insert(axis, 1)
    return layers.reshape(node.value, tuple(shape[1:]))


@MOVES.operation("Concat")
def _concat(_: NetworkBuilder, node: Node) -> Value:
    like = next(v for v in node.inputs if is_value(v))
    parts: list[Expression] = []
    for part in node.inputs:
        if is_value(part):
            parts.append(settled(part))
        else:
            array = per_sample(like, part)
            parts.append(Expression(array.shape, (), array))
    return concatenate(parts, sample_axis(like, node.attribute("axis")))


@MOVES.operation("Split")
def _split(_: NetworkBuilder, node: Node) -> tuple[Value, ...]:
    x, axis = node.value, sample_axis(node.value, node.attribute("axis", 0))
    sizes = node.ints("split", 1)
    if sizes is None:
        each = -(-x.shape[axis] // node.outputs)
        sizes = tuple(min(each, x.shape[axis] - i) for i in range(0, x.shape[axis], each))
    starts = np.cumsum((0, *sizes))
    return tuple(layers.take(x, axis, int(a), int(a) + n, 1) for a, n in zip(starts, sizes, strict=False))


@MOVES.operation("Slice")
def _slice(_: NetworkBuilder, node: Node) -> Value:
    x = node.value
    starts, stops = node.ints("starts", 1) or (), node.ints("ends", 2) or ()
    axes = node.ints("axes", 3) or tuple(range(len(starts)))
    steps = node.ints("steps", 4) or (1,) * len(starts)
    for dim, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        if dim == 0 and (start, step) == (0, 1) and stop >= node.batch:
            continue
        axis = sample_axis(x, dim)
        if step < 1:
            raise Refusal("slices backwards", "slice forwards")
        begin, end, _stride = slice(start, stop, step).indices(x.shape[axis])
        x = layers.take(x, axis, begin, end, step)
    return x


@MOVES.operation("Gather")
def _gather(_: NetworkBuilder, node: Node) -> Value:
    x, axis, index = node.value, sample_axis(node.value, node.attribute("axis", 0)), node.required(1)
    if index.size != 1:
        raise Refusal("picks values by a list", "slice a range")
    place = int(index.ravel()[0]) % x.shape[axis]
    x = layers.take(x, axis, place, place + 1, 1)
    return layers.reshape(x, (*x.shape[:axis], *x.shape[axis + 1 :])) if index.ndim == 0 else x


@MOVES.operation("Pad")
def _pad(_: NetworkBuilder, node: Node) -> Value:
    x, pads = node.value, node.ints("pads", 1) or ()
    fill = node.constant(2)
    value = float(fill) if fill is not None and fill.size else node.attribute("value", 0.0)
    if node.attribute("mode", "constant") != "constant" or value:
        raise Refusal(f"pads by {node.attribute('mode', 'constant')} {value}", "pad with zeros")
    rank = len(x.shape) + 1
    axes: Sequence[int] = node.ints("axes", 3) or range(rank)
    for i, dim in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        if (before, after) == (0, 0):
            continue
        axis = sample_axis(x, dim)
        if before < 0 or after < 0:
            x = layers.take(x, axis, max(-before, 0), x.shape[axis] - max(-after, 0), 1)
        grown = [(0, 0)] * len(x.shape)
        grown[axis] = (max(before, 0), max(after, 0))
        x = settled(x).through(Pad(tuple(grown)))
    return x


@MOVES.operation("DepthToSpace")
def _depth_to_space(_: NetworkBuilder, node: Node) -> Value:
    x, r = node.value, node.attribute("blocksize")
    c, h, w = x.shape
    if node.attribute("mode", "DCR") == "CRD":
        x = layers.reshape(x, (c // (r * r), r, r, h, w)).through(Permute((0, 3, 1, 4, 2)))
    else:
        x = layers.reshape(x, (r, r, c // (r * r), h, w)).through(Permute((2, 3, 0, 4, 1)))
    return layers.reshape(x, (c // (r * r), h * r, w * r))
