"""Which values are functions of one and the same variable: what makes ``x * sigmoid(x)`` one activation.

A unit's value is a function of the expression that was closed into it; a scaled sum of such units, and of that
expression itself, is one too. Found by looking at the terms alone, however the network spells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.frontend.expression import Expression, LinearTerm
from toolchain.netlist import Operator, Scale
from toolchain.network import Function, X

#: Relative to the largest bias: how far from constant a difference of biases may be, by the rounding of float64.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Definition:
    """How a unit came about: ``unit = function(argument)``, and `moves` bring it back to the argument's shape."""

    argument: Expression
    function: Function
    moves: tuple[Operator, ...] = ()


class Definitions:
    """The units of a network under construction that are functions of an expression, element by element."""

    def __init__(self) -> None:
        self._of: dict[str, Definition] = {}

    def __setitem__(self, unit: str, definition: Definition) -> None:
        self._of[unit] = definition

    def __getitem__(self, unit: str) -> Definition:
        return self._of[unit]

    def common(self, values: Sequence[Expression]) -> tuple[Expression, list[Function]] | None:
        """Return a variable, and each value as a function of it; None where they have none in common.

        The variable is the first that there is on the way from the input, so that functions of functions are one; a
        factor that is the same everywhere is part of the function.
        """
        for variable in self._variables(values[0]):
            functions = [self._function(value, variable) for value in values]
            found = [f for f in functions if f is not None]
            if len(found) == len(values):
                return variable, found
        return None

    def bends(self, value: Expression) -> bool:
        """Return whether a value is a function of another one, and no multiple of it."""
        return any(self._taken(t) is not None for t in value.terms) and self.common([value]) is not None

    def of_unit(self, value: Expression) -> Definition | None:
        """Return the definition of the one unit that a value is, moved at most back to its argument's shape."""
        if len(value.terms) != 1 or value.bias.any():
            return None
        found = self._taken(value.terms[0])
        return found[0] if found is not None and found[1] == 1.0 and not found[2] else None

    def _variables(self, value: Expression) -> Iterator[Expression]:
        for term in value.terms:
            found = self._taken(term)
            if found is not None:
                yield from self._variables(found[0].argument)
        yield _without_factor(value)

    def _taken(self, term: LinearTerm) -> tuple[Definition, float, tuple[Operator, ...]] | None:
        """Return the definition of a term's unit, its factor, and the scales; None where there is more to the term."""
        definition = self._of.get(term.source)
        if definition is None or not _starts(term.operators, definition.moves):
            return None
        scales = term.operators[len(definition.moves) :]
        factor = _factor(scales)
        return None if factor is None else (definition, factor, scales)

    def _function(self, value: Expression, variable: Expression) -> Function | None:
        """Return a value as a function of the variable; None where it is none."""
        if value.shape != variable.shape or not value.terms:
            return None
        factor, others = _multiple([t for t in value.terms if not _vanishes(t)], variable.terms)
        shift = value.bias - factor * variable.bias if factor else value.bias
        if np.ptp(shift) > _ROUNDING * (1 + max(np.abs(value.bias).max(), np.abs(variable.bias).max())):
            return None
        parts = [X.affine(factor, 0.0)] if factor or not others else []
        for term in others:
            found = self._taken(term)
            inner = None if found is None else self._function(found[0].argument, variable)
            if found is None or inner is None:
                return None
            parts.append(found[0].function.of(inner).affine(found[1], 0.0))
        total = parts[0]
        for part in parts[1:]:
            total = Function("add", (total, part))
        return total.affine(1.0, float(shift.flat[0]))


def _without_factor(value: Expression) -> Expression:
    """Return a value before the last factor, the same everywhere, that all its terms were multiplied by."""
    last = {id(t.operators[-1]) if t.operators else None for t in value.terms}
    if len(last) != 1 or not value.terms[0].operators:
        return value
    factor = _factor(value.terms[0].operators[-1:])
    if not factor:
        return value
    terms = tuple(replace(t, operators=t.operators[:-1]) for t in value.terms)
    return _without_factor(replace(value, terms=terms, bias=value.bias / factor))


def _vanishes(term: LinearTerm) -> bool:
    return any(isinstance(o, Scale) and not o.weight.any() for o in term.operators)


def _multiple(terms: list[LinearTerm], of: Sequence[LinearTerm]) -> tuple[float, list[LinearTerm]]:
    """Return the factor by which `terms` hold all terms of the variable, 0 for not, and the terms besides those."""
    left, factors = list(terms), set()
    for wanted in of:
        for term in left:
            if term.source == wanted.source and _starts(term.operators, wanted.operators):
                factors.add(_factor(term.operators[len(wanted.operators) :]))
                left.remove(term)
                break
        else:
            return 0.0, terms
    (factor,) = factors if len(factors) == 1 else (None,)
    return (factor, left) if factor else (0.0, terms)


def _starts(operators: tuple[Operator, ...], beginning: tuple[Operator, ...]) -> bool:
    """Return whether a chain begins with the very operators of another."""
    return len(operators) >= len(beginning) and all(a is b for a, b in zip(operators, beginning, strict=False))


def _factor(operators: tuple[Operator, ...]) -> float | None:
    """Return the number that a chain multiplies every value by; None where it does anything else."""
    factor = 1.0
    for operator in operators:
        if not isinstance(operator, Scale) or np.ptp(operator.weight) != 0:
            return None
        factor *= float(operator.weight[0])
    return factor
