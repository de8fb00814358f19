"""ATen operations that move values: reshapes, slices, pads, concatenations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolchain.frontend import layers
from toolchain.frontend.advice import ACTIVE_DROPOUT
from toolchain.frontend.batch_axis import AnyValue, permute, reshape, whole_shape
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.curves import is_truth
from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.from_torch.arguments import stay_floating
from toolchain.frontend.operations import (
    OperationTable,
    is_value,
    join,
    sample_axis,
    select,
    squeeze,
    take,
    unsqueeze,
)
from toolchain.netlist import Permute

MOVES = OperationTable()


@MOVES.operation("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
def _dropout(_: NetworkBuilder, x: Value, p: float, train: bool) -> Value:
    if train and p:
        raise Refusal("is active", ACTIVE_DROPOUT)
    return x


@MOVES.operation("clone", "contiguous", "alias", "detach", "lift_fresh_copy", anywhere=True)
def _same(_: NetworkBuilder, x: AnyValue, *rest: Any, **options: Any) -> AnyValue:
    return x


@MOVES.operation("zeros_like", "new_zeros")
def _zeros_like(builder: NetworkBuilder, x: Value, size: Sequence[int] | None = None, **options: Any) -> Tensor:
    return torch.zeros(size if size is not None else (builder.batch, *x.shape), dtype=torch.float64)


@MOVES.operation("ones_like", "new_ones")
def _ones_like(builder: NetworkBuilder, x: Value, size: Sequence[int] | None = None, **options: Any) -> Tensor:
    return torch.ones(size if size is not None else (builder.batch, *x.shape), dtype=torch.float64)


@MOVES.operation("full_like")
def _full_like(builder: NetworkBuilder, x: Value, fill: float, **options: Any) -> Tensor:
    dtype = options.get("dtype") or torch.float64
    wide = torch.float64 if dtype.is_floating_point else dtype  # whole numbers cut the fill
    return torch.full((builder.batch, *x.shape), fill, dtype=wide).double()


@MOVES.operation("_assert_tensor_metadata")
def _nothing(_: NetworkBuilder, x: Value, *rest: Any, **options: Any) -> None:
    return None


@MOVES.operation("_to_copy", "to", anywhere=True)
def _to_copy(builder: NetworkBuilder, x: AnyValue, *rest: Any, **options: Any) -> AnyValue:
    if not is_truth(builder, x):
        stay_floating(options.get("dtype") or next((r for r in rest if isinstance(r, torch.dtype)), None))
    return x


@MOVES.operation("view", "reshape", "_unsafe_view", "_reshape_copy", "view_copy", anywhere=True)
def _reshape(builder: NetworkBuilder, x: AnyValue, size: Sequence[int]) -> AnyValue:
    return reshape(x, size, builder.batch)


@MOVES.operation("flatten")
def _flatten(_: NetworkBuilder, x: Value, start: int = 0, end: int = -1) -> Value:
    first, last = sample_axis(x, start), sample_axis(x, end)
    return layers.reshape(x, (*x.shape[:first], int(np.prod(x.shape[first : last + 1])), *x.shape[last + 1 :]))


@MOVES.operation("unflatten")
def _unflatten(_: NetworkBuilder, x: Value, dim: int, sizes: Sequence[int]) -> Value:
    axis = sample_axis(x, dim)
    inferred = [x.shape[axis] // -int(np.prod(sizes)) if n == -1 else n for n in sizes]
    return layers.reshape(x, (*x.shape[:axis], *inferred, *x.shape[axis + 1 :]))


@MOVES.operation("squeeze", anywhere=True)
def _squeeze(builder: NetworkBuilder, x: AnyValue, dim: Any = None) -> AnyValue:
    return squeeze(x, [dim] if isinstance(dim, int) else dim, builder.batch)


@MOVES.operation("unsqueeze", anywhere=True)
def _unsqueeze(builder: NetworkBuilder, x: AnyValue, dim: int) -> AnyValue:
    return unsqueeze(x, [dim], builder.batch)


@MOVES.operation("permute", anywhere=True)
def _permute(builder: NetworkBuilder, x: AnyValue, dims: Sequence[int]) -> AnyValue:
    return permute(x, dims, builder.batch)


@MOVES.operation("transpose", "swapaxes", anywhere=True)
def _transpose(builder: NetworkBuilder, x: AnyValue, first: int, second: int) -> AnyValue:
    dims = list(range(len(whole_shape(x, builder.batch))))
    dims[first], dims[second] = dims[second], dims[first]
    return permute(x, dims, builder.batch)


@MOVES.operation("slice", anywhere=True)
def _slice(
    builder: NetworkBuilder, x: AnyValue, dim: int = 0, start: Any = None, stop: Any = None, step: int = 1
) -> AnyValue:
    return take(x, dim, start, stop, step, builder.batch)


@MOVES.operation("select", anywhere=True)
def _select(builder: NetworkBuilder, x: AnyValue, dim: int, index: int) -> AnyValue:
    return select(x, dim, index, builder.batch)


@MOVES.operation("split", "split_with_sizes", "chunk")
def _split(_: NetworkBuilder, x: Value, sizes: Any, dim: int = 0) -> tuple[Value, ...]:
    axis = sample_axis(x, dim)
    n = x.shape[axis]
    if isinstance(sizes, int):
        sizes = [min(sizes, n - i) for i in range(0, n, sizes)]
    return layers.split(x, axis, sizes)


@MOVES.operation("unbind", anywhere=True)
def _unbind(builder: NetworkBuilder, x: AnyValue, dim: int = 0) -> tuple[AnyValue, ...]:
    return tuple(select(x, dim, i, builder.batch) for i in range(whole_shape(x, builder.batch)[dim]))


@MOVES.operation("cat", "concat", "concatenate")
def _cat(_: NetworkBuilder, parts: Sequence[Any], dim: int = 0) -> Value:
    return join(parts, dim)


@MOVES.operation("stack")
def _stack(builder: NetworkBuilder, parts: Sequence[Any], dim: int = 0) -> Value:
    rank = next(len(whole_shape(p, builder.batch)) for p in parts if is_value(p))
    at = dim % (rank + 1)
    if at == 0:
        raise Refusal("adds an axis before the batch", "keep the batch axis first")
    lifted = [unsqueeze(p, [at], builder.batch) if is_value(p) else np.expand_dims(p, at) for p in parts]
    return join(lifted, at)


@MOVES.operation("pixel_shuffle")
def _pixel_shuffle(_: NetworkBuilder, x: Value, r: int) -> Value:
    return layers.pixel_shuffle(x, r)


@MOVES.operation("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(_: NetworkBuilder, x: Value, groups: int) -> Value:
    c, *rest = x.shape
    axes = (1, 0, *range(2, len(rest) + 2))
    return layers.reshape(layers.reshape(x, (groups, c // groups, *rest)).through(Permute(axes)), x.shape)
