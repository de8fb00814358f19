"""ATen operations that pool and upsample, in terms of layers."""

from __future__ import annotations

from typing import Any

from toolchain.frontend import layers
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.operations import Table, is_value, per_axis, per_side, sample_axes
from toolchain.netlist import SumPool

POOLING = Table()


def _pool_arguments(
    x: Value, kernel: Any, stride: Any, padding: Any, n: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    if len(x.shape) != n + 1:
        raise Refusal(f"pools a value of shape {x.shape}", "give it a channel axis")
    size = per_axis(kernel, n)
    return size, per_axis(stride, n) if stride else size, per_axis(padding, n)


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
    size, steps, pads = _pool_arguments(x, kernel, stride, padding, len(x.shape) - 1)
    pairs = per_side(pads, len(pads))
    if layers.ceil_padding(x.shape, size, steps, pairs, ceil_mode) != pairs:
        raise Refusal("has ceil_mode with a partial window at the border", "choose a size that the stride divides")
    if any(pads) and not count_include_pad and divisor_override is None:
        raise Refusal("averages over fewer values at the border", "use count_include_pad=True, or no padding")
    return layers.average_pool(x, size, steps, pairs, divisor_override)


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
    n = len(x.shape) - 1
    size, steps, pads = _pool_arguments(x, kernel, stride, padding, n)
    if set(per_axis(dilation, n)) != {1}:
        raise Refusal(f"has dilation {dilation}", "use a max pool without dilation")
    pairs = layers.ceil_padding(x.shape, size, steps, per_side(pads, n), ceil_mode)
    return builder.maximum(x, SumPool(size, steps, pairs))


@POOLING.operation("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d")
def _adaptive_avg_pool(_: NetworkBuilder, x: Value, output: Any) -> Value:
    return layers.adaptive_average_pool(x, per_axis(output, len(x.shape) - 1))


@POOLING.operation("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(builder: NetworkBuilder, x: Value, output: Any) -> Any:
    return (layers.adaptive_max_pool(builder, x, per_axis(output, len(x.shape) - 1)), None)


@POOLING.operation("mean")
def _mean(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    return layers.reduce_axes(builder, x, sample_axes(x, dim), "mean", keepdim)


@POOLING.operation("sum")
def _sum(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    return layers.reduce_axes(builder, x, sample_axes(x, dim), "sum", keepdim)


@POOLING.operation("amax")
def _amax(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return layers.reduce_axes(builder, x, sample_axes(x, dim), "max", keepdim)


@POOLING.operation("max")
def _max(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False) -> Any:
    if is_value(dim):
        raise Refusal("takes the greater of two activations", "use a max pool, or a sum")
    return (layers.reduce_axes(builder, x, sample_axes(x, dim), "max", keepdim), None)


@POOLING.operation("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def _nearest(_: NetworkBuilder, x: Value, output: Any, *factors: Any) -> Value:
    return layers.upsample_nearest(x, _upsampled(x, output, factors))


@POOLING.operation("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
def _linear_upsampling(_: NetworkBuilder, x: Value, output: Any, align_corners: bool, *factors: Any) -> Value:
    if align_corners:
        raise Refusal("has align_corners=True", "use align_corners=False")
    return layers.upsample_linear(x, _upsampled(x, output, factors))


def _upsampled(x: Value, output: Any, factors: Any) -> tuple[int, ...]:
    scales = next((f for f in factors if f is not None), None)
    if output is not None:
        return tuple(output)
    if scales is None or any(f != int(f) for f in scales):
        raise Refusal(f"resamples by {scales}", "use a whole-number scale factor")
    return tuple(n * int(f) for n, f in zip(x.shape[1:], scales, strict=True))
