"""Functions of one value, and products of two, as both readers express them.

Exact where clipping does it: LeakyReLU, PReLU, the greater of two values, |x|. Every other function of one value
becomes a `Curve` (`toolchain.network`), and a product of two values that have no variable in common a gate.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from toolchain.frontend import layers
from toolchain.frontend.axis_maps import expand
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Expression, Refusal, Value, settled
from toolchain.frontend.operations import divide, is_value, multiply, per_sample, where
from toolchain.netlist import Conv, ConvTranspose, Linear
from toolchain.network import Function, X


def curve(builder: NetworkBuilder, x: Value, operation: str, *parameters: float) -> Value:
    """Return an elementary function of a value, by its name in `toolchain.network.function`."""
    return builder.curve(x, Function(operation, (X, *(float(p) for p in parameters))))


def leaky_relu(builder: NetworkBuilder, x: Value, slope: float | np.ndarray) -> Value:
    """Return ``relu(x) - slope * relu(-x)``, exactly: two units that read the same; `slope` broadcasts to `x`."""
    x = settled(x)
    below = layers.scale(builder.clip(layers.scale(x, np.asarray(-1.0)), 0.0, inf), -np.asarray(slope, np.float64))
    return layers.add(builder.clip(x, 0.0, inf), below)


def magnitude(builder: NetworkBuilder, x: Value) -> Value:
    """Return ``|x| = relu(x) + relu(-x)``."""
    return leaky_relu(builder, x, -1.0)


def combined(builder: NetworkBuilder, operation: str, *operands: Any) -> Value | None:
    """Return an elementary function of several values that are functions of one variable; None where they are not.

    Parameters
    ----------
    builder : NetworkBuilder
    operation : str
    operands
        Values, and constants that are one number.
    """
    values = [settled(o) for o in operands if is_value(o)]
    numbers = [None if is_value(o) else _number(o) for o in operands]
    found = builder.definitions.common(values)
    if found is None or any(n is None and not is_value(o) for n, o in zip(numbers, operands, strict=True)):
        return None
    variable, functions = found
    inner = iter(functions)
    return builder.curve(variable, Function(operation, tuple(next(inner) if n is None else n for n in numbers)))


def _number(constant: Any) -> float | None:
    array = np.asarray(constant, dtype=np.float64)
    return float(array.flat[0]) if array.size and np.ptp(array) == 0 else None


def compared(builder: NetworkBuilder, operation: str, *operands: Any) -> Value:
    """Return a comparison of functions of one variable, as 0 or 1, or a choice between them."""
    found = combined(builder, operation, *operands)
    if found is None:
        raise Refusal("depends on the values of another activation", "compare with a constant")
    return found


def holds(builder: NetworkBuilder, operation: str, *operands: Any) -> Value:
    """Return the "and", "or", "xor" of comparisons of one variable, or the "not" of one, as 0 or 1."""
    if operation == "not":
        return layers.shift(layers.scale(operands[0], np.asarray(-1.0)), np.asarray(1.0))
    if operation == "xor":
        both = layers.scale(holds(builder, "and", *operands), np.asarray(-1.0))
        return layers.add(holds(builder, "or", *operands), both)
    return compared(builder, {"and": "minimum", "or": "maximum"}[operation], *operands)


def is_truth(builder: NetworkBuilder, x: Any) -> bool:
    """Return whether a value is 0 or 1, as whole numbers and truth values are too: a comparison."""
    found = builder.definitions.common([x]) if isinstance(x, Expression) else None
    return found is not None and found[1][0].binary


def chosen(builder: NetworkBuilder, condition: Any, x: Any, y: Any) -> Value:
    """Return x where a condition holds, a constant or a comparison, and y elsewhere."""
    if is_value(condition):
        return compared(builder, "where", condition, x, y)
    value: Value = where(condition, x, y)
    return value


def power(builder: NetworkBuilder, x: Any, exponent: Any) -> Value:
    """Return ``x ** exponent`` for a constant exponent."""
    number = None if is_value(exponent) else _number(exponent)
    if number is None or not is_value(x):
        raise Refusal("has an exponent that is no constant number", "use a fixed exponent")
    return builder.curve(x, Function("pow", (X, number)))


def greatest(builder: NetworkBuilder, x: Value, y: Value) -> Value:
    """Return the greater of two values: of one variable as its function, else as ``y + relu(x - y)``."""
    found = combined(builder, "maximum", x, y)
    if found is not None:
        return found
    return layers.add(y, builder.clip(layers.add(x, layers.scale(y, np.asarray(-1.0))), 0.0, inf))


def least(builder: NetworkBuilder, x: Value, y: Value) -> Value:
    """Return the lesser of two values: of one variable as its function, else as ``y - relu(y - x)``."""
    found = combined(builder, "minimum", x, y)
    if found is not None:
        return found
    over = builder.clip(layers.add(y, layers.scale(x, np.asarray(-1.0))), 0.0, inf)
    return layers.add(y, layers.scale(over, np.asarray(-1.0)))


def bounded(builder: NetworkBuilder, x: Value, low: Any, high: Any) -> Value:
    """Clip a value between bounds, each None, a constant that broadcasts to it, or another value."""
    if is_value(low):
        x, low = greatest(builder, x, low), None
    if is_value(high):
        x, high = least(builder, x, high), None
    if low is None and high is None:
        return x
    return layers.clamp(builder, x, *(None if b is None else per_sample(x, b) for b in (low, high)))


def product(builder: NetworkBuilder, x: Any, y: Any) -> Value:
    """Return ``x * y``: a constant factor, a function of one variable, or a value and its gate."""
    if not (is_value(x) and is_value(y)):
        return multiply(x, y)
    found = combined(builder, "mul", x, y)
    return found if found is not None else _gated(builder, settled(x), settled(y))


def quotient(builder: NetworkBuilder, x: Any, y: Any) -> Value:
    """Return ``x / y``: a constant factor, or a function of one variable."""
    if not is_value(y):
        return divide(x, y)
    found = combined(builder, "div", x, y)
    if found is None:
        raise Refusal("divides by an activation", "divide by a constant")
    return found


def gated_linear_unit(builder: NetworkBuilder, x: Value, axis: int) -> Value:
    """Return the first half of an axis times the sigmoid of the second (GLU)."""
    value, gate = layers.split(x, axis, (x.shape[axis] // 2,) * 2)
    return product(builder, value, curve(builder, gate, "sigmoid"))


def _gated(builder: NetworkBuilder, x: Expression, y: Expression) -> Value:
    """Take the smaller of two values as the gate of the other, or the one that stays between limits."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    if shape not in (x.shape, y.shape):
        raise Refusal(f"multiplies activations of shapes {x.shape} and {y.shape}", "make one as large as the product")
    if x.shape != y.shape:
        value, gate = (x, y) if x.shape == shape else (y, x)
    elif _is_bounded(builder, y) or _is_bounded(builder, x):
        value, gate = (x, y) if _is_bounded(builder, y) else (y, x)
    else:
        raise Refusal(
            "multiplies two activations, neither of which is a gate", "replace the product by a sum, and train again"
        )
    return builder.gated(value, gate if gate.shape == shape else settled(expand(gate, shape)))


def _is_bounded(builder: NetworkBuilder, x: Expression) -> bool:
    found = builder.definitions.common([x])
    return found is not None and found[1][0].bounded


def fake_quantized(builder: NetworkBuilder, x: Value, low: float, high: float) -> Value:
    """Read a rounding to a grid between `low` and `high` as the value that it stands for.

    The netlist rounds in its own way. What the grid's ends cut off is kept where it costs no neurons: they are a
    ReLU's, or limits of an activation; a linear value and the input stay as they are.
    """
    x = settled(x)
    is_activation = builder.definitions.bends(x)
    is_input = not any(isinstance(o, Conv | ConvTranspose | Linear) for t in x.terms for o in t.operators)
    return builder.clip(x, low, high) if is_activation or (low >= 0 and not is_input) else x
