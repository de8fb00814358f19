"""Weights behind weights become one weight.

Nothing on a chip would hold the values between two convolutions: every path through both is a synapse, and one set of
synapses has fewer paths. Nor is there room for the product of two integers of full width (`toolchain.quantize`). What
would need many more numbers than its factors is left as it is.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import gcd, prod
from typing import Any

import numpy as np

from toolchain.frontend.rewrites.rule import Chain, Rewritten, neighbours, rule
from toolchain.netlist import (
    Conv,
    ConvTranspose,
    Linear,
    Operator,
    Pairs,
    Reshape,
    Scale,
    Shape,
    Weighted,
    adjoint,
    fan_out,
)

#: Numbers that a composed weight may always hold; a greater one at most twice as many as its factors. A kernel of
#: 3 x 3 behind another between 16 channels has 6,400, a matrix from 16 x 32 x 32 values to 10 classes 163,840.
_SMALL_KERNEL, _SMALL_MATRIX = 2**14, 2**18
_GROWTH = 2
#: Inputs of a composed matrix, at most: the work of fitting it in calibration grows with their square.
_INPUTS = 2**12


@neighbours
def matrix_of_a_matrix(first: Linear, second: Linear, shape: Shape) -> Chain:
    """``Linear -> Linear = Linear``: two matrices are their product."""
    return (Linear(second.weight @ first.weight),)


@rule
def matrix_behind_a_weight(chain: Chain, position: int, shapes: tuple[Shape, ...]) -> Rewritten:
    """``W -> M -> Linear = Reshape -> Linear``: the matrix of all of them, where that is small."""
    if not isinstance(chain[position], Conv | ConvTranspose | Scale):
        return None
    end = next((i for i in range(position + 1, len(chain)) if isinstance(chain[i], Weighted)), position)
    last = chain[end]
    if not isinstance(last, Linear):
        return None
    shape, between = shapes[position], chain[position : end + 1]
    numbers = last.weight.shape[0] * prod(shape)
    small = _is_worth_it(numbers, between, _SMALL_MATRIX) and prod(shape) <= _INPUTS
    if not small or numbers > fan_out(between, shape).sum():
        return None
    rows = last.weight
    for operator, before in zip(reversed(chain[position:end]), reversed(shapes[position:end]), strict=True):
        rows = adjoint(operator, rows, before)
    matrix = Linear(np.ascontiguousarray(rows.reshape(len(rows), -1)))
    return (*chain[:position], Reshape((prod(shape),)), matrix, *chain[end + 1 :])


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


@neighbours
def convolution_of_a_convolution(first: Conv, second: Conv, shape: Shape) -> Chain | None:
    """``Conv -> Conv = Conv``: offsets add up, in units of the first's stride.

    Padding of the second is zeros; there the composed kernel would see what the first makes of the border, unless the
    first is 1x1.
    """
    padded = any(n for pair in second.padding for n in pair)
    if padded and not (_is_pointwise(first) and set(first.stride) == {1}):
        return None
    groups = gcd(first.groups, second.groups)
    steps, extents = [], []
    for k1, k2, s1, d1, d2 in zip(
        first.weight.shape[2:], second.weight.shape[2:], first.stride, first.dilation, second.dilation, strict=True
    ):
        step = gcd(d1 if k1 > 1 else 0, s1 * d2 if k2 > 1 else 0) or 1
        steps.append(step)
        extents.append(((k1 - 1) * d1 + (k2 - 1) * s1 * d2) // step + 1)
    kernel = (second.weight.shape[0], first.weight.shape[1] * first.groups // groups, *extents)
    if not _is_worth_it(prod(kernel), (first, second), _SMALL_KERNEL):
        return None
    one, other = _regrouped(first, groups), _regrouped(second, groups)
    weight = np.zeros((groups, kernel[0] // groups, *kernel[1:]))
    for offset in product(*(range(k) for k in second.weight.shape[2:])):
        index = [
            slice(s1 * d2 * j // step, s1 * d2 * j // step + (k1 - 1) * d1 // step + 1, d1 // step if k1 > 1 else 1)
            for j, k1, s1, d1, d2, step in zip(
                offset, first.weight.shape[2:], first.stride, first.dilation, second.dilation, steps, strict=True
            )
        ]
        weight[(slice(None), slice(None), slice(None), *index)] += np.einsum(
            "gom,gmi...->goi...", other[_last(offset)], one
        )
    stride = tuple(a * b for a, b in zip(first.stride, second.stride, strict=True))
    padding = second.padding if padded else first.padding
    composed = Conv(weight.reshape(kernel), stride, padding, tuple(steps), groups)
    return (composed,) if _has_no_more_paths(composed, (first, second), shape) else None


@neighbours
def transposed_convolution_of_a_pointwise_one(first: Conv, second: ConvTranspose, shape: Shape) -> Chain | None:
    """``Conv 1x1 -> ConvTranspose = ConvTranspose`` without groups, the first of stride 1: it mixes the inputs."""
    if first.groups != 1 or second.groups != 1 or not _is_pointwise(first) or set(first.stride) != {1}:
        return None
    mixed = np.tensordot(first.weight.reshape(first.weight.shape[:2]), second.weight, axes=(0, 0))
    return (replace(second, weight=mixed),)


@neighbours
def convolution_of_a_transposed_one(first: ConvTranspose, second: Conv, shape: Shape) -> Chain | None:
    """``ConvTranspose -> Conv = ConvTranspose`` without groups, the second of stride 1: offsets add up.

    Nothing lies beyond the full output of the first: where nothing is cut from it, padding of the second reads zeros in
    both. Where something is cut, padding would read zeros in place of it.
    """
    plain = first.groups == second.groups == 1 and set(second.stride) == set(second.dilation) == {1}
    padded = any(n for pair in second.padding for n in pair)
    if not plain or (padded and any(n for pair in first.padding for n in pair)):
        return None
    k1, k2 = first.weight.shape[2:], second.weight.shape[2:]
    kernel = (first.weight.shape[0], second.weight.shape[0], *(a + b - 1 for a, b in zip(k1, k2, strict=True)))
    if not _is_worth_it(prod(kernel), (first, second), _SMALL_KERNEL):
        return None
    weight = np.zeros(kernel)
    for offset in product(*(range(k) for k in k2)):
        # A correlation runs backwards along a transposed kernel.
        index = [slice(b - 1 - j, b - 1 - j + a) for j, a, b in zip(offset, k1, k2, strict=True)]
        mixed = np.tensordot(first.weight, second.weight[_last(offset)], axes=(1, 1))
        weight[(slice(None), slice(None), *index)] += np.moveaxis(mixed, -1, 1)
    cut: Pairs = tuple(
        (before + k - 1 - low, after + k - 1 - high)
        for (before, after), (low, high), k in zip(first.padding, second.padding, k2, strict=True)
    )
    if any(before < 0 for before, _ in cut):
        return None
    composed = ConvTranspose(weight, first.stride, cut)
    return (composed,) if _has_no_more_paths(composed, (first, second), shape) else None


def _last(offset: tuple[int, ...]) -> Any:
    """Return the index of an offset along the last axes."""
    return (..., *offset)


def _is_pointwise(conv: Conv) -> bool:
    return set(conv.weight.shape[2:]) == {1} and not any(n for pair in conv.padding for n in pair)


def _regrouped(conv: Conv, groups: int) -> np.ndarray:
    """Return the weights by group (groups, C_out per group, C_in per group, K...), of fewer groups than it has."""
    c_out, c_in, *kernel = conv.weight.shape
    inner = conv.groups // groups
    weight = np.zeros((groups, inner, c_out // conv.groups, inner, c_in, *kernel))
    blocks = conv.weight.reshape(groups, inner, c_out // conv.groups, c_in, *kernel)
    for i in range(inner):
        weight[:, i, :, i] = blocks[:, i]
    return weight.reshape(groups, c_out // groups, inner * c_in, *kernel)


def _is_worth_it(numbers: int, factors: Chain, small: int) -> bool:
    return numbers <= max(small, _GROWTH * sum(o.weight.size for o in factors if isinstance(o, Weighted)))


def _has_no_more_paths(composed: Operator, factors: Chain, shape: Shape) -> bool:
    return bool(fan_out((composed,), shape).sum() <= fan_out(factors, shape).sum())
