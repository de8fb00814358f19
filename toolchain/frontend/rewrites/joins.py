"""Operators that change nothing go, and neighbours that are one map become one operator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.frontend.rewrites.rule import Chain, Rewritten, neighbours, rule
from toolchain.netlist import Conv, Linear, Operator, Pad, Permute, Reshape, Shape, Slice, SumPool


@rule
def identity(chain: Chain, position: int, shapes: tuple[Shape, ...]) -> Rewritten:
    """``M = nothing`` where M changes nothing."""
    if not _changes_nothing(chain[position], shapes[position]):
        return None
    return (*chain[:position], *chain[position + 1 :])


def _changes_nothing(operator: Operator, shape: Shape) -> bool:
    match operator:
        case Pad(padding):
            return not any(n for pair in padding for n in pair)
        case Slice(axis, start, stop, step):
            return (start, stop, step) == (0, shape[axis], 1)
        case Reshape(new):
            return new == shape
        case Permute(axes):
            return axes == tuple(range(len(axes)))
        case SumPool(kernel, stride, padding):
            return {*kernel, *stride} == {1} and not any(n for pair in padding for n in pair)
    return False


@neighbours
def reshape_of_a_reshape(first: Reshape, second: Reshape, shape: Shape) -> Chain:
    """``Reshape -> Reshape = Reshape``: the last one says it all."""
    return (second,)


@neighbours
def permutation_of_a_permutation(first: Permute, second: Permute, shape: Shape) -> Chain:
    """``Permute -> Permute = Permute``."""
    return (Permute(tuple(first.axes[a] for a in second.axes)),)


@neighbours
def matrix_of_a_matrix(first: Linear, second: Linear, shape: Shape) -> Chain:
    """``Linear -> Linear = Linear``: two matrices are their product."""
    return (Linear(second.weight @ first.weight),)


# Nothing on a chip would hold the values between two convolutions: one set of synapses has fewer paths.


@neighbours
def convolution_of_a_pointwise_one(first: Conv, second: Conv, shape: Shape) -> Chain | None:
    """``Conv 1x1 -> Conv = Conv`` without groups, the first of stride 1: it mixes the second's input channels."""
    if first.groups != 1 or second.groups != 1 or not _is_pointwise(first) or set(first.stride) != {1}:
        return None
    mixed = np.tensordot(second.weight, first.weight.reshape(first.weight.shape[:2]), axes=(1, 0))
    return (replace(second, weight=np.moveaxis(mixed, -1, 1)),)


@neighbours
def pointwise_convolution(first: Conv, second: Conv, shape: Shape) -> Chain | None:
    """``Conv -> Conv 1x1 = Conv`` without groups: the second mixes the first's output channels; strides multiply."""
    if first.groups != 1 or second.groups != 1 or not _is_pointwise(second):
        return None
    mixed = np.tensordot(second.weight.reshape(second.weight.shape[:2]), first.weight, axes=(1, 0))
    stride = tuple(a * b for a, b in zip(first.stride, second.stride, strict=True))
    return (replace(first, weight=mixed, stride=stride),)


def _is_pointwise(conv: Conv) -> bool:
    return set(conv.weight.shape[2:]) == {1} and not any(n for pair in conv.padding for n in pair)
