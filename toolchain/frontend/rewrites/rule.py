"""What a rewrite rule is: an identity of linear maps with a name, read from left to right.

Chains are written in the order that their operators are applied: ``Conv -> Scale`` convolves first. The functions of
`neighbours` and `sums` state by their annotations which operators they take.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from toolchain.netlist import Operator, Shape

Chain = tuple[Operator, ...]


@dataclass(frozen=True)
class Zero:
    """The map to zero: what is left of a slice of nothing but padding. No chain of operators spells it."""


#: What a rule makes of a chain; None where it does not apply.
Rewritten = Chain | Zero | None


@dataclass(frozen=True)
class Rule:
    """An identity of linear maps.

    Parameters
    ----------
    name : str
    rewrite : callable (chain, position, shapes) -> Chain, Zero or None
        Rewrites the chain at the operator at `position`; `shapes` are those of `chain_shapes`. What comes out is the
        same map, and no rule leads back.
    """

    name: str
    rewrite: Callable[[Chain, int, tuple[Shape, ...]], Rewritten]


@dataclass(frozen=True)
class SumRule:
    """An identity of sums: two operators that read the same value are one.

    Parameters
    ----------
    name : str
    add : callable (first, second) -> Operator or None
    """

    name: str
    add: Callable[[Operator, Operator], Operator | None]


def rule(function: Callable[[Chain, int, tuple[Shape, ...]], Rewritten]) -> Rule:
    """Make a rule of a function that sees the whole chain."""
    return Rule(_name(function), function)


def neighbours(function: Callable[..., Rewritten]) -> Rule:
    """Make a rule of a function (first, second, shape) that replaces two neighbours; `shape` enters the first."""
    before, after = _operands(function)

    def rewrite(chain: Chain, position: int, shapes: tuple[Shape, ...]) -> Rewritten:
        pair = chain[position : position + 2]
        if len(pair) < 2 or not isinstance(pair[0], before) or not isinstance(pair[1], after):
            return None
        replaced = function(*pair, shapes[position])
        return (*chain[:position], *replaced, *chain[position + 2 :]) if isinstance(replaced, tuple) else replaced

    return Rule(_name(function), rewrite)


def sums(function: Callable[..., Operator | None]) -> SumRule:
    """Make a rule of a function (first, second) that returns one operator equal to their sum, in either order."""
    one, other = _operands(function)

    def add(a: Operator, b: Operator) -> Operator | None:
        for first, second in ((a, b), (b, a)):
            if isinstance(first, one) and isinstance(second, other):
                total = function(first, second)
                if total is not None:
                    return total
        return None

    return SumRule(_name(function), add)


def _name(function: Callable[..., Any]) -> str:
    return function.__name__.replace("_", " ")


def _operands(function: Callable[..., Any]) -> tuple[Any, Any]:
    first, second, *_ = typing.get_type_hints(function).values()
    return first, second
