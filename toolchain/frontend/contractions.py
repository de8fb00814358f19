"""Products with a fixed operand along any axes: einsum, matrices from the left, a matrix for each group."""

from __future__ import annotations

from math import prod

import numpy as np

from toolchain.frontend.expression import Refusal, Value, settled
from toolchain.netlist import Conv, Linear, Permute, Reshape

_FIX = "let each axis of the value have one letter of its own"


def contract(x: Value, axes: str, constant: np.ndarray, fixed: str, result: str) -> Value:
    """Sum products of a value and a constant over the letters that the result leaves out.

    What both share and the result keeps makes groups, each with a matrix of its own; what only the constant has becomes
    new axes.

    Parameters
    ----------
    x : Value
    axes : str
        A letter for each of its axes, without the batch axis.
    constant : ndarray
        One axis for each letter of `fixed`.
    fixed : str
    result : str
        Letters of the result's axes, without the batch axis.
    """
    if len(set(axes)) < len(axes) or len(set(result)) < len(result) or len(axes) != len(x.shape):
        raise Refusal("takes a diagonal, or axes that are not there", _FIX)
    for letter in reversed(fixed):
        if letter not in axes and letter not in result:  # summed within the constant
            constant, fixed = constant.sum(axis=fixed.index(letter)), fixed.replace(letter, "", 1)
    if len(set(fixed)) < len(fixed):
        raise Refusal("takes a diagonal of the constant", _FIX)
    extents = {**dict(zip(fixed, constant.shape, strict=True)), **dict(zip(axes, x.shape, strict=True))}
    if any(extents[c] != n for c, n in zip(fixed, constant.shape, strict=True)):
        raise Refusal(f"joins extents that differ, {x.shape} and {constant.shape}", "make them equal first")
    groups = [c for c in axes if c in fixed and c in result]
    summed = [c for c in axes if c not in result]
    kept = [c for c in axes if c in result and c not in fixed]
    new = [c for c in result if c not in axes]
    matrix = np.broadcast_to(
        np.expand_dims(constant, tuple(range(len(fixed), len(fixed) + sum(c not in fixed for c in summed)))),
        (*constant.shape, *(extents[c] for c in summed if c not in fixed)),
    )
    letters = fixed + "".join(c for c in summed if c not in fixed)
    matrix = matrix.transpose([letters.index(c) for c in (*groups, *new, *summed)])

    def size(part: list[str]) -> int:
        return prod(extents[c] for c in part)

    y = settled(x).through(Permute(tuple(axes.index(c) for c in (*groups, *summed, *kept))))
    weight = np.ascontiguousarray(matrix).reshape(size(groups) * size(new), size(summed))
    if kept or groups:
        y = y.through(Reshape((size(groups) * size(summed), size(kept))))
        y = y.through(Conv(weight[..., None], (1,), ((0, 0),), (1,), size(groups)))
    else:
        y = y.through(Reshape((size(summed),))).through(Linear(weight))
    order = [*groups, *new, *kept]
    y = y.through(Reshape(tuple(extents[c] for c in order) or (1,)))
    if order == list(result):
        return y
    return y.through(Permute(tuple(order.index(c) for c in result)))


def einsum(equation: str, operands: list[object]) -> Value:
    """Read an einsum of a value and a constant, or of a value alone; the batch is the value's first letter.

    Raises
    ------
    Refusal
        For two values, an ellipsis, or a batch axis that does not stay first.
    """
    inputs, _, result = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if not result and "->" not in equation:
        letters = "".join(terms)
        result = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    values = [i for i, o in enumerate(operands) if not isinstance(o, np.ndarray)]
    if len(values) != 1 or len(operands) > 2 or len(terms) != len(operands):
        raise Refusal("multiplies two activations (attention)", "use fixed weights on one side")
    (which,) = values
    x: Value = operands[which]  # type: ignore[assignment]
    batch, axes = terms[which][:1], terms[which][1:]
    fixed = terms[1 - which] if len(terms) == 2 else ""
    constant = np.asarray(operands[1 - which] if len(operands) == 2 else 1.0, dtype=np.float64)
    if "." in equation or result[:1] != batch or batch in fixed or batch in axes:
        raise Refusal(f"computes {equation!r}, where the batch is no axis of its own in front", _FIX)
    return contract(x, axes, constant, fixed, result[1:])
