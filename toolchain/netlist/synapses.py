"""Synapses: which exist, and how many each neuron drives and takes (semantics, section 9).

Counts run in float64, whose matrix products are fast: exact up to 2**53 synapses of one neuron.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from toolchain.netlist.factored import Map, backward, forward, full, multiplied
from toolchain.netlist.graph import Connection
from toolchain.netlist.operators import Operator, Resample, Weighted, chain_shapes
from toolchain.netlist.shapes import Shape


def structure(operator: Operator, *, zeros: bool = True) -> Operator:
    """Return the operator with 1 for every weight: which synapses exist.

    A weight that quantised to zero is a synapse all the same (not without `zeros`); a position that
    a slice, a pad or an identity does not connect is none.
    """
    if isinstance(operator, Weighted):
        every = np.broadcast_to(np.int64(1), operator.weight.shape)
        return replace(operator, weight=every if zeros else (operator.weight != 0).astype(np.int64))
    if isinstance(operator, Resample):
        return replace(operator, matrices=tuple((m != 0).astype(np.int64) for m in operator.matrices))
    return operator


def fan_out(operators: tuple[Operator, ...], shape: Shape, *, zeros: bool = True) -> np.ndarray:
    """Count the synapses that each neuron of a source population drives through a connection.

    Parameters
    ----------
    operators : tuple of Operator
    shape : tuple of int
        The source population's shape.
    zeros : bool
        Whether weights of zero count.

    Returns
    -------
    ndarray `shape`, int64
        Targets reached by each neuron, borders included: the transpose of the structure applied
        to ones. A chain counts the paths through it.
    """
    shapes = chain_shapes(operators, shape)
    count: Map = full(shapes[-1], 1.0)
    for operator, before in zip(reversed(operators), reversed(shapes[:-1]), strict=True):
        count = backward(structure(operator, zeros=zeros), count, before)
    return multiplied(count).astype(np.int64)


def fan_in(operators: tuple[Operator, ...], shape: Shape) -> np.ndarray:
    """Count the synapses that each target neuron takes through a connection.

    Parameters
    ----------
    operators : tuple of Operator
    shape : tuple of int
        The source population's shape.

    Returns
    -------
    ndarray (*current shape), int64
        Sources of each target, borders included: the structure applied to ones. A chain counts the
        paths through it.
    """
    count: Map = full(shape, 1.0)
    for operator, before in zip(operators, chain_shapes(operators, shape), strict=False):
        count = forward(structure(operator), count, before)
    return multiplied(count).astype(np.int64)


def fan_outs(connections: Sequence[Connection], shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """Return the number of synapses that each neuron drives, summed over its connections.

    Parameters
    ----------
    connections : sequence of Connection
    shapes : mapping of str to tuple of int
        Of the populations (or units) that the connections name.

    Returns
    -------
    dict of str to ndarray (shape of the source), int64
        One entry per source; what drives nothing has none.
    """
    total: dict[str, np.ndarray] = {}
    for connection in connections:
        count = fan_out(connection.operators, shapes[connection.source])
        total[connection.source] = total.get(connection.source, 0) + count
    return total
