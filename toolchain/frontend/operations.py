"""What both readers share: tables of operations, and the operations that mean the same in ATen and in ONNX.

Values carry no batch axis, the arguments of both do: axis arguments are moved by one, and an operation that
touches the batch axis is refused. An operand is a value, or a constant of float64 with whatever axes it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np

from toolchain.frontend import layers
from toolchain.frontend.advice import LIST
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Expression, Pooled, Refusal, Value, concatenate, settled
from toolchain.netlist import NetlistError, Permute, UnsupportedError


@dataclass(frozen=True)
class Operation:
    """How one operation is read.

    Parameters
    ----------
    read : callable (builder, *args, **kwargs) -> Value
    role : str
        "weighted" or "affine" for the layers that units are named after, else "".
    """

    read: Callable[..., Any]
    role: str = ""

    def label(self, builder: NetworkBuilder, result: Any, position: int, path: str) -> Any:
        """Note the layer's path in its result, and count it."""
        if not self.role:
            return result
        if isinstance(result, tuple):  # the first of several results is the layer's own
            return (self.label(builder, result[0], position, path), *result[1:])
        if self.role == "weighted":
            builder.count(result)
        return result.passed(position, path, weighted=self.role == "weighted")


Function = TypeVar("Function", bound=Callable[..., Any])


class OperationTable(dict[str, Operation]):
    """Operations by the name that a graph calls them."""

    def operation(self, *names: str, role: str = "") -> Callable[[Function], Function]:
        """Register the decorated function (builder, *args, **kwargs) under each name."""

        def register(function: Function) -> Function:
            for name in names:
                self[name] = Operation(function, role)
            return function

        return register


@contextmanager
def refusals(path: str, operation: str) -> Iterator[None]:
    """Turn what a layer refuses into one error that names the module's path and the operation."""
    try:
        yield
    except Refusal as refusal:
        raise UnsupportedError(path, f"{operation} {refusal.problem}", refusal.fix) from None
    except NetlistError as error:
        raise UnsupportedError(path, f"{operation}: {error.problem}", error.fix or LIST) from error


# Arguments ---------------------------------------------------------------------------------------


def sample_axis(x: Value, dim: int) -> int:
    """Return the axis without the batch axis."""
    rank = len(x.shape) + 1
    dim = dim + rank if dim < 0 else dim
    if dim == 0:
        raise Refusal("works across the pictures of a batch", "let the module treat every picture alone")
    return dim - 1


