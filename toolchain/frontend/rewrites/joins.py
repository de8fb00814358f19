"""Operators that change nothing go, and neighbouring moves that are one move become one operator."""

from __future__ import annotations

from toolchain.frontend.rewrites.rule import Chain, Rewritten, neighbours, rule
from toolchain.netlist import Operator, Pad, Permute, Reshape, Shape, Slice, SumPool


@rule
def identity(chain: Chain, position: int, shapes: tuple[Shape, ...]) -> Rewritten:
    """``M = nothing`` where M changes nothing."""
    if not _changes_nothing(chain[position], shapes[position]):
        return None
    return (*chain[:position], *chain[position + 1 :])


def _changes_nothing(operator: Operator, shape: Shape) -> bool:
    match operator:
        case Pad(padding):
            return not any(n for pair in padding for n in pair)
        case Slice(axis, start, stop, step):
            return (start, stop, step) == (0, shape[axis], 1)
        case Reshape(new):
            return new == shape
        case Permute(axes):
            return axes == tuple(range(len(axes)))
        case SumPool(kernel, stride, padding):
            return {*kernel, *stride} == {1} and not any(n for pair in padding for n in pair)
    return False


@neighbours
def reshape_of_a_reshape(first: Reshape, second: Reshape, shape: Shape) -> Chain:
    """``Reshape -> Reshape = Reshape``: the last one says it all."""
    return (second,)


@neighbours
def permutation_of_a_permutation(first: Permute, second: Permute, shape: Shape) -> Chain:
    """``Permute -> Permute = Permute``."""
    return (Permute(tuple(first.axes[a] for a in second.axes)),)
