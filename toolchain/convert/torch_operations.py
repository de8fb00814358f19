"""ATen operations in terms of layers: one function per operation, with ATen's own arguments.

Values carry no batch axis, ATen's arguments do: axis arguments are moved by one, and an operation that
touches the batch axis is refused. Constants arrive as float64 tensors with whatever axes they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from toolchain.convert import layers
from toolchain.convert.builder import NetworkBuilder
from toolchain.convert.expression import Expression, Pooled, Refusal, Value, concatenate, settled
from toolchain.netlist import Pad, Pairs, Permute, SumPool

#: Batch size of the trace: a number that models do not write down themselves, so that a first axis of
#: this size is the batch.
BATCH = 23


@dataclass(frozen=True)
class Operation:
    """How one ATen operation is converted.

    Parameters
    ----------
    convert : callable (builder, *args, **kwargs) -> Value
    role : str
        "weighted" or "affine" for the layers that units are named after, else "".
    """

    convert: Callable[..., Any]
    role: str = ""

    def label(self, result: Any, position: int, path: str) -> Any:
        """Note the layer's path in its result."""
        if not self.role:
            return result
        if isinstance(result, tuple):  # the first of several results is the layer's own
            return (self.label(result[0], position, path), *result[1:])
        return result.passed(position, path, weighted=self.role == "weighted")


OPERATIONS: dict[str, Operation] = {}


F = TypeVar("F", bound=Callable[..., Any])


def _operation(*names: str, role: str = "") -> Callable[[F], F]:
    def register(function: F) -> F:
        for name in names:
            OPERATIONS[name] = Operation(function, role)
        return function

    return register


# Arguments ---------------------------------------------------------------------------------------


def _axis(x: Value, dim: int) -> int:
    """Return the axis without the batch axis."""
    rank = len(x.shape) + 1
    dim = dim + rank if dim < 0 else dim
    if dim == 0:
        raise Refusal("works across the pictures of a batch", "let the module treat every picture alone")
    return dim - 1


def _axes(x: Value, dims: int | Sequence[int] | None) -> tuple[int, ...]:
    if dims is None or dims == []:
        raise Refusal("reduces over the whole batch", "name the axes to reduce over, without the batch axis")
    dims = [dims] if isinstance(dims, int) else dims
    return tuple(sorted({_axis(x, d) for d in dims}))


def _ints(value: int | Sequence[int], n: int) -> tuple[int, ...]:
    values = [value] * n if isinstance(value, int) else list(value)
    return tuple(values * n if len(values) == 1 else values)


def _pairs(value: int | Sequence[int], n: int) -> Pairs:
    return tuple((p, p) for p in _ints(value, n))


def _constant(x: Value, constant: Any) -> np.ndarray:
    """Return a constant operand as an array that broadcasts without the batch axis."""
    array = np.asarray(constant.numpy() if isinstance(constant, Tensor) else constant, dtype=np.float64)
    if array.ndim <= len(x.shape):
        return array
    if array.ndim > len(x.shape) + 1 or not np.array_equal(array, np.broadcast_to(array[:1], array.shape)):
        raise Refusal("combines a value with constants that differ over the batch", "use one constant per picture")
    first: np.ndarray = array[0]
    return first


def _weight(tensor: Any) -> np.ndarray:
    if _is_value(tensor):
        raise Refusal("has weights that depend on the input", "use fixed weights")
    array: np.ndarray = tensor.numpy()
    return array


def _optional(tensor: Any) -> np.ndarray | None:
    return None if tensor is None else _weight(tensor)


def _is_value(x: Any) -> bool:
    return isinstance(x, Expression | Pooled)


# Weighted layers ---------------------------------------------------------------------------------


