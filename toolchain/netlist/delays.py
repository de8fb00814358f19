"""Delays of connections: which populations a loop joins, how deep each is, and which synapses wait how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from toolchain.netlist.errors import NetlistError, UnsupportedError
from toolchain.netlist.operators import Linear, Operator, Weighted

#: Longest delay of a connection, in timesteps: that of the longest run.
MAX_DELAY = 4096


def check_delay(where: str, delay: int | np.ndarray, operators: tuple[Operator, ...]) -> None:
    """Raise unless a connection's delay is a number of timesteps, or one for every weight of its only `Linear`."""
    if isinstance(delay, np.ndarray):
        weighted = [o for o in operators if isinstance(o, Weighted)]
        if len(weighted) != 1 or not isinstance(weighted[0], Linear) or weighted[0].weight.shape != delay.shape:
            raise NetlistError(where, f"delays of shape {delay.shape} found, expected that of the chain's only Linear")
    if not np.issubdtype(np.asarray(delay).dtype, np.integer):
        raise NetlistError(where, f"delay is {np.asarray(delay).dtype}, expected integers")
    low, high = int(np.min(delay)), int(np.max(delay))
    if low < 0 or high > MAX_DELAY:
        raise NetlistError(where, f"a delay of {low if low < 0 else high} timesteps found, expected 0 to {MAX_DELAY}")


def split_delays(
    delay: int | np.ndarray, operators: tuple[Operator, ...]
) -> tuple[tuple[int, tuple[Operator, ...]], ...]:
    """Return operators by delay: those of one delay as they are, of several with the other synapses' weights 0."""
    if not isinstance(delay, np.ndarray):
        return ((int(delay), operators),)

    def only(k: int) -> tuple[Operator, ...]:
        return tuple(
            replace(o, weight=np.where(delay == k, o.weight, 0)) if isinstance(o, Linear) else o for o in operators
        )

    return tuple((int(k), only(int(k))) for k in np.unique(delay))


@dataclass(frozen=True)
class Group:
    """Populations that run one after the other (a single one), or together, timestep by timestep.

    Parameters
    ----------
    names : tuple of str
        In topological order.
    loops : bool
        Whether a connection among them runs backwards, or to its own source.
    """

    names: tuple[str, ...]
    loops: bool


def run_groups(order: Sequence[str], connections: Sequence[Any]) -> tuple[Group, ...]:
    """Cut populations in topological order into groups: what lies between the ends of a connection backwards is one.

    Examples
    --------
    >>> from toolchain.netlist import Connection
    >>> run_groups("abcd", [Connection("c", "b", (), 1)])
    (Group(names=('a',), loops=False), Group(names=('b', 'c'), loops=True), Group(names=('d',), loops=False))
    """
    position = {name: i for i, name in enumerate(order)}
    reach = list(range(len(order)))
    loops = set()
    for connection in connections:
        first, last = position[connection.target], position[connection.source]
        if first <= last:
            reach[first] = max(reach[first], last)
            loops.add(first)
    groups: list[Group] = []
    start = 0
    while start < len(order):
        end, i = reach[start], start
        while i <= end:
            end = max(end, reach[i])
            i += 1
        groups.append(Group(tuple(order[start : end + 1]), any(i in loops for i in range(start, end + 1))))
        start = end + 1
    return tuple(groups)


def balanced_depths(order: Sequence[str], connections: Sequence[Any]) -> dict[str, int]:
    """Return each population's step in a pipeline of one step per hop.

    What leaves a source at depth d arrives at depth e in time, ``e - d + delay`` steps later, where that is at least
    one: depths are the longest paths of hops less delays.

    Raises
    ------
    UnsupportedError
        When a loop's delays are fewer than its hops; names its populations.
    """
    depth = dict.fromkeys(order, 0)
    behind: dict[str, str] = {}
    # Every path that is no loop has fewer hops than there are populations.
    for _ in range(len(depth)):
        longer = [c for c in connections if depth[c.source] + 1 - c.least_delay > depth[c.target]]
        if not longer:
            return depth
        for c in longer:
            if depth[c.source] + 1 - c.least_delay > depth[c.target]:
                depth[c.target] = depth[c.source] + 1 - c.least_delay
                behind[c.target] = c.source
    if all(depth[c.source] + 1 - c.least_delay <= depth[c.target] for c in connections):
        return depth
    name = next(c.target for c in connections if depth[c.source] + 1 - c.least_delay > depth[c.target])
    for _ in range(len(depth)):
        name = behind.get(name, name)
    loop = [name]
    while behind[loop[-1]] != name:
        loop.append(behind[loop[-1]])
    raise UnsupportedError(
        name,
        f"the loop {' -> '.join([*reversed(loop), loop[-1]])} has more hops than timesteps of delay, "
        "and every hop takes a step of a pipeline",
        "give the loop a delay of as many timesteps as it has populations",
    )
