"""Moves that take the batch axis along: where it is, while it is not in front.

Channel shuffles are often written as ``x.reshape(n * c // 2, 2, h * w).permute(1, 0, 2).reshape(2, n, c // 2, h, w)``,
whose halves are taken then: the batch axis is joined with the channels, moves, and comes back to the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from toolchain.frontend.expression import Expression, Pooled, Refusal
from toolchain.netlist import Operator, Permute, Reshape, Shape

_FRONT = "keep the batch axis first"


@dataclass(frozen=True, eq=False)
class Displaced:
    """A value whose batch axis is not an axis of its own in front: only reshapes, permutations and slices take it.

    Parameters
    ----------
    value : Expression or Pooled
        Without the batch axis.
    batch : int
        Extent of the batch axis in the graph that is read.
    position : int
        Axes of `value` that stand before it.
    joined : bool
        Whether it is the outer part of the axis that follows.
    """

    value: Expression | Pooled
    batch: int
    position: int
    joined: bool

    @property
    def shape(self) -> Shape:
        """Shape without the batch axis."""
        return self.value.shape

    def through(self, operator: Operator) -> Displaced:
        """Refuse: an operator would not know which axis the batch is."""
        raise self.refusal()

    def shift(self, constant: object) -> Displaced:
        """Refuse, likewise."""
        raise self.refusal()

    def passed(self, position: int, path: str, *, weighted: bool) -> Displaced:
        """Note the layer that the value just went through."""
        return replace(self, value=self.value.passed(position, path, weighted=weighted))

    def refusal(self) -> Refusal:
        """Return the error for any other use."""
        return Refusal("takes a value whose batch axis was moved or joined with another", _FRONT)


AnyValue = Expression | Pooled | Displaced


def whole_shape(x: AnyValue, batch: int) -> Shape:
    """Return the shape with the batch axis, as the graph has it."""
    if not isinstance(x, Displaced):
        return (batch, *x.shape)
    before, after = x.shape[: x.position], x.shape[x.position :]
    return (*before, batch * after[0], *after[1:]) if x.joined else (*before, batch, *after)


def is_flat_value(x: AnyValue, batch: int) -> bool:
    """Return whether a value is a list of features per sample: not of points that were joined with the batch."""
    return len(whole_shape(x, batch)) == 2 and not (isinstance(x, Displaced) and batch > 1)


def reshape(x: AnyValue, sizes: Sequence[int], batch: int) -> AnyValue:
    """Reshape to `sizes`, the batch axis among them; one of them may be -1, for what is left.

    Raises
    ------
    Refusal
        When the batch axis would be torn or mixed with what stands before it.
    """
    count = batch * prod(x.shape)
    known = prod(n for n in sizes if n != -1)
    sizes = [(count // known if known else 0) if n == -1 else n for n in sizes]
    before = prod(x.shape[: x.position]) if isinstance(x, Displaced) else 1
    value = x.value if isinstance(x, Displaced) else x
    if prod(sizes) == count:
        # Of a batch of one every place is the batch's: the first will do.
        for position in range(len(sizes)) if batch > 1 else range(1):
            fits = batch == 1 or prod(sizes[:position]) == before
            if fits and sizes[position] % batch == 0:
                joined = sizes[position] != batch
                inner = [*sizes[:position], *([sizes[position] // batch] if joined else []), *sizes[position + 1 :]]
                return _placed(_reshaped(value, tuple(inner)), batch, position, joined)
    raise Refusal("mixes the pictures of a batch, or fixes its size", "reshape with x.shape[0] or flatten(1)")


def permute(x: AnyValue, dims: Sequence[int], batch: int) -> AnyValue:
    """Reorder the axes, the batch axis among them."""
    rank = len(whole_shape(x, batch))
    order = [d % rank for d in dims]
    position, joined = (x.position, x.joined) if isinstance(x, Displaced) else (0, False)
    value = x.value if isinstance(x, Displaced) else x
    place = order.index(position)
    axes = order if joined else [d - (d > position) for d in order if d != position]
    if axes != list(range(len(axes))):
        value = value.through(Permute(tuple(axes)))
    if batch == 1:
        whole = [whole_shape(x, batch)[d] for d in order]
        return reshape(value, whole, batch)
    return _placed(value, batch, place, joined)


def _reshaped(value: Expression | Pooled, shape: Shape) -> Expression | Pooled:
    """Give a value another shape; a scalar per sample is not a population."""
    shape = shape or (1,)
    return value.through(Reshape(shape)) if shape != value.shape else value


def _placed(value: Expression | Pooled, batch: int, position: int, joined: bool) -> AnyValue:
    return Displaced(value, batch, position, joined) if position or joined else value
