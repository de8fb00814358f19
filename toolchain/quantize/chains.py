"""Weights in a row: amplitudes are folded in, and all but the last become integers with a share of the levels.

No neuron lies between the weights of one connection, so the integers multiply: with full width in each, the membrane
potential would run out of bits, and the last weights, which fit themselves to it, would be left without levels. The
room there is for their product is shared alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.netlist import Connection, Operator, Shape, Weighted, per_channel
from toolchain.network import carried, meeting_channels
from toolchain.quantize.amplitude import fold, largest_weight, output_channels, through_structure


@dataclass(frozen=True, eq=False)
class FoldedChain:
    """A connection's operators whose last weights are still real numbers in units of activation.

    Parameters
    ----------
    before : tuple of Operator
        Already integer.
    last : Weighted
        The last weighted operator, float64, with all amplitudes folded in.
    after : tuple of Operator
        Structural operators behind it.
    shape : tuple of int
        Output shape of `last`.
    """

    before: tuple[Operator, ...]
    last: Weighted
    after: tuple[Operator, ...]
    shape: Shape

    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs (channel of `last`, target channel) that `after` connects, two arrays (pairs,) int64."""
        if not self.after:
            every = np.arange(self.shape[0])
            return every, every
        # Every neuron carries the number of its channel, counted from 1: the operators put 0 where nothing arrives.
        numbers = np.arange(1, self.shape[0] + 1, dtype=np.int64)
        index = np.broadcast_to(per_channel(numbers, self.shape), self.shape)
        for operator in self.after:
            index = carried(operator, index)
        target = np.broadcast_to(per_channel(np.arange(index.shape[0]), index.shape), index.shape)
        connected = index > 0
        # One number for a pair: of big maps, pairs take a hundred times as long to sort.
        source, reached = np.divmod(
            np.unique((index[connected] - 1) * index.shape[0] + target[connected]), index.shape[0]
        )
        return source, reached


def fold_chain(connection: Connection, amplitude: np.ndarray, least: np.ndarray, top: int) -> FoldedChain:
    """Fold the source's amplitude in, and quantise all but the last weights of a connection.

    Parameters
    ----------
    connection : Connection
    amplitude : ndarray, float64
        What a payload unit of each neuron of the source stands for.
    least : ndarray (C,), float64
        Least scale of every target channel (`toolchain.quantize.scales`).
    top : int
        Greatest weight.

    Raises
    ------
    NetlistError
        When neurons that stand for different values meet in one channel of a weight.
    """
    full = _Folding(connection, amplitude, top)
    factors = full.rounded + 1
    if factors == 1:
        return full.chain
    # Levels that the last weights keep where the others take all they can, as a typical channel has them.
    source, target = full.chain.reach()
    weights = largest_weight(full.chain.last)[source]
    room = np.exp(np.log(weights[weights > 0] / least[target[weights > 0]]).mean()) if weights.any() else top
    if room >= top:
        return full.chain
    levels = (room * float(top) ** full.rounded) ** (1 / factors)
    return _Folding(connection, amplitude, max(1, round(levels))).chain


class _Folding:
    """A connection with its weights before the last rounded to so many levels.

    Weights in the middle of a chain get scales of their own, which become the amplitude for the weights behind: no
    neuron lies between that could tell. Channels that meet behind them share one.

    Attributes
    ----------
    chain : FoldedChain
    rounded : int
        Operators whose weights took the levels; one level holds those that are all alike, of a mask say, exactly.
    """

    def __init__(self, connection: Connection, amplitude: np.ndarray, levels: int) -> None:
        before, last, after = split_chain(connection.operators)
        done: list[Operator] = []
        self.rounded = 0
        for index, operator in enumerate(before):
            shape = amplitude.shape
            if not isinstance(operator, Weighted):
                done.append(operator)
                amplitude = through_structure(connection.name, operator, amplitude, shape)
                continue
            folded = fold(connection.name, operator, amplitude)
            out = operator.output_shape(shape)
            groups = meeting_channels((*before[index + 1 :], last), out)
            scale = _largest_of_groups(largest_weight(folded), groups)
            if not _one_magnitude(folded, scale):
                self.rounded += 1
                scale = scale / levels
            done.append(integer_weights(folded, scale, levels))
            amplitude = np.broadcast_to(per_channel(np.where(scale > 0, scale, 1.0), out), out)
        self.chain = FoldedChain(
            tuple(done), fold(connection.name, last, amplitude), after, last.output_shape(amplitude.shape)
        )


def _largest_of_groups(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    largest = np.zeros(groups.max() + 1)
    np.maximum.at(largest, groups, values)
    return largest[groups]


def _one_magnitude(operator: Weighted, scale: np.ndarray) -> bool:
    """Return whether every weight is 0 or, up to its sign, the scale of its channel."""
    weight = np.abs(operator.weight) / output_channels(operator, np.where(scale > 0, scale, 1.0))
    return bool(np.all((weight == 0) | (np.abs(weight - 1) < 1e-9)))


def integer_weights(operator: Weighted, scale: np.ndarray, top: int) -> Operator:
    """Round the weights of `operator` in units of the scale (C_out,) of their output channel, to at most `top`."""
    # Where the scale is 0, the channel holds no weight: any divisor leaves zeros.
    divisor = output_channels(operator, np.where(scale > 0, scale, 1.0))
    # Scales are float32 (`steady`): among the tiniest of them the largest weight may land beyond the range.
    weight = np.clip(np.rint(operator.weight / divisor), -top - 1, top).astype(np.int64)
    return replace(operator, weight=weight)


def split_chain(operators: tuple[Operator, ...]) -> tuple[tuple[Operator, ...], Weighted, tuple[Operator, ...]]:
    """Split a chain at its last weighted operator."""
    last = max(i for i, o in enumerate(operators) if isinstance(o, Weighted))
    operator = operators[last]
    assert isinstance(operator, Weighted)
    return operators[:last], operator, operators[last + 1 :]