@_operation("conv1d", "conv2d", "conv3d", role="weighted")
def _conv(
    _: NetworkBuilder,
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    w, b = _weight(weight), _optional(bias)
    n = w.ndim - 2
    dilations = _ints(dilation, n)
    if padding == "valid":
        padding = 0
    if padding == "same":
        extents = [d * (k - 1) for d, k in zip(dilations, w.shape[2:], strict=True)]
        pairs: Pairs = tuple((e // 2, e - e // 2) for e in extents)
    else:
        pairs = _pairs(padding, n)
    return layers.convolution(x, w, b, _ints(stride, n), pairs, dilations, groups)


@_operation("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", role="weighted")
def _conv_transpose(
    _: NetworkBuilder,
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    w, b = _weight(weight), _optional(bias)
    n = w.ndim - 2
    cut = tuple((p, p - o) for p, o in zip(_ints(padding, n), _ints(output_padding, n), strict=True))
    return layers.transposed_convolution(x, w, b, _ints(stride, n), cut, _ints(dilation, n), groups)


@_operation("linear", role="weighted")
def _linear(_: NetworkBuilder, x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
    w, b = _weight(weight), _optional(bias)
    return layers.linear(x, w, b)


@_operation("matmul", "mm", role="weighted")
def _matmul(_: NetworkBuilder, x: Any, y: Any) -> Value:
    if not _is_value(x) or _is_value(y) or y.ndim != 2:
        raise Refusal("multiplies activations by something other than a fixed matrix", "use nn.Linear")
    return layers.linear(x, np.ascontiguousarray(y.numpy().T), None)


@_operation("addmm", role="weighted")
def _addmm(_: NetworkBuilder, bias: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    if not _is_value(x) or _is_value(y) or _is_value(bias):
        raise Refusal("multiplies activations by something other than a fixed matrix", "use nn.Linear")
    product = layers.linear(x, np.ascontiguousarray(alpha * y.numpy().T), None)
    return layers.shift(product, beta * _constant(product, bias))


@_operation("batch_norm", "_native_batch_norm_legit_no_training", role="affine")
def _batch_norm(_: NetworkBuilder, x: Value, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any) -> Any:
    if mean is None or variance is None or rest[0] is True:
        raise Refusal("uses the statistics of the batch", "use BatchNorm with running statistics")
    mu, var = _weight(mean), _weight(variance)
    if len(rest) == 2:  # _native_batch_norm_legit_no_training(momentum, eps) returns three tensors
        return (layers.normalization(x, _optional(weight), _optional(bias), mu, var, rest[1]), None, None)
    return layers.normalization(x, _optional(weight), _optional(bias), mu, var, rest[2])


# Arithmetic --------------------------------------------------------------------------------------


@_operation("add")
def _add(_: NetworkBuilder, x: Any, y: Any, *, alpha: float = 1) -> Value:
    if _is_value(x) and _is_value(y):
        return layers.add(x, y if alpha == 1 else layers.scale(y, np.asarray(float(alpha))))
    if _is_value(x):
        return layers.shift(x, alpha * _constant(x, y))
    return layers.shift(layers.scale(y, np.asarray(float(alpha))), _constant(y, x))


@_operation("sub")
def _sub(builder: NetworkBuilder, x: Any, y: Any, *, alpha: float = 1) -> Value:
    return _add(builder, x, y, alpha=-alpha)


@_operation("rsub")
def _rsub(builder: NetworkBuilder, x: Any, y: Any, *, alpha: float = 1) -> Value:
    return _add(builder, y, x, alpha=-alpha)


@_operation("neg")
def _neg(_: NetworkBuilder, x: Value) -> Value:
    return layers.scale(x, np.asarray(-1.0))


@_operation("mul", role="affine")
def _mul(_: NetworkBuilder, x: Any, y: Any) -> Value:
    if _is_value(x) and _is_value(y):
        raise Refusal(
            "multiplies two activations (a gate, attention or squeeze-and-excitation)",
            "replace the product by a sum, or remove the gate and train again",
        )
    value, constant = (x, y) if _is_value(x) else (y, x)
    return layers.scale(value, _constant(value, constant))


@_operation("div", role="affine")
def _div(_: NetworkBuilder, x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    if _is_value(y):
        raise Refusal("divides by an activation", "divide by a constant")
    if rounding_mode is not None:
        raise Refusal("rounds its quotient", "divide without rounding")
    return layers.scale(x, 1.0 / _constant(x, y))


# Clipping ----------------------------------------------------------------------------------------


@_operation("relu")
def _relu(builder: NetworkBuilder, x: Value) -> Value:
    return builder.clip(x, 0.0, inf)


@_operation("relu6")
def _relu6(builder: NetworkBuilder, x: Value) -> Value:
    return builder.clip(x, 0.0, 6.0)


@_operation("hardtanh")
def _hardtanh(builder: NetworkBuilder, x: Value, low: float = -1, high: float = 1) -> Value:
    return _clamp(builder, x, low, high)


@_operation("clamp", "clip")
def _clamp(builder: NetworkBuilder, x: Value, low: Any = None, high: Any = None) -> Value:
    bounds = [None if b is None else _scalar(b) for b in (low, high)]
    if bounds[0] is None:
        # min(x, high) needs a lower limit: 0 serves a value that is never negative.
        bounds[0] = 0.0 if isinstance(x, Expression) and builder.is_non_negative(x) else None
    if bounds[0] is None:
        raise Refusal("has no lower limit", "clip at 0 from below, as ReLU and ReLU6 do")
    return builder.clip(x, bounds[0], inf if bounds[1] is None else bounds[1])


@_operation("clamp_min", "maximum")
def _clamp_min(builder: NetworkBuilder, x: Any, low: Any) -> Value:
    return _clamp(builder, *((x, low) if _is_value(x) else (low, x)))


@_operation("clamp_max", "minimum")
def _clamp_max(builder: NetworkBuilder, x: Any, high: Any) -> Value:
    value, limit = (x, high) if _is_value(x) else (high, x)
    return _clamp(builder, value, None, limit)


@_operation("threshold")
def _threshold(builder: NetworkBuilder, x: Value, threshold: float, value: float) -> Value:
    if threshold != 0 or value != 0:
        raise Refusal(f"has threshold {threshold} and value {value}", "use ReLU")
    return builder.clip(x, 0.0, inf)


def _scalar(bound: Any) -> float:
    if _is_value(bound):
        raise Refusal("compares two activations", "clip at a constant")
    array = np.asarray(bound)
    if array.size != 1:
        raise Refusal("clips every channel at a limit of its own", "clip at one constant per layer")
    return float(array.reshape(()))


# Pooling -----------------------------------------------------------------------------------------


def _floor_windows(
    x: Value, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], ceil_mode: bool
) -> Pairs:
    """Return the padding; with `ceil_mode`, what makes floor mode see the same windows."""
    pairs = []
    for n, k, s, p in zip(x.shape[1:], kernel, stride, padding, strict=True):
        count = (n + 2 * p - k) // s + 1
        if ceil_mode and (n + 2 * p - k) % s and count * s < n + p:
            count += 1  # a partial window counts when it starts inside the input or the left padding
        pairs.append((p, max(p, (count - 1) * s + k - n - p)))
    return tuple(pairs)


def _pool_arguments(
    x: Value, kernel: Any, stride: Any, padding: Any, n: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    if len(x.shape) != n + 1:
        raise Refusal(f"pools a value of shape {x.shape}", "give it a channel axis")
    size = _ints(kernel, n)
    return size, _ints(stride, n) if stride else size, _ints(padding, n)


@_operation("avg_pool1d", "avg_pool2d", "avg_pool3d")
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
    pairs = _floor_windows(x, size, steps, pads, ceil_mode)
    if pairs != tuple((p, p) for p in pads):
        raise Refusal("has ceil_mode with a partial window at the border", "choose a size that the stride divides")
    if any(pads) and not count_include_pad and divisor_override is None:
        raise Refusal("averages over fewer values at the border", "use count_include_pad=True, or no padding")
    return layers.average_pool(x, size, steps, pairs, divisor_override)


@_operation("max_pool1d", "max_pool2d", "max_pool3d")
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
    if set(_ints(dilation, n)) != {1}:
        raise Refusal(f"has dilation {dilation}", "use a max pool without dilation")
    return builder.maximum(x, SumPool(size, steps, _floor_windows(x, size, steps, pads, ceil_mode)))


@_operation("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d")
def _adaptive_avg_pool(_: NetworkBuilder, x: Value, output: Any) -> Value:
    return layers.adaptive_average_pool(x, _ints(output, len(x.shape) - 1))


@_operation("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(builder: NetworkBuilder, x: Value, output: Any) -> Any:
    return (layers.adaptive_max_pool(builder, x, _ints(output, len(x.shape) - 1)), None)


@_operation("mean")
def _mean(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    return layers.reduce_axes(builder, x, _axes(x, dim), "mean", keepdim)


@_operation("sum")
def _sum(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    return layers.reduce_axes(builder, x, _axes(x, dim), "sum", keepdim)


@_operation("amax")
def _amax(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return layers.reduce_axes(builder, x, _axes(x, dim), "max", keepdim)


@_operation("max")
def _max(builder: NetworkBuilder, x: Value, dim: Any = None, keepdim: bool = False) -> Any:
    if _is_value(dim):
        raise Refusal("takes the greater of two activations", "use a max pool, or a sum")
    return (layers.reduce_axes(builder, x, _axes(x, dim), "max", keepdim), None)


# Moving values -----------------------------------------------------------------------------------


@_operation("dropout", "clone", "contiguous", "alias", "detach", "feature_dropout", "alpha_dropout", "lift_fresh_copy")
def _same(_: NetworkBuilder, x: Value, *rest: Any, **options: Any) -> Value:
    return x


@_operation("_to_copy", "to")
def _to_copy(_: NetworkBuilder, x: Value, *rest: Any, **options: Any) -> Value:
    dtype = options.get("dtype") or next((r for r in rest if isinstance(r, torch.dtype)), torch.float32)
    if not dtype.is_floating_point:
        raise Refusal(f"converts activations to {dtype}", "keep them floating point")
    return x


@_operation("view", "reshape", "_unsafe_view", "_reshape_copy", "view_copy")
def _reshape(_: NetworkBuilder, x: Value, size: Sequence[int]) -> Value:
    sizes = list(size)
    count = int(np.prod(x.shape)) * BATCH
    if -1 in sizes:
        known = -int(np.prod(sizes))
        sizes[sizes.index(-1)] = count // known if known else 0
    if not sizes or sizes[0] != BATCH:
        raise Refusal("mixes the pictures of a batch, or fixes its size", "reshape with x.shape[0] or flatten(1)")
    return layers.reshape(x, tuple(sizes[1:]))


@_operation("flatten")
def _flatten(_: NetworkBuilder, x: Value, start: int = 0, end: int = -1) -> Value:
    first, last = _axis(x, start), _axis(x, end)
    return layers.reshape(x, (*x.shape[:first], int(np.prod(x.shape[first : last + 1])), *x.shape[last + 1 :]))


@_operation("unflatten")
def _unflatten(_: NetworkBuilder, x: Value, dim: int, sizes: Sequence[int]) -> Value:
    axis = _axis(x, dim)
    inferred = [x.shape[axis] // -int(np.prod(sizes)) if n == -1 else n for n in sizes]
    return layers.reshape(x, (*x.shape[:axis], *inferred, *x.shape[axis + 1 :]))


@_operation("squeeze")
def _squeeze(_: NetworkBuilder, x: Value, dim: Any = None) -> Value:
    rank = len(x.shape) + 1
    dims = range(1, rank) if dim is None else [d % rank for d in ([dim] if isinstance(dim, int) else dim)]
    return layers.reshape(x, tuple(n for a, n in enumerate(x.shape, start=1) if n != 1 or a not in dims))


@_operation("unsqueeze")
def _unsqueeze(_: NetworkBuilder, x: Value, dim: int) -> Value:
    axis = dim + len(x.shape) + 2 if dim < 0 else dim
    if axis == 0:
        raise Refusal("adds an axis before the batch", "keep the batch axis first")
    return layers.reshape(x, (*x.shape[: axis - 1], 1, *x.shape[axis - 1 :]))


@_operation("permute")
def _permute(_: NetworkBuilder, x: Value, dims: Sequence[int]) -> Value:
    rank = len(x.shape) + 1
    axes = [d % rank for d in dims]
    if axes[0] != 0:
        raise Refusal("moves the batch axis", "keep the batch axis first")
    return x.through(Permute(tuple(a - 1 for a in axes[1:])))


@_operation("transpose", "swapaxes")
def _transpose(_: NetworkBuilder, x: Value, first: int, second: int) -> Value:
    a, b = _axis(x, first), _axis(x, second)
    axes = list(range(len(x.shape)))
    axes[a], axes[b] = b, a
    return x.through(Permute(tuple(axes)))


@_operation("slice")
def _slice(_: NetworkBuilder, x: Value, dim: int = 0, start: Any = None, stop: Any = None, step: int = 1) -> Value:
    if dim in (0, -len(x.shape) - 1):
        if (start or 0, step) == (0, 1) and (stop is None or stop >= BATCH):
            return x
        _axis(x, dim)
    axis = _axis(x, dim)
    begin, end, _stride = slice(start, stop, step).indices(x.shape[axis])
    return layers.take(x, axis, begin, end, step)


@_operation("select")
def _select(_: NetworkBuilder, x: Value, dim: int, index: int) -> Value:
    axis = _axis(x, dim)
    index = index % x.shape[axis]
    return layers.reshape(layers.take(x, axis, index, index + 1, 1), (*x.shape[:axis], *x.shape[axis + 1 :]))


@_operation("split", "split_with_sizes", "chunk")
def _split(_: NetworkBuilder, x: Value, sizes: Any, dim: int = 0) -> tuple[Value, ...]:
    axis = _axis(x, dim)
    n = x.shape[axis]
    if isinstance(sizes, int):
        sizes = [min(sizes, n - i) for i in range(0, n, sizes)]
    parts, start = [], 0
    for size in sizes:
        parts.append(layers.take(x, axis, start, start + size, 1))
        start += size
    return tuple(parts)


@_operation("unbind")
def _unbind(builder: NetworkBuilder, x: Value, dim: int = 0) -> tuple[Value, ...]:
    return tuple(_select(builder, x, dim, i) for i in range(x.shape[_axis(x, dim)]))


@_operation("cat", "concat", "concatenate")
def _cat(_: NetworkBuilder, parts: Sequence[Any], dim: int = 0) -> Value:
    like = next(p for p in parts if _is_value(p))
    axis = _axis(like, dim)
    values = []
    for part in parts:
        if _is_value(part):
            values.append(settled(part))
        else:
            array = _constant(like, part)
            values.append(Expression(array.shape, (), array))
    return concatenate(values, axis)


@_operation("pad", "constant_pad_nd")
def _pad(_: NetworkBuilder, x: Value, pad: Sequence[int], mode: Any = "constant", value: Any = None) -> Value:
    fill = mode if isinstance(mode, int | float) else value
    if isinstance(mode, str) and mode != "constant":
        raise Refusal(f"pads by {mode!r}", "pad with zeros")
    if fill:
        raise Refusal(f"pads with {fill}", "pad with zeros")
    around = [(0, 0)] * (len(x.shape) + 1)
    for i in range(len(pad) // 2):
        around[-1 - i] = (pad[2 * i], pad[2 * i + 1])
    if around[0] != (0, 0):
        _axis(x, 0)
    for axis, (before, after) in enumerate(around[1:]):
        if before < 0 or after < 0:
            x = layers.take(x, axis, max(-before, 0), x.shape[axis] - max(-after, 0), 1)
    grown = tuple((max(b, 0), max(a, 0)) for b, a in around[1:])
    return settled(x).through(Pad(grown)) if any(n for pair in grown for n in pair) else x


@_operation("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def _nearest(_: NetworkBuilder, x: Value, output: Any, *factors: Any) -> Value:
    return layers.upsample_nearest(x, _upsampled(x, output, factors))


@_operation("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
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


@_operation("pixel_shuffle")
def _pixel_shuffle(_: NetworkBuilder, x: Value, r: int) -> Value:
    c, h, w = x.shape
    split = layers.reshape(x, (c // (r * r), r, r, h, w)).through(Permute((0, 3, 1, 4, 2)))
    return layers.reshape(split, (c // (r * r), h * r, w * r))


@_operation("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(_: NetworkBuilder, x: Value, groups: int) -> Value:
    c, *rest = x.shape
    axes = (1, 0, *range(2, len(rest) + 2))
    return layers.reshape(layers.reshape(x, (groups, c // groups, *rest)).through(Permute(axes)), x.shape)


# Refusals ----------------------------------------------------------------------------------------

_RELU = "use ReLU or ReLU6 and train again"
_ADVICE = {
    "leaky_relu": _RELU,
    "prelu": _RELU,
    "rrelu": _RELU,
    "elu": _RELU,
    "selu": _RELU,
    "celu": _RELU,
    "gelu": _RELU,
    "silu": _RELU,
    "mish": _RELU,
    "hardswish": _RELU,
    "softplus": _RELU,
    "tanh": _RELU,
    "abs": _RELU,
    "sigmoid": f"remove it from the network's end (a decision does not need it), or inside {_RELU}",
    "hardsigmoid": f"remove it from the network's end (a decision does not need it), or inside {_RELU}",
    "softmax": "remove it from the network's end: the class with the greatest logit stays the same",
    "_softmax": "remove it from the network's end: the class with the greatest logit stays the same",
    "log_softmax": "remove it from the network's end: the class with the greatest logit stays the same",
    "layer_norm": "use BatchNorm, which is a fixed scale after training",
    "native_layer_norm": "use BatchNorm, which is a fixed scale after training",
    "group_norm": "use BatchNorm, which is a fixed scale after training",
    "instance_norm": "use BatchNorm, which is a fixed scale after training",
    "rms_norm": "use BatchNorm, which is a fixed scale after training",
    "argmax": "return the logits; every report takes the argmax itself",
    "scaled_dot_product_attention": "attention multiplies activations; use convolutions and ReLU",
    "bmm": "it multiplies two activations; use fixed weights",
    "lstm": "recurrent layers are not supported; use convolutions over time and ReLU",
    "gru": "recurrent layers are not supported; use convolutions over time and ReLU",
    "embedding": "feed real-valued inputs",
    "max_pool2d_with_indices": "return_indices is not supported; use the maxima alone",
}


def advice(operation: str) -> str:
    """Return what would work instead of an unsupported operation."""
    return _ADVICE.get(operation, "docs/layers.md lists the operations that convert")
