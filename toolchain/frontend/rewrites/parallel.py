"""Joining parallel paths from one source: several weights in parallel are one weight.

A residual sum around a single convolution, or the branches of RepVGG, would be several connections
between the same two units. Where one kernel can hold the sum, one connection costs fewer synapses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.frontend.rewrites.rule import Chain, SumRule, Zero, sums
from toolchain.frontend.rewrites.simplify import simplify
from toolchain.netlist import Conv, Linear, Operator, Scale, Shape, chain_shapes


@sums
def scale_and_scale(first: Scale, second: Scale) -> Operator:
    """``Scale + Scale = Scale``."""
    return Scale(first.weight + second.weight)


@sums
def matrix_and_matrix(first: Linear, second: Linear) -> Operator:
    """``Linear + Linear = Linear``."""
    return Linear(first.weight + second.weight)


@sums
def matrix_and_scale(first: Linear, second: Scale) -> Operator | None:
    """``Linear + Scale = Linear`` of a square matrix, whose diagonal the scale adds to."""
    rows, columns = first.weight.shape
    return Linear(first.weight + np.diag(second.weight)) if rows == columns else None


@sums
def convolution_and_convolution(first: Conv, second: Conv) -> Operator | None:
    """``Conv + Conv = Conv`` where the first kernel has offsets that see the pixels of the second."""
    return _embedded(first, second)


@sums
def convolution_and_scale(first: Conv, second: Scale) -> Operator | None:
    """``Conv + Scale = Conv`` of stride 1, whose kernels the scale adds to at the offset of the pixel itself."""
    pointwise = _as_convolution(second, first)
    return None if pointwise is None else _embedded(first, pointwise)


#: No two of them take the same operators.
SUM_RULES: tuple[SumRule, ...] = (
    scale_and_scale,
    matrix_and_matrix,
    matrix_and_scale,
    convolution_and_convolution,
    convolution_and_scale,
)


def join_parallel(chains: list[Chain], shape: Shape) -> list[Chain]:
    """Merge chains that start at one source, as far as possible; their sum stays the same.

    Parameters
    ----------
    chains : list of tuple of Operator
        Simplified.
    shape : tuple of int
        Shape of the source.
    """
    joined: list[Chain] = []
    for chain in chains:
        for i, other in enumerate(joined):
            total = _sum(other, chain, shape)
            if total is not None:
                joined[i] = total
                break
        else:
            joined.append(chain)
    return joined


def _sum(a: Chain, b: Chain, shape: Shape) -> Chain | None:
    """Return one chain equal to the sum of two, which may differ in one operator; None where none is known."""
    head = _common(a, b)
    if head == len(a) == len(b):
        doubled = simplify((*a, Scale(np.full(chain_shapes(a, shape)[-1][0], 2.0))), shape)
        return None if isinstance(doubled, Zero) else doubled
    tail = _common(a[head:][::-1], b[head:][::-1])
    middles = a[head : len(a) - tail], b[head : len(b) - tail]
    if any(len(middle) > 1 for middle in middles):
        return None
    channels = chain_shapes(a[:head], shape)[-1][0]
    one, other = (middle[0] if middle else Scale(np.ones(channels)) for middle in middles)
    totals = (total for rule in SUM_RULES if (total := rule.add(one, other)) is not None)
    return next(((*a[:head], total, *a[len(a) - tail :]) for total in totals), None)


def _common(a: Chain, b: Chain) -> int:
    """Return how many operators two chains begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if not _same(x, y)), min(len(a), len(b)))


def _same(a: Operator, b: Operator) -> bool:
    """Return whether two operators are equal, weights included."""
    if type(a) is not type(b):
        return False
    mine, theirs = vars(a), vars(b)
    return all(_equal(mine[k], theirs[k]) for k in mine)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and a and isinstance(a[0], np.ndarray):
        return len(a) == len(b) and all(map(np.array_equal, a, b))
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)


def _as_convolution(scale: Scale, like: Conv) -> Conv | None:
    """Return a scale as a 1x1 convolution with the groups of `like`."""
    c_out, per_group = like.weight.shape[:2]
    if c_out != per_group * like.groups or set(like.stride) != {1}:
        return None
    axes = like.weight.ndim - 2
    weight = np.zeros((c_out, per_group, *(1,) * axes))
    weight.reshape(c_out, per_group)[np.arange(c_out), np.arange(c_out) % per_group] = scale.weight
    return Conv(weight, like.stride, ((0, 0),) * axes, like.dilation, like.groups)


def _embedded(big: Conv, small: Conv) -> Conv | None:
    """Return `big` with the kernel of `small` added at the offsets that see the same pixels."""
    if (big.stride, big.groups) != (small.stride, small.groups) or big.weight.shape[:2] != small.weight.shape[:2]:
        return None
    index: list[slice] = []
    for axis, (k_big, k_small) in enumerate(zip(big.weight.shape[2:], small.weight.shape[2:], strict=True)):
        step = big.dilation[axis]
        if k_small > 1 and step != small.dilation[axis]:
            return None
        offset, rest = divmod(big.padding[axis][0] - small.padding[axis][0], step)
        if rest or offset < 0 or offset + k_small > k_big:
            return None
        index.append(slice(offset, offset + k_small))
    weight = big.weight.copy()
    weight[(slice(None), slice(None), *index)] += small.weight
    return replace(big, weight=weight)
