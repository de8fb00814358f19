"""Where a network ends and the host goes on: which steps of a graph are its tail.

A step is *inner* when weights come after it: what it computes, neurons compute, or the network is refused. Of the
others, the host takes what no neuron computes, and what reads its results. Reshapes and joins of outputs go with
it, so that readouts keep the shape of the layers that make them, where a channel is a channel.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a step does, as far as a tail is concerned."""

    OTHER = "other"
    WEIGHS = "weighs"  # it has trained weights
    MOVES = "moves"  # it reshapes or permutes
    TAKES = "takes"  # it hands on some of the values, or all
    SCALES = "scales"  # it multiplies by, or adds, constants
    JOINS = "joins"  # it concatenates along the channels
    STACKS = "stacks"  # it concatenates along another axis
    ASKS = "asks"  # for a shape, which is known


@dataclass(frozen=True)
class GraphStep:
    """A node of a graph: the values that it reads and makes, constants among them."""

    kind: Kind
    reads: tuple[Hashable, ...]
    makes: tuple[Hashable, ...]


def inner_steps(steps: Sequence[GraphStep]) -> frozenset[int]:
    """Return the positions of the steps that weigh, and of all that lead there."""
    wanted: set[Hashable] = set()
    inner = set()
    for position in reversed(range(len(steps))):
        step = steps[position]
        if step.kind is Kind.WEIGHS or wanted.intersection(step.makes):
            inner.add(position)
            wanted.update(step.reads)
    return frozenset(inner)


def needed_steps(steps: Sequence[GraphStep], results: Sequence[Hashable]) -> frozenset[int]:
    """Return the positions of the steps that results depend on."""
    wanted: set[Hashable] = set(results)
    needed = set()
    for position in reversed(range(len(steps))):
        if wanted.intersection(steps[position].makes):
            needed.add(position)
            wanted.update(steps[position].reads)
    return frozenset(needed)


def tail_steps(
    steps: Sequence[GraphStep],
    host: frozenset[int],
    results: Sequence[Hashable],
    is_flat: Callable[[Hashable], bool | None],
) -> frozenset[int]:
    """Return the steps that the host takes: those that it must, and the reshapes and joins before them.

    What is flat, a list of features, stays a readout: nothing has been moved that a readout could not be.

    Parameters
    ----------
    steps : sequence of GraphStep
    host : frozenset of int
        Positions of the steps that no neuron computes.
    results : sequence of hashable
        The values that the network returns.
    is_flat : callable
        Whether a value has one axis besides the batch; None for one that does not depend on the input.
    """
    makers = {value: i for i, step in enumerate(steps) for value in step.makes}
    taken = set(host)
    moved, stacked = _moved(steps, makers, is_flat)
    readers: dict[int, set[int]] = {i: set() for i in range(len(steps))}
    for i, step in enumerate(steps):
        for value in step.reads if step.kind is not Kind.ASKS else ():
            if value in makers:
                readers[makers[value]].add(i)
    returned = {makers[value] for value in results if value in makers}
    for i in reversed(range(len(steps))):
        if i in moved and readers[i] <= taken and (readers[i] or i in stacked & returned):
            taken.add(i)
    return frozenset(taken)


def _moved(
    steps: Sequence[GraphStep], makers: dict[Hashable, int], is_flat: Callable[[Hashable], bool | None]
) -> tuple[set[int], set[int]]:
    """Return the steps that give a value another place than its layer gave it, and those behind a join of such."""
    moved: set[int] = set()
    stacked: set[int] = set()
    for i, step in enumerate(steps):
        before = [makers[v] for v in step.reads if v in makers and is_flat(v) is not None]
        if not before and not any(is_flat(v) is not None for v in step.reads):
            continue
        if step.kind in (Kind.OTHER, Kind.WEIGHS, Kind.ASKS) or any(is_flat(v) for v in step.makes):
            continue
        follows = any(b in moved for b in before)
        if step.kind in (Kind.MOVES, Kind.STACKS) or follows:
            moved.add(i)
        if step.kind is Kind.STACKS or (step.kind is Kind.JOINS and follows) or any(b in stacked for b in before):
            stacked.add(i)
    return moved, stacked
