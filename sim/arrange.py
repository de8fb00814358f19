"""Operators that keep payloads bytes: those that move them, and sums that fit."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from sim import scan
from sim.kernels import apply_chain
from toolchain.netlist import Conv, Linear, Operator, Pad, Permute, Reshape, Slice, SumPool, Weighted


def arrange(operators: tuple[Operator, ...], payload: Tensor) -> Tensor:
    """Apply structural operators to bytes (B, *shape); sums must fit a byte."""
    for operator in operators:
        if isinstance(operator, SumPool):
            payload = sum_pool(operator, payload, payload.dtype)
        else:
            payload = apply_chain((operator,), payload)
    return payload


def pair(values: tuple[int, ...], fill: int) -> tuple[int, int]:
    """Give a geometry of one or two spatial axes as that of two."""
    return (fill, values[0]) if len(values) == 1 else (values[0], values[1])


def sum_pool(operator: SumPool, payload: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum bytes (B, C, spatial...) over windows of one or two axes, in a type that must hold the sums."""
    channels, *spatial = operator.output_shape(tuple(payload.shape[1:]))
    x = payload.movedim(1, -1).contiguous()
    out = torch.empty((x.shape[0], *spatial, channels), dtype=dtype)
    planes = (x.unsqueeze(1), out.unsqueeze(1)) if len(spatial) == 1 else (x, out)
    scan.sum_windows(
        planes[0].numpy(),
        pair(operator.kernel, 1),
        pair(operator.stride, 1),
        pair(tuple(before for before, _ in operator.padding), 0),
        planes[1].numpy(),
    )
    return out.movedim(-1, 1)


def structural(operators: tuple[Operator, ...], payload: int, most: int = 255) -> int:
    """Count the leading operators that `arrange` can apply to bytes up to `payload`.

    All but sums move bytes or add zeros. A sum may reach `payload` times the size of its window, and so on from sum
    to sum: bytes hold it up to `most`.
    """
    for count, operator in enumerate(operators):
        if isinstance(operator, SumPool) and len(operator.kernel) <= 2:
            payload *= prod(operator.kernel)
        elif not isinstance(operator, Reshape | Permute | Slice | Pad):
            return count
        if payload > most:
            return count
    return len(operators)


def split_at_product(
    operators: tuple[Operator, ...], payload: int, most: int = 255
) -> tuple[tuple[Operator, ...], Conv | Linear, tuple[Operator, ...]] | None:
    """Split a chain into what moves bytes, the operator of int8 weights that multiplies them, what moves the result.

    None where it is no such chain: more products or sums behind the first would be floats' work after all.
    """
    start = structural(operators, payload, most)
    before, rest = operators[:start], operators[start:]
    if not rest or any(isinstance(o, Weighted | SumPool) for o in rest[1:]):
        return None
    operator, after = rest[0], rest[1:]
    if not isinstance(operator, Conv | Linear) or operator.weight.min() < -128 or operator.weight.max() > 127:
        return None
    return before, operator, after
