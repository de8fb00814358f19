"""Joining parallel paths from one source: several weights in parallel are one weight.

A residual sum around a single convolution, or the branches of RepVGG, would be several connections
between the same two units. Where one kernel can hold the sum, one connection costs fewer synapses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.frontend.simplify import Chain, simplify
from toolchain.netlist import Conv, Linear, Operator, Scale, Shape, Weighted, chain_shapes


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
    """Return one chain equal to the sum of two, or None."""
    head = 0
    while head < min(len(a), len(b)) and _same(a[head], b[head]):
        head += 1
    if head == len(a) == len(b):
        doubled = (*a, Scale(np.full(chain_shapes(a, shape)[-1][0], 2.0)))
        return simplify(doubled, shape)
    tail = 0
    while tail < min(len(a), len(b)) - head and _same(a[-1 - tail], b[-1 - tail]):
        tail += 1
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    before = chain_shapes(a[:head], shape)[-1]
    if len(middle_a) > 1 or len(middle_b) > 1:
        return None
    one = middle_a[0] if middle_a else Scale(np.ones(before[0]))
    other = middle_b[0] if middle_b else Scale(np.ones(before[0]))
    if not isinstance(one, Weighted) or not isinstance(other, Weighted):
        return None
    total = _parallel(one, other, before)
    return None if total is None else (*a[:head], total, *a[len(a) - tail :])


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


def _parallel(a: Weighted, b: Weighted, shape: Shape) -> Operator | None:
    match a, b:
        case (Scale(v), Scale(w)) | (Linear(v), Linear(w)):
            return replace(a, weight=v + w)
        case (Linear(v), Scale(w)) | (Scale(w), Linear(v)) if v.shape[0] == v.shape[1]:
            return Linear(v + np.diag(w))
        case Conv(), Conv():
            return _embedded(a, b) or _embedded(b, a)
        case (Conv() as conv, Scale(w)) | (Scale(w), Conv() as conv):
            pointwise = _as_conv(w, conv)
            return None if pointwise is None else _embedded(conv, pointwise)
    return None


def _as_conv(w: np.ndarray, like: Conv) -> Conv | None:
    """Return ``Scale(w)`` as a 1x1 convolution with the groups of `like`."""
    c_out, per_group = like.weight.shape[:2]
    if c_out != per_group * like.groups or set(like.stride) != {1}:
        return None
    axes = like.weight.ndim - 2
    weight = np.zeros((c_out, per_group, *(1,) * axes))
    weight.reshape(c_out, per_group)[np.arange(c_out), np.arange(c_out) % per_group] = w
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
