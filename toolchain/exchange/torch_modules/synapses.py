"""A connection's operators as ordinary torch layers, which other tools know how to look at.

Convolutions, matrices and factors become `nn.Conv1d`, `nn.Conv2d`, `nn.Conv3d` and `nn.Linear`; a sum pooling that
a convolution or matrix follows is merged into its weights, as the synapses of a chip are. All values are
integers in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sim import kernels
from toolchain.exchange.lowering import merge_pool
from toolchain.netlist import (
    Connection,
    Conv,
    Linear,
    Operator,
    Pad,
    Population,
    Reshape,
    Scale,
    Shape,
    SumPool,
    UnsupportedError,
    bound_partial_sums,
    chain_matrix,
    chain_shapes,
)

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
#: A pooling merged into a matrix may make it at most this many times larger.
MAX_MATRIX = 1 << 26


class Structure(nn.Module):
    """Operators without weights: they move, repeat or add values."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        super().__init__()
        self.operators = tuple(operators)

    def forward(self, x: Tensor) -> Tensor:
        """Return the operators applied to a batch (N, ...)."""
        return kernels.apply_chain(self.operators, x)


def synapse_layers(connection: Connection, source: Population) -> nn.Sequential:
    """Return a connection as torch layers on float64 payloads (N, *source shape).

    Raises
    ------
    UnsupportedError
        When its sums could leave the integers that float64 holds.
    """
    bound = bound_partial_sums(connection, source)
    if bound > 2**53:
        raise UnsupportedError(connection.name, f"sums reach {bound}, more than float64 holds exactly (2**53)")
    layers: list[nn.Module] = []
    operators = _merge_pools(connection.name, connection.operators, source.shape)
    for operator, shape in zip(operators, chain_shapes(operators, source.shape), strict=False):
        layers += _layers(operator, shape)
    return nn.Sequential(*layers)


def _merge_pools(where: str, operators: tuple[Operator, ...], shape: Shape) -> tuple[Operator, ...]:
    """Merge each sum pooling into the weights right behind it, where windows tile the input."""
    merged: list[Operator] = []
    shapes = chain_shapes(operators, shape)
    position = 0
    while position < len(operators):
        operator, before = operators[position], shapes[position]
        rest = operators[position + 1 :]
        match operator, *rest[:2]:
            case SumPool() as pool, Conv() as conv, *_ if _tiles(pool, before) and set(conv.dilation) == {1}:
                merged.append(merge_pool(where, pool, conv, before))
                position += 2
            case SumPool() as pool, Reshape() as flat, Linear() as matrix if (
                math.prod(before) * len(matrix.weight) <= MAX_MATRIX
            ):
                merged += [Reshape((math.prod(before),)), Linear(chain_matrix((pool, flat, matrix), before))]
                position += 3
            case _:
                merged.append(operator)
                position += 1
    return tuple(merged)


def _tiles(pool: SumPool, shape: Shape) -> bool:
    return (
        pool.kernel == pool.stride
        and not any(p for pair in pool.padding for p in pair)
        and all(n % k == 0 for n, k in zip(shape[1:], pool.kernel, strict=True))
    )


def _layers(operator: Operator, shape: Shape) -> list[nn.Module]:
    match operator:
        case Conv(weight, stride, padding, dilation, groups):
            even = tuple(before for before, _ in padding)
            uneven = [(0, 0), *padding] if any(a != b for a, b in padding) else None
            layer = _CONV[len(stride)](
                shape[0],
                weight.shape[0],
                weight.shape[2:],  # type: ignore[arg-type]
                stride,  # type: ignore[arg-type]
                0 if uneven else even,  # type: ignore[arg-type]
                dilation,  # type: ignore[arg-type]
                groups,
                bias=False,
            )
            return [*([Structure([Pad(tuple(uneven))])] if uneven else []), _set(layer, weight)]
        case Linear(weight):
            return [_set(nn.Linear(weight.shape[1], weight.shape[0], bias=False), weight)]
        case Scale(weight) if len(shape) > 1:
            axes = len(shape) - 1
            layer = _CONV[axes](shape[0], shape[0], 1, groups=shape[0], bias=False)
            return [_set(layer, weight.reshape(-1, 1, *(1 for _ in range(axes))))]
        case Scale(weight):
            return [_set(nn.Linear(shape[0], shape[0], bias=False), np.diag(weight))]
    return [Structure([operator])]


def _set(layer: nn.Module, weight: np.ndarray) -> nn.Module:
    layer.weight = nn.Parameter(torch.from_numpy(weight.astype(np.float64)), requires_grad=False)
    return layer
