"""ONNX operators that are fixed maps along axes: resampling, padding, lists of positions, repetition."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Any

import numpy as np

from toolchain.frontend import layers
from toolchain.frontend.axis_maps import expand, gather, map_axes, pad_with
from toolchain.frontend.batch_axis import AnyValue, whole_shape
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.from_onnx.interpolation import Interpolation
from toolchain.frontend.from_onnx.node import OnnxNode
from toolchain.frontend.operations import OperationTable, sample_axis, take_list

RESAMPLING = OperationTable()


@RESAMPLING.operation("Resize", "Upsample")
def _resize(_: NetworkBuilder, node: OnnxNode) -> Value:
    x = node.value
    old = node.version < 11  # Upsample, and Resize of operator set 10: (X, scales)
    sizes, scales = (None, node.constant(1)) if old else (node.constant(3), node.constant(2))
    if node.attribute("antialias", 0):
        raise Refusal("smooths before it resamples (antialias)", "export it without antialias")
    full = (node.batch, *x.shape)
    axes = [a % len(full) for a in node.attribute("axes", range(len(full)))]
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    if sizes is not None and policy != "stretch":
        raise Refusal(f"chooses its size by {policy}", "give the size that results")
    if sizes is not None and sizes.size:
        ratio = {a: (int(m), int(m) / full[a]) for a, m in zip(axes, sizes, strict=True)}
    elif scales is not None and scales.size:
        ratio = {a: (floor(full[a] * float(s)), float(s)) for a, s in zip(axes, scales, strict=True)}
    else:
        raise Refusal("says neither sizes nor scales", "export it with one of them")
    chosen = {sample_axis(x, a): pair for a, pair in ratio.items() if a and pair != (full[a], 1.0)}
    if ratio.get(0, (node.batch, 1.0))[0] != node.batch:
        raise Refusal("resamples the batch", "resample space alone")
    interpolation = Interpolation(
        node.attribute("mode", "nearest"),
        node.attribute("coordinate_transformation_mode", "asymmetric" if old else "half_pixel"),
        node.attribute("nearest_mode", "floor" if old else "round_prefer_floor"),
        node.attribute("cubic_coeff_a", -0.75),
        bool(node.attribute("exclude_outside", 0)),
    )
    return map_axes(x, {a: interpolation.matrix(x.shape[a], m, scale) for a, (m, scale) in chosen.items()})


@RESAMPLING.operation("Pad")
def _pad(_: NetworkBuilder, node: OnnxNode) -> Value:
    x, pads = node.value, node.ints("pads", 1) or ()
    fill, mode = node.constant(2), node.attribute("mode", "constant")
    axes: Sequence[int] = node.ints("axes", 3) or range(len(x.shape) + 1)
    around = [(0, 0)] * len(x.shape)
    for dim, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if before or after:
            around[sample_axis(x, dim)] = (before, after)
    if mode != "constant":
        numpy_mode = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}.get(mode)
        if numpy_mode is None or min(min(pair) for pair in around) < 0:
            raise Refusal(f"pads by {mode} {around}", "pad by reflect, edge or wrap, and crop by Slice")
        sides = {a: pair for a, pair in enumerate(around) if pair != (0, 0)}
        positions: Any = {a: np.pad(np.arange(x.shape[a]), pair, mode=numpy_mode) for a, pair in sides.items()}  # type: ignore[call-overload]
        return gather(x, positions)
    value = float(fill.reshape(())) if fill is not None and fill.size else float(node.attribute("value", 0.0))
    cropped = layers.pad(x, tuple((min(a, 0), min(b, 0)) for a, b in around))
    grown = tuple((max(a, 0), max(b, 0)) for a, b in around)
    return pad_with(cropped, grown, value) if np.any(grown) else cropped


@RESAMPLING.operation("Gather", anywhere=True)
def _gather(_: NetworkBuilder, node: OnnxNode) -> AnyValue:
    return take_list(node.value, node.attribute("axis", 0), node.required(1).astype(np.int64), node.batch)


@RESAMPLING.operation("Tile")
def _tile(_: NetworkBuilder, node: OnnxNode) -> Value:
    x, counts = node.value, node.required(1).ravel().tolist()
    if counts[0] != 1:
        raise Refusal("repeats the batch", "let the module treat every picture alone")
    for axis, count in enumerate(counts[1:]):
        if count != 1:
            x = gather(x, {axis: list(range(x.shape[axis])) * int(count)})
    return x


@RESAMPLING.operation("Expand")
def _expand(_: NetworkBuilder, node: OnnxNode) -> Value:
    x = node.value
    whole = np.broadcast_shapes(whole_shape(x, node.batch), tuple(int(n) for n in node.required(1)))
    if whole[0] != node.batch or len(whole) != len(x.shape) + 1:
        raise Refusal("repeats the batch, or adds an axis before it", "keep the batch axis first")
    return expand(x, whole[1:])


@RESAMPLING.operation("SpaceToDepth")
def _space_to_depth(_: NetworkBuilder, node: OnnxNode) -> Value:
    return layers.pixel_unshuffle(node.value, node.attribute("blocksize"), parts_first=True)
