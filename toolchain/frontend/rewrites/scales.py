"""Scales (normalisation, averages) fold into a neighbouring weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.frontend.channels import channel_values, widened
from toolchain.frontend.rewrites.rule import Chain, Rewritten, neighbours, rule
from toolchain.netlist import (
    Conv,
    ConvTranspose,
    Linear,
    Operator,
    Pad,
    Permute,
    Resample,
    Reshape,
    Scale,
    Shape,
    Slice,
    SumPool,
    Weighted,
    adjoint,
    apply,
)


@rule
def scale_into_the_weight_before(chain: Chain, position: int, shapes: tuple[Shape, ...]) -> Rewritten:
    """``W -> M -> Scale = (W scaled) -> M``: carried back over the moves between, into the weight's outputs."""
    scale, before, after = chain[position], chain[:position], chain[position + 1 :]
    if not isinstance(scale, Scale):
        return None
    factors = scale.weight
    for i in reversed(range(position)):
        if isinstance(before[i], Weighted):
            return (*before[:i], _scaled_outputs(before[i], factors), *before[i + 1 :], *after)
        carried = _carried_back(before[i], factors, shapes[i])
        if carried is None:
            return None
        factors = carried
    return None


@rule
def scale_into_the_weight_behind(chain: Chain, position: int, shapes: tuple[Shape, ...]) -> Rewritten:
    """``Scale -> M -> W = M -> (W scaled)``: carried on over the moves between, into the weight's inputs."""
    scale, before, after = chain[position], chain[:position], chain[position + 1 :]
    if not isinstance(scale, Scale):
        return None
    factors = scale.weight
    for i, operator in enumerate(after):
        if isinstance(operator, Weighted):
            return (*before, *after[:i], _scaled_inputs(operator, factors), *after[i + 1 :])
        carried = _carried_on(operator, factors, shapes[position + 1 + i])
        if carried is None:
            return None
        factors = carried
    return None


@neighbours
def scale_before_a_move(
    first: Scale, second: SumPool | Resample | Reshape | Permute | Pad, shape: Shape
) -> Chain | None:
    """``Scale -> M = M -> Scale``: what no weight took goes as late as it can, where channels are the target's."""
    carried = _carried_on(second, first.weight, shape)
    return None if carried is None else (second, Scale(carried))


def _scaled_outputs(operator: Operator, factors: np.ndarray) -> Operator:
    """Return ``operator -> Scale(factors)`` as one operator."""
    match operator:
        case Conv(weight) | Linear(weight) | Scale(weight):
            return replace(operator, weight=_scaled_rows(weight, factors))
        case ConvTranspose(weight, groups=groups):
            return replace(operator, weight=_scaled_columns(weight, factors, groups))
    raise TypeError(f"{type(operator).__name__} has no weight")


def _scaled_inputs(operator: Operator, factors: np.ndarray) -> Operator:
    """Return ``Scale(factors) -> operator`` as one operator."""
    match operator:
        case ConvTranspose(weight) | Scale(weight):
            return replace(operator, weight=_scaled_rows(weight, factors))
        case Conv(weight, groups=groups):
            return replace(operator, weight=_scaled_columns(weight, factors, groups))
        case Linear(weight):
            return replace(operator, weight=_scaled_columns(weight, factors, 1))
    raise TypeError(f"{type(operator).__name__} has no weight")


def _scaled_rows(weight: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Multiply along axis 0."""
    scaled: np.ndarray = weight * factors.reshape(-1, *(1,) * (weight.ndim - 1))
    return scaled


def _scaled_columns(weight: np.ndarray, factors: np.ndarray, groups: int) -> np.ndarray:
    """Multiply along axis 1, which every group of rows counts from its own start."""
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    scaled = blocks * factors.reshape(groups, 1, weight.shape[1], *(1,) * (weight.ndim - 2))
    return scaled.reshape(weight.shape)


def _carried_on(operator: Operator, factors: np.ndarray, shape: Shape) -> np.ndarray | None:
    """Return v such that ``Scale(factors) -> operator = operator -> Scale(v)``; `shape` enters the operator."""
    if np.all(factors == factors[0]):
        return np.full(operator.output_shape(shape)[0], factors[0])
    match operator:
        case SumPool() | Resample():
            return factors
        case Slice(axis, start, stop, step):
            return factors[start:stop:step] if axis == 0 else factors
        case Pad(padding):
            return np.pad(factors, padding[0], constant_values=1.0)
        case Reshape() | Permute():
            return channel_values(apply(operator, widened(factors, shape), shape))
    return None


def _carried_back(operator: Operator, factors: np.ndarray, shape: Shape) -> np.ndarray | None:
    """Return v such that ``operator -> Scale(factors) = Scale(v) -> operator``; `shape` enters the operator."""
    if np.all(factors == factors[0]):
        return np.full(shape[0], factors[0])
    match operator:
        case SumPool() | Resample():
            return factors
        case Slice(axis, start, stop, step):
            if axis:
                return factors
            kept = np.ones(shape[0])
            kept[start:stop:step] = factors
            return kept
        case Pad(padding):
            before, _ = padding[0]
            return factors[before : before + shape[0]]
        case Reshape() | Permute():  # their transpose is their inverse
            return channel_values(adjoint(operator, widened(factors, operator.output_shape(shape)), shape))
    return None
