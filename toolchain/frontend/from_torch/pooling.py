"""ATen operations that pool and upsample, in terms of layers."""

from __future__ import annotations

from typing import Any

from toolchain.frontend import curves, layers
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Value
from toolchain.frontend.from_torch.arguments import per_axis, per_side, stay_floating
from toolchain.frontend.operations import OperationTable, is_value, sample_axes
from toolchain.netlist import Pairs

POOLING = OperationTable()


def _windows(x: Value, kernel: Any, stride: Any, padding: Any) -> tuple[tuple[int, ...], tuple[int, ...], Pairs]:
    """Return kernel, stride and padding of a pool, one per spatial axis; without a stride, windows tile."""
    n = len(x.shape) - 1
    size = per_axis(kernel, n)
    return size, per_axis(stride, n) if stride else size, per_side(padding, n)


@POOLING.operation("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(
    _: NetworkBuilder,
    x: Value,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: float | None = None,
) -> Value:
    return layers.average_pool(
        x,
        *_windows(x, kernel, stride, padding),
        ceil_mode=ceil_mode,
        count_padding=count_include_pad,
        divisor=divisor_override,
    )


@POOLING.operation("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(
    builder: NetworkBuilder,
    x: Value,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Value:
    dilations = per_axis(dilation, len(x.shape) - 1)
    return layers.max_pool(builder, x, *_windows(x, kernel, stride, padding), dilations, ceil_mode)


@POOLING.operation("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d")
def _adaptive_avg_pool(_: NetworkBuilder, x: Value, output: Any) -> Value:
    return layers.adaptive_average_pool(x, per_axis(output, len(x.shape) - 1))


@POOLING.operation("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(builder: NetworkBuilder, x: Value, output: Any) -> Any:
    return (layers.adaptive_max_pool(builder, x, per_axis(output, len(x.shape) - 1)), None)


@POOLING.operation("mean")
def _mean(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    stay_floating(dtype)
    return layers.reduce_axes(builder, x, sample_axes(x, dim), "mean", keepdim)


@POOLING.operation("sum")
def _sum(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    stay_floating(dtype)
    return layers.reduce_axes(builder, x, sample_axes(x, dim), "sum", keepdim)


@POOLING.operation("amax")
def _amax(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return layers.reduce_axes(builder, x, sample_axes(x, dim), "max", keepdim)


@POOLING.operation("max")
def _max(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False) -> Any:
    if is_value(dim):
        return curves.greatest(builder, x, dim)
    return (layers.reduce_axes(builder, x, sample_axes(x, dim), "max", keepdim), None)
