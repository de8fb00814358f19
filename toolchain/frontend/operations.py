"""What the tables of ATen operations share: how one is registered, and how its arguments are read.

Values carry no batch axis, ATen's arguments do: axis arguments are moved by one, and an operation that
touches the batch axis is refused. Constants arrive as float64 tensors with whatever axes they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Expression, Pooled, Refusal, Value
from toolchain.netlist import Pairs


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


class Table(dict[str, Operation]):
    """Operations by ATen name."""

    def operation(self, *names: str, role: str = "") -> Callable[[Function], Function]:
        """Register the decorated function (builder, *args, **kwargs) under each name."""

        def register(function: Function) -> Function:
            for name in names:
                self[name] = Operation(function, role)
            return function

        return register


def sample_axis(x: Value, dim: int) -> int:
    """Return the axis without the batch axis."""
    rank = len(x.shape) + 1
    dim = dim + rank if dim < 0 else dim
    if dim == 0:
        raise Refusal("works across the pictures of a batch", "let the module treat every picture alone")
    return dim - 1


def sample_axes(x: Value, dims: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the axes without the batch axis, sorted."""
    if dims is None or dims == []:
        raise Refusal("reduces over the whole batch", "name the axes to reduce over, without the batch axis")
    dims = [dims] if isinstance(dims, int) else dims
    return tuple(sorted({sample_axis(x, d) for d in dims}))


def per_axis(value: int | Sequence[int], n: int) -> tuple[int, ...]:
    """Return one number per spatial axis: ATen takes one for all, too."""
    values = [value] * n if isinstance(value, int) else list(value)
    return tuple(values * n if len(values) == 1 else values)


def per_side(value: int | Sequence[int], n: int) -> Pairs:
    """Return symmetric padding as (before, after) per spatial axis."""
    return tuple((p, p) for p in per_axis(value, n))


def per_sample(x: Value, constant: Any) -> np.ndarray:
    """Return a constant operand as an array that broadcasts without the batch axis."""
    array = np.asarray(constant.numpy() if isinstance(constant, Tensor) else constant, dtype=np.float64)
    if array.ndim <= len(x.shape):
        return array
    if array.ndim > len(x.shape) + 1 or not np.array_equal(array, np.broadcast_to(array[:1], array.shape)):
        raise Refusal("combines a value with constants that differ over the batch", "use one constant per picture")
    first: np.ndarray = array[0]
    return first


def fixed(tensor: Any) -> np.ndarray:
    """Return a weight as an array; raise when it is computed from the input."""
    if is_value(tensor):
        raise Refusal("has weights that depend on the input", "use fixed weights")
    array: np.ndarray = tensor.numpy()
    return array


def optional_fixed(tensor: Any) -> np.ndarray | None:
    """Return an optional weight as an array."""
    return None if tensor is None else fixed(tensor)


def is_value(x: Any) -> bool:
    """Return whether an operand depends on the input."""
    return isinstance(x, Expression | Pooled)
