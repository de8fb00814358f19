"""What both readers share: tables of operations, and the operations that mean the same in ATen and in ONNX.

Values carry no batch axis, the arguments of both do: axis arguments are moved by one, and an operation that
touches the batch axis is refused. An operand is a value, or a constant of float64 with whatever axes it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from toolchain.frontend import layers
from toolchain.frontend.advice import LIST
from toolchain.frontend.axis_maps import expand, gather
from toolchain.frontend.batch_axis import AnyValue, Displaced, reshape, whole_shape
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.contractions import contract
from toolchain.frontend.expression import Expression, Pooled, Refusal, Value, concatenate, settled
from toolchain.netlist import NetlistError, UnsupportedError


@dataclass(frozen=True)
class Operation:
    """How one operation is read.

    Parameters
    ----------
    read : callable (builder, *args, **kwargs) -> Value
    role : str
        "weighted" or "affine" for the layers that units are named after, else "".
    anywhere : bool
        Whether it takes values whose batch axis is not in front.
    """

    read: Callable[..., Any]
    role: str = ""
    anywhere: bool = False

    def check(self, operands: Any) -> None:
        """Refuse a value whose batch axis is out of place, where that matters; operands may be nested."""
        for operand in () if self.anywhere else leaves(operands):
            if isinstance(operand, Displaced):
                raise operand.refusal()

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

    def operation(self, *names: str, role: str = "", anywhere: bool = False) -> Callable[[Function], Function]:
        """Register the decorated function (builder, *args, **kwargs) under each name."""

        def register(function: Function) -> Function:
            for name in names:
                self[name] = Operation(function, role, anywhere)
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


def leaves(tree: Any) -> Iterator[Any]:
    """Yield what tuples, lists and dicts hold, nested as they are."""
    if isinstance(tree, tuple | list):
        for item in tree:
            yield from leaves(item)
    elif isinstance(tree, dict):
        yield from leaves(list(tree.values()))
    else:
        yield tree


# Arguments ---------------------------------------------------------------------------------------


def sample_axis(x: AnyValue, dim: int) -> int:
    """Return the axis without the batch axis."""
    if isinstance(x, Displaced):
        raise x.refusal()
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
    return isinstance(x, Expression | Pooled | Displaced)


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


def matrix_product(x: Any, y: Any, alpha: float = 1) -> Any:
    """Return ``alpha * x @ y`` of a value and constant matrices, on either side."""
    if is_value(x) and is_value(y):
        raise Refusal("multiplies two activations (attention)", "use fixed weights: a linear layer (nn.Linear)")
    value, matrix = value_first(x, y)
    if is_value(x) and matrix.ndim == 2:
        if isinstance(x, Displaced) and (x.batch == 1 or x.position + x.joined < len(x.shape)):
            return replace(x, value=matrix_product(x.value, matrix, alpha))  # the last axis is not the batch's
        return layers.linear(x, np.ascontiguousarray(alpha * np.asarray(matrix).T), None)
    constant = alpha * per_sample(value, matrix)
    letters = "abcdefgh"[: len(value.shape) - 2]
    if len(value.shape) < 2 or constant.ndim < 2 or constant.ndim > len(value.shape):
        raise Refusal(f"multiplies by a constant of shape {np.shape(matrix)}", "use one fixed matrix (nn.Linear)")
    whole = np.broadcast_shapes(constant.shape[:-2], value.shape[:-2])
    if whole != value.shape[:-2]:
        value = expand(value, (*whole, *value.shape[-2:]))
    shared = letters[len(letters) - (constant.ndim - 2) :]
    kept = "".join(c for c, n in zip(shared, constant.shape, strict=False) if n > 1)
    constant = constant.reshape(*(n for n in constant.shape[:-2] if n > 1), *constant.shape[-2:])
    if is_value(x):
        return contract(value, f"{letters}xy", constant, f"{kept}yz", f"{letters}xz")
    return contract(value, f"{letters}xy", constant, f"{kept}zx", f"{letters}zy")


def where(mask: Any, x: Any, y: Any) -> Any:
    """Return x where a constant mask is true, and y elsewhere."""
    if is_value(mask):
        raise Refusal("chooses by the values of an activation", "use a mask that is constant")
    chosen = np.asarray(mask, dtype=bool)
    if not is_value(x) and not is_value(y):
        return np.where(chosen, x, y)
    if not is_value(x):
        return where(~chosen, y, x)
    kept = layers.scale(x, per_sample(x, chosen).astype(np.float64))
    if is_value(y):
        return layers.add(kept, layers.scale(y, per_sample(y, ~chosen).astype(np.float64)))
    fill = np.where(chosen, 0.0, np.asarray(y, dtype=np.float64))
    if not np.isfinite(fill).all():
        raise Refusal("fills with infinite values", "fill with a finite number")
    return layers.shift(kept, per_sample(x, fill))


# Moves -------------------------------------------------------------------------------------------


def unsqueeze(x: AnyValue, dims: Sequence[int], batch: int) -> AnyValue:
    """Insert axes of extent 1; `dims` are theirs in the result."""
    sizes = list(whole_shape(x, batch))
    rank = len(sizes) + len(dims)
    for dim in sorted(d % rank for d in dims):
        sizes.insert(dim, 1)
    return reshape(x, sizes, batch)


def squeeze(x: AnyValue, dims: Sequence[int] | None, batch: int) -> AnyValue:
    """Drop axes of extent 1: those of `dims`, or all."""
    whole = whole_shape(x, batch)
    chosen = set(range(len(whole))) if dims is None else {d % len(whole) for d in dims}
    return reshape(x, [n for a, n in enumerate(whole) if n != 1 or a not in chosen], batch)


def take(x: AnyValue, dim: int, start: int | None, stop: int | None, step: int, batch: int) -> AnyValue:
    """Slice one axis, bounds as in Python; the whole batch is no slice of it."""
    whole = whole_shape(x, batch)
    if step > 0 and range(*slice(start, stop, step).indices(whole[dim])) == range(whole[dim]):
        return x
    if isinstance(x, Displaced):
        inner = take(x.value, displaced_axis(x, dim) + 1, start, stop, step, batch)
        assert not isinstance(inner, Displaced)
        return replace(x, value=inner)
    axis = sample_axis(x, dim)
    begin, end, _ = slice(start, stop, step).indices(x.shape[axis])
    if step < 1:
        return gather(x, {axis: range(begin, end, step)})
    return layers.take(x, axis, begin, end, step)


def select(x: AnyValue, dim: int, index: int, batch: int) -> AnyValue:
    """Take one index of an axis, which goes; a negative one counts from the end."""
    whole = whole_shape(x, batch)
    dim %= len(whole)
    index = index + whole[dim] if index < 0 else index
    if not 0 <= index < whole[dim]:
        raise Refusal(f"takes index {index} of an axis of {whole[dim]}", "take one that is there")
    taken = take(x, dim, index, index + 1, 1, batch)
    return reshape(taken, [n for a, n in enumerate(whole) if a != dim], batch)


def take_list(x: AnyValue, dim: int, index: np.ndarray, batch: int) -> AnyValue:
    """Take the positions of an array along an axis, which its axes replace; negative ones count from the end."""
    dim %= len(whole_shape(x, batch))
    if index.size == 1:
        picked = select(x, dim, int(index.reshape(())), batch)
        return unsqueeze(picked, range(dim, dim + index.ndim), batch) if index.ndim else picked
    axis = displaced_axis(x, dim) if isinstance(x, Displaced) else sample_axis(x, dim)
    value = x.value if isinstance(x, Displaced) else x
    taken = gather(value, {axis: [int(i) % value.shape[axis] for i in index.ravel()]})
    whole = whole_shape(x, batch)
    placed = replace(x, value=taken) if isinstance(x, Displaced) else taken
    return reshape(placed, [*whole[:dim], *index.shape, *whole[dim + 1 :]], batch)


def displaced_axis(x: Displaced, dim: int) -> int:
    """Return the axis of the value without its batch axis."""
    dim %= len(whole_shape(x, x.batch))
    if dim == x.position and not (x.joined and x.batch == 1):
        raise x.refusal()
    return dim if x.joined or dim < x.position else dim - 1


def join(parts: Sequence[Any], dim: int) -> Value:
    """Concatenate values, and constants among them, along an axis."""
    like = next(p for p in parts if is_value(p))
    constants = (None if is_value(p) else per_sample(like, p) for p in parts)
    values = [settled(p) if c is None else Expression(c.shape, (), c) for p, c in zip(parts, constants, strict=True)]
    return concatenate(values, sample_axis(like, dim))
