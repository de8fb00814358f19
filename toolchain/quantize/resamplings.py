"""Resampling by real weights becomes resampling by integers, before anything else is rounded.

A chain has one scale for its weights, and the entries of a `Resample` count in it: the finer their unit, the coarser
what is left for the weights beside them. So interpolation by weights that are no multiples of a coarse unit is rounded.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from toolchain.netlist import Connection, Operator, Resample, Weighted
from toolchain.network import FloatNetwork

#: Units of 1/d are tried for d up to this: 4 bits of every weight of interpolation.
_MOST_PARTS = 16


def whole_resamplings(network: FloatNetwork) -> tuple[FloatNetwork, tuple[str, ...]]:
    """Return a network whose resamplings are all of whole numbers, and notes on what was rounded.

    The unit of each axis is the one that loses least (sum of squares) of those that are coarse enough; the sum of every
    row is kept where it is a multiple of it, so that constants stay constant. Weights beside take up the unit.
    """
    connections, notes = [], []
    for connection in network.connections:
        found, worst = _whole(connection.operators)
        connections.append(Connection(connection.source, connection.target, found))
        if worst:
            notes.append(f"{connection.name}: weights of interpolation rounded, by at most {worst:.3f}")
    if not notes:
        return network, ()
    return replace(network, connections=tuple(connections)), tuple(notes)


def _whole(operators: tuple[Operator, ...]) -> tuple[tuple[Operator, ...], float]:
    """Return a chain with integer resamplings, and the greatest error of a weight of interpolation."""
    factor, worst = 1.0, 0.0
    result: list[Operator] = []
    for operator in operators:
        if isinstance(operator, Resample) and any(m.dtype.kind == "f" for m in operator.matrices):
            rounded = [_rounded(m) for m in operator.matrices]
            units = [parts for _, parts in rounded]
            errors = (np.abs(w / p - m).max() for (w, p), m in zip(rounded, operator.matrices, strict=True))
            operator = Resample(tuple(w for w, _ in rounded))
            factor, worst = factor / prod(units), max(worst, *map(float, errors))
        result.append(operator)
    first = next((i for i, o in enumerate(result) if isinstance(o, Weighted)), None)
    if factor != 1 and first is not None:
        weighted = result[first]
        assert isinstance(weighted, Weighted)
        result[first] = replace(weighted, weight=weighted.weight * factor)
    return tuple(result), worst


def _rounded(matrix: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a matrix in whole numbers and their unit's denominator."""
    tried = [(_in_parts(matrix, parts), parts) for parts in range(1, _MOST_PARTS + 1)]
    return min(tried, key=lambda t: float(np.square(t[0] / t[1] - matrix).sum()))


def _in_parts(matrix: np.ndarray, parts: int) -> np.ndarray:
    """Round every row so that its sum is right, too: what lost most by rounding down goes up first."""
    exact = matrix * parts
    whole = np.floor(exact).astype(np.int64)
    missing = np.rint(exact.sum(axis=1)).astype(np.int64) - whole.sum(axis=1)
    order = np.argsort(whole - exact, axis=1, kind="stable")
    for row, places, count in zip(whole, order, missing, strict=True):
        row[places[:count]] += 1
    return whole
