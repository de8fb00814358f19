"""Tensors as affine functions of units: the algebra that both readers build networks with.

While a network is read, each tensor that depends on the input is an `Expression`: a sum of terms
(a unit's value taken through a chain of linear operators) plus a constant. Linear layers extend every
term, a sum joins the terms of its operands, and only a nonlinearity closes an expression into a unit.
So residual sums, linear bottlenecks and concatenations need no units of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Protocol

import numpy as np
import torch

from sim import kernels
from toolchain.frontend.channels import channel_values
from toolchain.netlist import (
    Conv,
    ConvTranspose,
    Linear,
    Operator,
    Pad,
    Permute,
    Reshape,
    Scale,
    Shape,
    Slice,
    SumPool,
    Weighted,
    per_channel,
)

#: No tensor of a network may hold more values (1 GiB as float64).
MAX_VALUES = 2**27


class Refusal(Exception):
    """What a layer asks for cannot be expressed; the reader adds the module's path.

    Parameters
    ----------
    problem : str
    fix : str
        What would work instead.
    """

    def __init__(self, problem: str, fix: str) -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(problem, fix)


@dataclass(frozen=True, eq=False)
class LinearTerm:
    """A unit's value through a chain of linear operators.

    Parameters
    ----------
    source : str
    operators : tuple of Operator
    within : Expression or None
        Of whose terms this was one before the last convolution or matrix: where the chains of all of them can be cut,
        if weights of one do not compose.
    before : int
        How many of the operators had been applied then.
    """

    source: str
    operators: tuple[Operator, ...]
    within: Expression | None = None
    before: int = 0

    def through(self, operator: Operator, value: Expression) -> LinearTerm:
        """Apply a linear operator, as to all terms of a value."""
        operators = (*self.operators, operator)
        if isinstance(operator, Conv | ConvTranspose | Linear):
            return LinearTerm(self.source, operators, value, len(self.operators))
        return replace(self, operators=operators)


def has_weight(operators: tuple[Operator, ...]) -> bool:
    """Return whether any of the operators has weights."""
    return any(isinstance(o, Weighted) for o in operators)


#: A layer that units may be named after: the depth of what it reads (in units), its position in
#: execution order, its module's path. Of two branches the deeper one names their sum.
Label = tuple[int, int, str]
NOWHERE: Label = (-1, -1, "")


@dataclass(frozen=True, eq=False)
class Expression:
    """``y = sum over terms of chain(unit) + bias``, without the batch axis.

    Parameters
    ----------
    shape : tuple of int
    terms : tuple of LinearTerm
        None of them: a constant.
    bias : ndarray `shape`, float64 (often a broadcast view)
    depth : int
        Units on the longest path from the input to here.
    weighted, affine : Label
        The last convolution or linear layer on the way here, and the last normalisation: units are
        named after them.
    """

    shape: Shape
    terms: tuple[LinearTerm, ...]
    bias: np.ndarray
    depth: int = 0
    weighted: Label = NOWHERE
    affine: Label = NOWHERE

    def through(self, operator: Operator) -> Expression:
        """Apply a linear operator."""
        shape = operator.output_shape(self.shape)
        if prod(shape) > MAX_VALUES:
            raise Refusal(f"makes {shape}, more than {MAX_VALUES} values", "make the network or its input smaller")
        bias = _apply(operator, self.bias) if self.bias.any() else np.broadcast_to(np.float64(0), shape)
        terms = tuple(t.through(operator, self) for t in self.terms)
        return replace(self, shape=shape, terms=terms, bias=bias)

    def shift(self, constant: np.ndarray | float) -> Expression:
        """Add a constant that broadcasts to `shape`."""
        return replace(self, bias=self.bias + constant)

    def plus(self, other: Expression) -> Expression:
        """Add another expression of the same shape."""
        return Expression(
            self.shape,
            self.terms + other.terms,
            self.bias + other.bias,
            max(self.depth, other.depth),
            max(self.weighted, other.weighted),
            max(self.affine, other.affine),
        )

    def passed(self, position: int, path: str, *, weighted: bool) -> Expression:
        """Note the layer that the value just went through: `weighted` for weights, else normalisation."""
        label = (self.depth, position, path)
        return replace(self, weighted=label) if weighted else replace(self, affine=label)


def value_of(unit: str, shape: Shape, depth: int) -> Expression:
    """Return the expression that is a unit's value."""
    return Expression(shape, (LinearTerm(unit, ()),), np.broadcast_to(np.float64(0), shape), depth)


def _apply(operator: Operator, x: np.ndarray) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))
    result: np.ndarray = kernels.apply(operator, tensor[None])[0].numpy()
    return result


@dataclass(frozen=True, eq=False)
class Pooled:
    """The maximum over windows of values that may be negative, waiting for its ReLU.

    ``relu(max(y)) = max(relu(y))``, and so does a positive scale per channel and a shift commute
    with the maximum: the right-hand side costs a spiking max pool nothing. Any other use settles it.

    Parameters
    ----------
    value : Expression
        What is pooled.
    windows : tuple of SumPool
        Window geometries, applied one after the other.
    path : str
        The pooling layer.
    settle : callable
        Closes it into units.
    tail : tuple of Reshape, Permute and Slice operators
        What was applied to the maxima.
    """

    value: Expression
    windows: tuple[SumPool, ...]
    path: str
    settle: Callable[[Pooled], Expression]
    tail: tuple[Operator, ...] = ()

    @property
    def shape(self) -> Shape:
        """Shape of the result."""
        shape = self.value.shape
        for operator in (*self.windows, *self.tail):
            shape = operator.output_shape(shape)
        return shape

    @cached_property
    def settled(self) -> Expression:
        """The maxima as a value of units, the same at every use."""
        return self.settle(self)

    def through(self, operator: Operator) -> Value:
        """Apply a linear operator; one that commutes with the maximum leaves it waiting."""
        if isinstance(operator, Scale) and not self.tail and np.all(operator.weight > 0):
            return replace(self, value=self.value.through(operator))
        if isinstance(operator, Reshape | Permute | Slice):
            return replace(self, tail=(*self.tail, operator))
        return self.settled.through(operator)

    def shift(self, constant: np.ndarray | float) -> Value:
        """Add a constant; one per channel leaves the maximum waiting."""
        channels = channel_values(np.broadcast_to(constant, self.shape))
        if self.tail or channels is None:
            return self.settled.shift(constant)
        return replace(self, value=self.value.shift(per_channel(channels, self.value.shape)))

    def passed(self, position: int, path: str, *, weighted: bool) -> Pooled:
        """Note the layer that the value just went through."""
        return replace(self, value=self.value.passed(position, path, weighted=weighted))


Value = Expression | Pooled


class Unsettled(Protocol):
    """A value that only some operations take."""

    def refusal(self) -> Refusal:
        """Return the error for all others."""
        ...


def settled(value: Expression | Pooled | Unsettled) -> Expression:
    """Return the value as an expression, a max pool without a ReLU; raise for a batch axis out of place."""
    if isinstance(value, Pooled):
        return value.settled
    if not isinstance(value, Expression):
        raise value.refusal()
    return value


def concatenate(values: list[Expression], axis: int) -> Expression:
    """Concatenate along an axis: every operand is padded to the full extent, and the sum taken."""
    total = sum(v.shape[axis] for v in values)
    before = 0
    parts = []
    for value in values:
        around = [(0, 0)] * len(value.shape)
        around[axis] = (before, total - before - value.shape[axis])
        parts.append(value.through(Pad(tuple(around))))
        before += value.shape[axis]
    result = parts[0]
    for part in parts[1:]:
        result = result.plus(part)
    return result
