"""One scale per target channel: the real value of a unit of membrane potential.

Per output channel c one scale s_c serves all connections into a population (semantics, section 3):
the largest weight of any connection into the channel just fits the weight range. Where the operators
after the last weights mix channels (a flatten, say), the channels that one weight reaches share a
scale; so do channels whose spikes must stand for the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from toolchain.quantize.amplitude import largest_weight
from toolchain.quantize.chains import FoldedChain

#: Units of membrane potential that a threshold or bias without any weights beside it is counted in.
_UNWEIGHED = 2**8


def channel_scales(
    chains: Sequence[FoldedChain], least: np.ndarray, greatest: np.ndarray, shared: np.ndarray, top: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Choose the scale of every target channel and of every channel of the last weights.

    Parameters
    ----------
    chains : sequence of FoldedChain
    least : ndarray (C,), float64, positive
        Least scale of each target channel: a coarser unit of membrane potential than the weights
        ask for, so that threshold and bias fit their fields.
    greatest : ndarray (C,), float64
        Threshold or bias of each, whichever is greater: what the scale of a channel without weights is taken from.
    shared : ndarray (C,), int64
        Channels of the same number share a scale.
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
    _, first, group = np.unique(shared, return_index=True, return_inverse=True)
    rows, columns = [np.arange(channels)], [first[group]]
    largest = np.zeros(int(offsets[-1]))
    for chain, offset in zip(chains, offsets[:-1], strict=True):
        source, target = chain.reach()
        rows.append(source + offset)
        columns.append(target)
        largest[offset : offset + chain.shape[0]] = largest_weight(chain.last)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(row.size), (row, column)), shape=(largest.size, largest.size))
    count, component = connected_components(graph, directed=False)
    scale = np.zeros(count)
    np.maximum.at(scale, component, largest / top)
    # A channel without weights asks for nothing, and the finest unit would make numbers that a target cannot hold.
    idle = scale[component[:channels]] == 0
    np.maximum.at(scale, component[:channels], np.where(idle, np.maximum(greatest / _UNWEIGHED, least), least))
    scale = steady(scale[component])
    return scale[:channels], [scale[o : o + c.shape[0]] for c, o in zip(chains, offsets[:-1], strict=True)]


def steady(values: np.ndarray) -> np.ndarray:
    """Round to the 24 bits of float32, as float64.

    Calibration sums activations, and the last bits of a sum depend on how many threads added it up. Scales
    are part of a netlist, and the same conversion must give the same netlist.
    """
    return values.astype(np.float32).astype(np.float64)