def sample_axes(x: Value, dims: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the axes without the batch axis, sorted."""
    dims = [dims] if isinstance(dims, int) else dims
    if not dims:
        raise Refusal("reduces over the whole batch", "name the axes to reduce over, without the batch axis")
    return tuple(sorted({sample_axis(x, d) for d in dims}))


def per_sample(x: Value, constant: Any) -> np.ndarray:
    """Return a constant operand as an array that broadcasts without the batch axis."""
    array = np.asarray(constant, dtype=np.float64)
    if array.ndim <= len(x.shape):
        return array
    if array.ndim > len(x.shape) + 1 or not np.array_equal(array, np.broadcast_to(array[:1], array.shape)):
        raise Refusal("combines a value with constants that differ over the batch", "use one constant per picture")
    first: np.ndarray = array[0]
    return first


def is_value(x: Any) -> bool:
    """Return whether an operand depends on the input."""
    return isinstance(x, Expression | Pooled)


def value_first(x: Any, y: Any) -> tuple[Any, Any]:
    """Return two operands of which one may be constant, a value first."""
    return (x, y) if is_value(x) else (y, x)


# Arithmetic --------------------------------------------------------------------------------------


def add(x: Any, y: Any, alpha: float = 1) -> Value:
    """Return ``x + alpha * y``; one operand may be constant."""
    if is_value(x) and is_value(y):
        return layers.add(x, y if alpha == 1 else layers.scale(y, np.asarray(float(alpha))))
    if is_value(x):
        return layers.shift(x, alpha * per_sample(x, y))
    return layers.shift(layers.scale(y, np.asarray(float(alpha))), per_sample(y, x))


def multiply(x: Any, y: Any) -> Value:
    """Return ``x * y``; one operand is constant."""
    value, constant = value_first(x, y)
    return layers.scale(value, per_sample(value, constant))


def divide(x: Any, y: Any) -> Value:
    """Return ``x / y`` for a constant y."""
    return layers.scale(x, 1.0 / per_sample(x, y))


def matrix_product(x: Any, matrix: Any, alpha: float = 1) -> Value:
    """Return ``alpha * x @ matrix`` for a constant matrix (in, out)."""
    if is_value(x) and is_value(matrix):
        raise Refusal("multiplies two activations (attention)", "use fixed weights: a linear layer (nn.Linear)")
    if not is_value(x):
        raise Refusal(
            "multiplies by a fixed matrix from the left, which weighs the last axis but one",
            "let it weigh the last axis, by a linear layer: A @ x is (x.mT @ A.T).mT",
        )
    if matrix.ndim != 2:
        raise Refusal(f"multiplies by a constant of shape {matrix.shape}", "use one fixed matrix (nn.Linear)")
    return layers.linear(x, np.ascontiguousarray(alpha * np.asarray(matrix).T), None)


# Moves -------------------------------------------------------------------------------------------


def reshape(x: Value, sizes: Sequence[int], batch: int) -> Value:
    """Reshape to `sizes`, the batch axis first; one of them may be -1, for what is left."""
    count = batch * prod(x.shape)
    known = prod(n for n in sizes if n != -1)
    sizes = [(count // known if known else 0) if n == -1 else n for n in sizes]
    if not sizes or sizes[0] != batch or prod(sizes) != count:
        raise Refusal("mixes the pictures of a batch, or fixes its size", "reshape with x.shape[0] or flatten(1)")
    return layers.reshape(x, tuple(sizes[1:]))


def unsqueeze(x: Value, dims: Sequence[int]) -> Value:
    """Insert axes of extent 1; `dims` are theirs in the result."""
    rank = len(x.shape) + 1 + len(dims)
    shape = [1, *x.shape]
    for dim in sorted(d % rank for d in dims):
        if dim == 0:
            raise Refusal("adds an axis before the batch", "keep the batch axis first")
        shape.insert(dim, 1)
    return layers.reshape(x, tuple(shape[1:]))


def squeeze(x: Value, axes: Sequence[int] | None, batch: int) -> Value:
    """Drop axes of extent 1: those of `axes` (without the batch axis), or all."""
    kept = tuple(n for a, n in enumerate(x.shape) if n != 1 or (axes is not None and a not in axes))
    if axes is None and batch == 1 and len(kept) > 1:
        raise Refusal("drops the batch axis of a batch of one, too", "name the axes to squeeze, or use flatten(1)")
    return layers.reshape(x, kept)


def permute(x: Value, dims: Sequence[int]) -> Value:
    """Reorder the axes, the batch axis staying first."""
    first, *others = (d % len(dims) for d in dims)
    if first != 0:
        raise Refusal("moves the batch axis", "keep the batch axis first")
    return x.through(Permute(tuple(d - 1 for d in others)))


def take(x: Value, dim: int, start: int | None, stop: int | None, step: int, batch: int) -> Value:
    """Slice one axis, bounds as in Python; the whole batch is no slice of it."""
    whole_batch = (start or 0, step) == (0, 1) and (stop is None or stop >= batch)
    if whole_batch and dim in (0, -len(x.shape) - 1):
        return x
    axis = sample_axis(x, dim)
    if step < 1:
        raise Refusal("slices backwards", "slice forwards")
    begin, end, _ = slice(start, stop, step).indices(x.shape[axis])
    return layers.take(x, axis, begin, end, step)


def join(parts: Sequence[Any], dim: int) -> Value:
    """Concatenate values, and constants among them, along an axis."""
    like = next(p for p in parts if is_value(p))
    constants = (None if is_value(p) else per_sample(like, p) for p in parts)
    values = [settled(p) if c is None else Expression(c.shape, (), c) for p, c in zip(parts, constants, strict=True)]
    return concatenate(values, sample_axis(like, dim))
