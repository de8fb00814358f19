"""The network that neurons compute: pieces in the place of curves, means in the place of gates.

Every unit is closed anew, from the same connections, by the builder that reading uses. So factors and constants of the
pieces fold into what reads them, and what no output depends on any more goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.expression import Expression
from toolchain.frontend.layers import scale
from toolchain.frontend.operations import refusals
from toolchain.netlist import Origin, Shape, SumPool, per_channel
from toolchain.network import Activation, Curve, FloatNetwork, Gated, MaxUnit, Output, Unit
from toolchain.pieces.fit import Pieces


@dataclass(frozen=True, eq=False)
class Terms:
    """A unit's value, of `shape`, as ``constant + sum of gain * unit``."""

    shape: Shape
    units: tuple[tuple[float, Expression], ...]
    constant: float = 0.0

    @property
    def value(self) -> Expression:
        """The sum."""
        total = Expression(self.shape, (), np.broadcast_to(np.float64(self.constant), self.shape))
        for gain, unit in self.units:
            total = total.plus(_times(unit, gain))
        return total


def replaced(
    network: FloatNetwork, pieces: Mapping[str, Pieces], means: Mapping[str, np.ndarray] | None = None
) -> tuple[FloatNetwork, dict[str, tuple[str, ...]]]:
    """Return a network with other units in the place of curves and gates.

    Parameters
    ----------
    network : FloatNetwork
    pieces : mapping of str to Pieces
        By curve; a curve without stays.
    means : mapping of str to ndarray `shape`, optional
        What the gate of each `Gated` becomes; without them, all stay.

    Returns
    -------
    network : FloatNetwork
    names : dict of str to tuple of str
        The units of each curve's pieces, in their order.
    """
    builder = NetworkBuilder(network.source.shape)
    values = {network.source.name: _one(builder.source)}
    for unit in network.units[1:]:
        builder.path = unit.name
        with refusals(unit.name, type(unit).__name__):
            match unit:
                case MaxUnit():
                    values[unit.name] = _maxima(builder, network, unit, values)
                case Curve() if unit.name in pieces:
                    values[unit.name] = _pieced(builder, unit, _arriving(network, unit, values), pieces[unit.name])
                case Gated() if means is not None:
                    values[unit.name] = _one(_times(_arriving(network, unit, values), means[unit.name]))
                case Output():
                    builder.output(_arriving(network, unit, values).passed(0, unit.name, weighted=True))
                case _:
                    values[unit.name] = _one(_kept(builder, network, unit, values))
    origin = network.origin or Origin("", "", 0)
    with refusals(network.source.name, "network"):
        made = replace(builder.network(origin.name, origin.weights_sha256, network.tail), origin=network.origin)
    return made, {name: tuple(unit.terms[0].source for _, unit in values[name].units) for name in pieces}


def _one(value: Expression) -> Terms:
    return Terms(value.shape, ((1.0, value),))


def _times(value: Expression, factor: float | np.ndarray) -> Expression:
    scaled = scale(value, np.asarray(factor, dtype=np.float64))
    assert isinstance(scaled, Expression)
    return scaled


def _delivered(network: FloatNetwork, target: str, source: str, values: Mapping[str, Terms]) -> Expression:
    """Return what all connections from one unit to another deliver."""
    parts = []
    for connection in network.inputs(target):
        if connection.source == source:
            parts.append(values[source].value)
            for operator in connection.operators:
                parts[-1] = parts[-1].through(operator)
    return reduce(Expression.plus, parts)


def _arriving(
    network: FloatNetwork, unit: Activation | Curve | Gated | Output, values: Mapping[str, Terms]
) -> Expression:
    """Return what all connections but a gate's deliver, bias included."""
    total = Expression(unit.shape, (), np.broadcast_to(per_channel(unit.bias, unit.shape), unit.shape))
    gate = unit.gate if isinstance(unit, Gated) else None
    for source in dict.fromkeys(c.source for c in network.inputs(unit.name)):
        if source != gate:
            total = total.plus(_delivered(network, unit.name, source, values))
    return total


def _kept(builder: NetworkBuilder, network: FloatNetwork, unit: Unit, values: Mapping[str, Terms]) -> Expression:
    """Close a unit that stays what it is."""
    assert isinstance(unit, Activation | Curve | Gated)
    total = _arriving(network, unit, values)
    match unit:
        case Activation():
            return builder.activate(total, unit.upper)
        case Curve():
            return builder.bend(total, unit.function)
        case Gated():
            return builder.gated(total, _delivered(network, unit.name, unit.gate, values))


def _pieced(builder: NetworkBuilder, unit: Curve, total: Expression, pieces: Pieces) -> Terms:
    """Close an expression into a unit per piece."""
    units = []
    for number, piece in enumerate(pieces.pieces, start=1):
        builder.path = f"{unit.name}-{number}"
        argument = total.shift(-piece.start)
        argument = argument if piece.sign > 0 else _times(argument, -1.0)
        units.append((piece.gain, builder.activate(argument, piece.width)))
    return Terms(unit.shape, tuple(units), pieces.constant)


def _maxima(builder: NetworkBuilder, network: FloatNetwork, unit: MaxUnit, values: Mapping[str, Terms]) -> Terms:
    """Take the maxima of every piece of the unit that is read."""
    window = SumPool(unit.kernel, unit.stride, unit.padding)
    (connection,) = network.inputs(unit.name)
    read, found = values[connection.source], []
    for number, (gain, value) in enumerate(read.units, start=1):
        for operator in connection.operators:
            value = value.through(operator)
        path = f"{unit.name}-{number}" if read.constant or len(read.units) > 1 else unit.name
        found.append((gain, builder.pool(value, window, path)))
    return Terms(unit.shape, tuple(found), read.constant)
