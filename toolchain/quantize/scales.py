"""One scale per target channel: the real value of a unit of membrane potential.

Per output channel c one scale s_c serves all connections into a population (semantics, section 3):
the largest weight of any connection into the channel just fits the weight range. Where the operators
after the last weights mix channels (a flatten, say), the channels that one weight reaches share a
scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from toolchain.netlist import Operator, Resample, Shape, SumPool, Weighted, apply, chain_shapes, per_channel
from toolchain.quantize.amplitude import largest_weight


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


def _reach(chain: FoldedChain) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs (channel of the last weights, target channel) that `after` connects, two arrays (pairs,) int64."""
    # Every neuron carries the number of its channel, counted from 1: the operators put 0 where nothing arrives.
    numbers = np.arange(1, chain.shape[0] + 1, dtype=np.int64)
    index = np.broadcast_to(per_channel(numbers, chain.shape), chain.shape)
    shapes = chain_shapes(chain.after, chain.shape)
    for operator, shape in zip(chain.after, shapes[:-1], strict=True):
        if isinstance(operator, SumPool | Resample):
            # They sum within a channel, and a sum of numbers would be another channel's.
            out = operator.output_shape(shape)
            index = np.broadcast_to(per_channel(index.reshape(shape[0], -1).max(axis=1), out), out)
        else:
            index = apply(operator, index, shape)
    target = np.broadcast_to(per_channel(np.arange(index.shape[0]), index.shape), index.shape)
    connected = index > 0
    pairs = np.unique(np.stack([index[connected] - 1, target[connected]]), axis=1)
    return pairs[0], pairs[1]


def channel_scales(chains: Sequence[FoldedChain], least: np.ndarray, top: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Choose the scale of every target channel and of every channel of the last weights.

    Parameters
    ----------
    chains : sequence of FoldedChain
    least : ndarray (C,), float64, positive
        Least scale of each target channel: a coarser unit of membrane potential than the weights
        ask for, so that threshold and bias fit their fields.
    top : int
        Greatest weight, ``2**(bits - 1) - 1``.

    Returns
    -------
    target : ndarray (C,), float64, positive
    weights : list of ndarray (C_last,), float64
        Per chain; 0 where a channel holds no weight and reaches no target.
    """
    channels = least.shape[0]
    # Channels that must share a scale are the connected components of a graph. A weight's channel shares with every
    # target channel that it reaches, since both count in units of the same membrane potential.
    # Nodes: target channels first, then the channels of each chain's last weights.
    offsets = np.cumsum([channels, *(c.shape[0] for c in chains)])
    rows, columns = [np.arange(0)], [np.arange(0)]
    largest = np.zeros(int(offsets[-1]))
    for chain, offset in zip(chains, offsets[:-1], strict=True):
        source, target = _reach(chain)
        rows.append(source + offset)
        columns.append(target)
        largest[offset : offset + chain.shape[0]] = largest_weight(chain.last)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(row.size), (row, column)), shape=(largest.size, largest.size))
    count, component = connected_components(graph, directed=False)
    # The least scale enters as the weight that would ask for it.
    largest[:channels] = least * top
    peak = np.zeros(count)
    np.maximum.at(peak, component, largest)
    scale = steady(peak[component] / top)
    return scale[:channels], [scale[o : o + c.shape[0]] for c, o in zip(chains, offsets[:-1], strict=True)]


def steady(values: np.ndarray) -> np.ndarray:
    """Round to the 24 bits of float32, as float64.

    Calibration sums activations, and the last bits of a sum depend on how many threads added it up. Scales
    are part of a netlist, and the same conversion must give the same netlist.
    """
    return values.astype(np.float32).astype(np.float64)


def split_chain(operators: tuple[Operator, ...]) -> tuple[tuple[Operator, ...], Weighted, tuple[Operator, ...]]:
    """Split a chain at its last weighted operator."""
    last = max(i for i, o in enumerate(operators) if isinstance(o, Weighted))
    operator = operators[last]
    assert isinstance(operator, Weighted)
    return operators[:last], operator, operators[last + 1 :]
