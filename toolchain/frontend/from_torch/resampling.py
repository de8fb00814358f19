"""ATen operations that are fixed maps along axes: resampling, padding, flips, lists of positions, unfolding.

What each makes of an axis is a matrix, and the matrix is what PyTorch makes of unit vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toolchain.frontend import layers
from toolchain.frontend.axis_maps import empty, expand, gather, map_axes, pad_with
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.from_torch.arguments import per_axis
from toolchain.frontend.operations import OperationTable, is_value, sample_axis
from toolchain.netlist import Permute

RESAMPLING = OperationTable()
_ATEN = torch.ops.aten


#: Extent of the axes that keep their values: antialiasing goes wrong where it is 1 (PyTorch 2.13).
_KEPT = 2


def _of_units(extent: int, function: Callable[[Tensor], Tensor], axes: int) -> np.ndarray:
    """Return the matrix (after, before) of a map along one axis, the first of so many spatial ones."""
    empty(extent, extent)  # refuses an axis whose matrix would be too large
    units = torch.eye(extent, dtype=torch.float64).reshape(extent, 1, extent, *(1,) * (axes - 1))
    made = function(units.expand(extent, 1, extent, *(_KEPT,) * (axes - 1)).contiguous())
    return np.ascontiguousarray(made.reshape(extent, made.shape[2], -1)[:, :, 0].T.numpy())


# Resampling --------------------------------------------------------------------------------------


def _upsample(x: Value, operation: Any, output: Any, factors: Any, *options: Any) -> Value:
    """Resample by an operation of (input, output size, *options, scale per axis)."""
    axes = len(x.shape) - 1
    scales = next((f for f in factors if f is not None), None)
    scales = [None] * axes if scales is None else list(per_axis(scales, axes))
    sizes = [int(n * s) for n, s in zip(x.shape[1:], scales, strict=True)] if output is None else list(output)

    def along(n: int, size: int, factor: float | None) -> np.ndarray:
        rest = axes - 1
        empty(size, n)
        given = (factor, *(None for _ in range(rest)))
        return _of_units(n, lambda units: operation(units, [size, *[_KEPT] * rest], *options, *given), axes)

    triples = zip(x.shape[1:], sizes, scales, strict=True)
    return map_axes(x, {a: along(*triple) for a, triple in enumerate(triples, start=1)})


@RESAMPLING.operation("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def _nearest(_: NetworkBuilder, x: Value, output: Any, *factors: Any) -> Value:
    names = (_ATEN.upsample_nearest1d, _ATEN.upsample_nearest2d, _ATEN.upsample_nearest3d)
    return _upsample(x, names[len(x.shape) - 2].default, output, factors)


@RESAMPLING.operation("_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d")
def _nearest_exact(_: NetworkBuilder, x: Value, output: Any, *factors: Any) -> Value:
    names = (_ATEN._upsample_nearest_exact1d, _ATEN._upsample_nearest_exact2d, _ATEN._upsample_nearest_exact3d)
    return _upsample(x, names[len(x.shape) - 2].default, output, factors)


@RESAMPLING.operation("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
def _linear(_: NetworkBuilder, x: Value, output: Any, align_corners: bool, *factors: Any) -> Value:
    names = (_ATEN.upsample_linear1d, _ATEN.upsample_bilinear2d, _ATEN.upsample_trilinear3d)
    return _upsample(x, names[len(x.shape) - 2].default, output, factors, align_corners)


@RESAMPLING.operation("upsample_bicubic2d")
def _cubic(_: NetworkBuilder, x: Value, output: Any, align_corners: bool, *factors: Any) -> Value:
    return _upsample(x, _ATEN.upsample_bicubic2d.default, output, factors, align_corners)


@RESAMPLING.operation("_upsample_bilinear2d_aa")
def _linear_smoothed(_: NetworkBuilder, x: Value, output: Any, align_corners: bool, *factors: Any) -> Value:
    return _upsample(x, _ATEN._upsample_bilinear2d_aa.default, output, factors, align_corners)


@RESAMPLING.operation("_upsample_bicubic2d_aa")
def _cubic_smoothed(_: NetworkBuilder, x: Value, output: Any, align_corners: bool, *factors: Any) -> Value:
    return _upsample(x, _ATEN._upsample_bicubic2d_aa.default, output, factors, align_corners)


# Padding -----------------------------------------------------------------------------------------


@RESAMPLING.operation("pad", "constant_pad_nd")
def _pad(_: NetworkBuilder, x: Value, pad: Sequence[int], mode: Any = "constant", value: Any = None) -> Value:
    around = [(0, 0)] * (len(x.shape) + 1)
    for i in range(len(pad) // 2):
        around[-1 - i] = (pad[2 * i], pad[2 * i + 1])
    if around[0] != (0, 0):
        sample_axis(x, 0)
    if isinstance(mode, str) and mode != "constant":
        sides = {a: pair for a, pair in enumerate(around[1:]) if pair != (0, 0)}
        return gather(x, {a: _padded(x.shape[a], pair, mode) for a, pair in sides.items()})
    fill = mode if isinstance(mode, int | float) else value
    cropped = layers.pad(x, tuple((min(a, 0), min(b, 0)) for a, b in around[1:]))
    grown = tuple((max(a, 0), max(b, 0)) for a, b in around[1:])
    return pad_with(cropped, grown, float(fill or 0)) if np.any(grown) else cropped


def _padded(extent: int, pair: tuple[int, int], mode: str) -> list[int]:
    """Return the positions that a padded axis holds."""
    positions = torch.arange(extent, dtype=torch.float64)[None]
    return [int(i) for i in F.pad(positions, pair, mode)[0]]


@RESAMPLING.operation("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def _reflect(builder: NetworkBuilder, x: Value, pad: Sequence[int]) -> Value:
    return _pad(builder, x, pad, "reflect")


@RESAMPLING.operation("replication_pad1d", "replication_pad2d", "replication_pad3d")
def _replicate(builder: NetworkBuilder, x: Value, pad: Sequence[int]) -> Value:
    return _pad(builder, x, pad, "replicate")


# Positions ---------------------------------------------------------------------------------------


@RESAMPLING.operation("flip")
def _flip(_: NetworkBuilder, x: Value, dims: Sequence[int]) -> Value:
    for dim in dims:
        axis = sample_axis(x, dim)
        x = gather(x, {axis: range(x.shape[axis])[::-1]})
    return x


@RESAMPLING.operation("roll")
def _roll(_: NetworkBuilder, x: Value, shifts: Any, dims: Any = ()) -> Value:
    shifts, dims = ([v] if isinstance(v, int) else list(v) for v in (shifts, dims))
    if not dims:
        raise Refusal("rolls over the whole batch", "name the axes to roll along, without the batch axis")
    for shift, dim in zip(shifts, dims, strict=True):
        axis = sample_axis(x, dim)
        x = gather(x, {axis: np.roll(np.arange(x.shape[axis]), shift).tolist()})
    return x


@RESAMPLING.operation("index_select")
def _index_select(_: NetworkBuilder, x: Value, dim: int, index: Tensor) -> Value:
    axis = sample_axis(x, dim)
    return gather(x, {axis: _positions(x.shape[axis], index)})


@RESAMPLING.operation("index")
def _index(_: NetworkBuilder, x: Value, indices: Sequence[Any]) -> Value:
    chosen = {dim: index for dim, index in enumerate(indices) if index is not None}
    if len(chosen) != 1 or any(is_value(i) or i.ndim != 1 for i in chosen.values()):
        raise Refusal("takes values by several lists, or by one of several axes", "use one list of positions")
    ((dim, index),) = chosen.items()
    axis = sample_axis(x, dim)
    return gather(x, {axis: _positions(x.shape[axis], index)})


def _positions(extent: int, index: Tensor) -> list[int]:
    if index.dtype == torch.bool:
        index = index.nonzero().reshape(-1)
    return [int(i) % extent for i in index]


@RESAMPLING.operation("repeat", "tile")
def _repeat(_: NetworkBuilder, x: Value, counts: Sequence[int]) -> Value:
    counts = [1] * (len(x.shape) + 1 - len(counts)) + list(counts)
    if len(counts) > len(x.shape) + 1 or counts[0] != 1:
        raise Refusal("repeats the batch, or adds an axis before it", "keep the batch axis first")
    for axis, count in enumerate(counts[1:]):
        if count != 1:
            x = gather(x, {axis: list(range(x.shape[axis])) * count})
    return x


@RESAMPLING.operation("repeat_interleave")
def _repeat_interleave(_: NetworkBuilder, x: Value, counts: Any, dim: int | None = None, **options: Any) -> Value:
    if dim is None:
        raise Refusal("repeats over the whole batch", "name the axis to repeat along")
    axis = sample_axis(x, dim)
    each = np.asarray(counts).reshape(-1)
    return gather(x, {axis: np.arange(x.shape[axis]).repeat(each if each.size > 1 else int(each[0])).tolist()})


@RESAMPLING.operation("expand")
def _expand(_: NetworkBuilder, x: Value, sizes: Sequence[int], **options: Any) -> Value:
    whole = [1, *x.shape]
    grown = [1] * (len(sizes) - len(whole)) + whole
    if len(sizes) != len(whole):
        raise Refusal("adds an axis before the batch", "keep the batch axis first")
    return expand(x, [n if m == -1 else m for n, m in zip(grown[1:], sizes[1:], strict=True)])


@RESAMPLING.operation("expand_as")
def _expand_as(_: NetworkBuilder, x: Value, like: Any) -> Value:
    return expand(x, like.shape)


@RESAMPLING.operation("unfold")
def _unfold(_: NetworkBuilder, x: Value, dim: int, size: int, step: int) -> Value:
    """Windows of one axis; their positions come last."""
    axis = sample_axis(x, dim)
    starts = range(0, x.shape[axis] - size + 1, step)
    x = gather(x, {axis: [s + i for s in starts for i in range(size)]})
    shape = x.shape
    x = layers.reshape(x, (*shape[:axis], len(starts), size, *shape[axis + 1 :]))
    rank = len(x.shape)
    return x.through(Permute((*(a for a in range(rank) if a != axis + 1), axis + 1)))


@RESAMPLING.operation("im2col")
def _im2col(_: NetworkBuilder, x: Value, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Value:
    """Patches (channel and position in the patch, place): torch.nn.functional.unfold."""
    channels, *space = x.shape
    counts = []
    for axis, (n, k, d, p, s) in enumerate(
        zip(space, *(per_axis(v, 2) for v in (kernel, dilation, padding, stride)), strict=True), start=1
    ):
        starts = range(-p, n + p - d * (k - 1), s)
        places = [start + i * d for i in range(k) for start in starts]
        x = gather(x, {axis: [place if 0 <= place < n else -1 for place in places]})
        counts += [k, len(starts)]
    h, rows, w, columns = counts
    x = layers.reshape(x, (channels, h, rows, w, columns)).through(Permute((0, 1, 3, 2, 4)))
    return layers.reshape(x, (channels * h * w, rows * columns))


@RESAMPLING.operation("pixel_unshuffle")
def _pixel_unshuffle(_: NetworkBuilder, x: Value, r: int) -> Value:
    return layers.pixel_unshuffle(x, r)
