"""Channels that never fire must not decide how others are scaled.

A channel that the ANN never activates has weights that nothing checks: a variance of 1e-45 in a normalisation, weights
that training left behind. Folded in, they would set the scale of every neuron they reach, and a spike by mistake would
count more than all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from toolchain.calibrate import Histogram
from toolchain.frontend.rewrites import simplify
from toolchain.netlist import Connection, Operator, Scale, Shape, Weighted, per_channel
from toolchain.network import Activation, FloatNetwork, MaxUnit, carried
from toolchain.quantize import Remark, largest_weight, output_channels, summed_up

#: Observations without a single activation that prove a channel dead: it is active in less than 3 of as many, with 95 %
#: confidence (the rule of three: J. A. Hanley, A. Lippman-Hand, "If nothing goes wrong, is everything all right?",
#: JAMA 249 (1983)). A sample is one observation, whatever its size: a channel that waits for one kind of picture is
#: silent everywhere on all others.
LEAST_OBSERVATIONS = 1000


def silence(
    network: FloatNetwork, histograms: Mapping[str, Histogram], samples: int
) -> tuple[FloatNetwork, tuple[str, ...]]:
    """Take the weights from and to channels that never fire.

    Channels that enough observations prove dead lose them all, and their biases. Of others that did not fire on these
    samples, weights beyond all that the rest of the layer has are cut to those.

    Parameters
    ----------
    network : FloatNetwork
    histograms : mapping of str to Histogram
        Of the activations on the calibration data.
    samples : int
        How many they count.

    Returns
    -------
    network : FloatNetwork
        Equal on the calibration data; the same where no such channel is.
    notes : tuple of str
        One on all dead channels, where there are any.
    """
    idle = {u.name: histograms[u.name].top <= 0 for u in network.activations}
    proven = {name: channels & (samples >= LEAST_OBSERVATIONS) for name, channels in idle.items()}
    if not any(channels.any() for channels in idle.values()):
        return network, ()
    dead, quiet = _Silent(network, proven), _Silent(network, idle)
    units = tuple(
        replace(u, bias=u.bias * per_channel(dead.emits[u.name], u.bias.shape))
        if isinstance(u, Activation) and proven[u.name].any()
        else u
        for u in network.units
    )
    connections = tuple(dead.taken_out(quiet.limited(c)) for c in network.connections)
    what = f"channels never fired on the {samples:,} calibration samples, and are silent"
    notes = summed_up(
        Remark(name, what, np.count_nonzero(channels), channels.size)
        for name, channels in proven.items()
        if channels.any()
    )
    return replace(network, units=units, connections=connections), tuple(notes)


@dataclass(frozen=True, eq=False)
class _Silent:
    """Channels of activations that emit nothing, and what follows for others.

    Parameters
    ----------
    network : FloatNetwork
    channels : mapping of str to ndarray (C,), bool
        Per activation.
    """

    network: FloatNetwork
    channels: Mapping[str, np.ndarray]

    @cached_property
    def emits(self) -> dict[str, np.ndarray]:
        """Per unit, 1 for channels that may emit and 0 for others, (C,) float64."""
        emits: dict[str, np.ndarray] = {}
        for unit in self.network.units:
            if isinstance(unit, Activation):
                emits[unit.name] = 1.0 - self.channels[unit.name]
            elif isinstance(unit, MaxUnit):
                arriving = [
                    self._through(c.operators, emits[c.source], c.source) for c in self.network.inputs(unit.name)
                ]
                emits[unit.name] = np.maximum.reduce(arriving).reshape(unit.shape[0], -1).max(axis=1)
            else:
                emits[unit.name] = np.ones(unit.shape[0])
        return emits

    def _through(self, operators: tuple[Operator, ...], channels: np.ndarray, source: str) -> np.ndarray:
        shape: Shape = self.network[source].shape
        numbers = np.broadcast_to(per_channel(channels, shape), shape)
        for operator in operators:
            numbers = carried(operator, numbers)
        return numbers

    def taken_out(self, connection: Connection) -> Connection:
        """Return the connection without weights from and to silent channels."""
        if isinstance(self.network[connection.target], MaxUnit):
            return connection
        operators = self._from_others(connection)
        if not self.emits[connection.target].all():
            operators = (*operators, Scale(self.emits[connection.target]))
        return replace(connection, operators=_simplified(operators, self.network[connection.source].shape))

    def limited(self, connection: Connection) -> Connection:
        """Return the connection with weights from silent channels no greater than any other's into the same channel."""
        operators = connection.operators
        others = _simplified(self._from_others(connection), self.network[connection.source].shape)
        if len(others) != len(operators) or others is operators:
            return connection
        return replace(connection, operators=tuple(map(_limited, operators, others)))

    def _from_others(self, connection: Connection) -> tuple[Operator, ...]:
        emits = self.emits[connection.source]
        return connection.operators if emits.all() else (Scale(emits), *connection.operators)


def _simplified(operators: tuple[Operator, ...], shape: Shape) -> tuple[Operator, ...]:
    simple = simplify(operators, shape)
    assert isinstance(simple, tuple), "a chain with weights is no map to zero"
    return simple


def _limited(operator: Operator, others: Operator) -> Operator:
    if not isinstance(operator, Weighted) or type(operator) is not type(others):
        return operator
    assert isinstance(others, Weighted)
    most = largest_weight(others)
    limit = output_channels(others, np.where(most > 0, most, np.inf))
    return replace(operator, weight=np.clip(operator.weight, -limit, limit))
