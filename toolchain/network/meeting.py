"""Which channels' values are added before anything weighs them: their spikes must stand for the same.

A weight takes up what a spike of its source stands for (semantics, section 3), where it is the weight of one channel. A
sum over channels, a matrix over positions, a pooling window over moved values adds spikes of several channels first, or
weighs them alike: a spike of each must stand for the same activation. The groups of such channels follow from the
operators alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from toolchain.netlist import Linear, Operator, Resample, SumPool, Weighted, apply, per_channel
from toolchain.network.float_network import Activation, FloatNetwork, MaxUnit


def shared_amplitudes(network: FloatNetwork) -> dict[str, np.ndarray]:
    """Return, per activation, which of its channels must share one threshold.

    Returns
    -------
    dict of str to ndarray (C,), int64
        Channels of the same number share. Most share with none.
    """
    meetings = Meetings()
    numbers: dict[str, np.ndarray] = {network.source.name: np.zeros(network.source.shape, np.int64)}
    first: dict[str, int] = {}
    for unit in network.units[1:]:
        arriving = [meetings.carry(c.operators, numbers[c.source]) for c in network.inputs(unit.name)]
        if isinstance(unit, Activation):
            first[unit.name] = meetings.add(unit.shape[0])
            own = np.arange(first[unit.name], first[unit.name] + unit.shape[0])
            numbers[unit.name] = np.broadcast_to(per_channel(own, unit.shape), unit.shape)
        elif isinstance(unit, MaxUnit):
            top = meetings.join(np.maximum.reduce(arriving))
            numbers[unit.name] = np.broadcast_to(per_channel(top, unit.shape), unit.shape)
    labels = meetings.labels()
    return {name: labels[start : start + network[name].shape[0]] for name, start in first.items()}


def meeting_channels(operators: Sequence[Operator], shape: tuple[int, ...]) -> np.ndarray:
    """Return which channels of values of `shape` meet on the way through operators, up to the first weight, (C,) int64.

    Channels of the same number meet.
    """
    meetings = Meetings()
    own = np.arange(meetings.add(shape[0]), shape[0] + 1)
    meetings.carry(operators, np.broadcast_to(per_channel(own, shape), shape))
    return meetings.labels()[1:]


class Meetings:
    """Numbers of channels, 0 for what never emits, and which of them meet."""

    def __init__(self) -> None:
        self._count = 1
        self._pairs: list[np.ndarray] = []

    def add(self, channels: int) -> int:
        """Return the first of so many new numbers."""
        self._count += channels
        return self._count - channels

    def carry(self, operators: Sequence[Operator], numbers: np.ndarray) -> np.ndarray:
        """Carry the numbers of neurons through operators up to the first weight, and note which meet."""
        for operator in operators:
            if isinstance(operator, Linear):
                break  # a weight for every neuron
            if isinstance(operator, Weighted | SumPool | Resample):
                self.join(numbers)
            if isinstance(operator, Weighted):
                break
            numbers = carried(operator, numbers)
        return numbers

    def join(self, numbers: np.ndarray) -> np.ndarray:
        """Note that the neurons (C, ...) of each channel meet; return a number for each, (C,) int64."""
        flat = numbers.reshape(numbers.shape[0], -1)
        top = flat.max(axis=1)
        apart = (flat != 0) & (flat != top[:, None])
        if apart.any():
            self._pairs.append(
                np.unique(np.stack([flat[apart], np.broadcast_to(top[:, None], flat.shape)[apart]]), axis=1)
            )
        return np.asarray(top)

    def labels(self) -> np.ndarray:
        """Return the group of every number."""
        rows, columns = np.concatenate(self._pairs, axis=1) if self._pairs else np.zeros((2, 0), np.int64)
        graph = coo_array((np.ones(rows.size), (rows, columns)), shape=(self._count, self._count))
        return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def carried(operator: Operator, numbers: np.ndarray) -> np.ndarray:
    """Carry the numbers of neurons through one operator without weights; 0 where nothing arrives.

    Where a window adds neurons up, their sum has the number of the channel's last one.
    """
    if isinstance(operator, SumPool | Resample):
        out = operator.output_shape(numbers.shape)
        top = numbers.reshape(numbers.shape[0], -1).max(axis=1)
        return np.broadcast_to(per_channel(top, out), out)
    return np.asarray(apply(operator, numbers, numbers.shape))
