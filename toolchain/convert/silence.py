"""Channels that never fire are taken out of what others are scaled by.

A channel that the ANN never activates has weights that nothing checks: a variance of 1e-45 in a normalisation, weights
that training left behind. Folded in, they would decide the scale of every neuron they reach, and errors of spikes would
make such a neuron fire where the ANN's does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from toolchain.calibrate import Histogram
from toolchain.frontend.rewrites import Zero, simplify
from toolchain.netlist import Connection, Scale, per_channel
from toolchain.network import Activation, FloatNetwork, MaxUnit, carried

#: Observations without a single activation that prove a channel dead: it is active in less than 3 of as many, with 95 %
#: confidence (the rule of three: J. A. Hanley, A. Lippman-Hand, "If nothing goes wrong, is everything all right?",
#: JAMA 249 (1983)).
LEAST_OBSERVATIONS = 1000
#: Positions of one picture that count: neighbours see much the same.
_POSITIONS = 16


def silence(
    network: FloatNetwork, histograms: Mapping[str, Histogram], samples: int
) -> tuple[FloatNetwork, tuple[str, ...]]:
    """Set the weights from and to channels that never fired, and their biases, to zero.

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
        Equal on the calibration data.
    notes : tuple of str
        One for every layer with such channels.
    """
    dead = {
        unit.name: histograms[unit.name].top <= 0
        for unit in network.activations
        if samples * min(prod(unit.shape[1:]), _POSITIONS) >= LEAST_OBSERVATIONS
    }
    dead = {name: channels for name, channels in dead.items() if channels.any()}
    if not dead:
        return network, ()
    alive = _alive(network, dead)
    units = tuple(
        replace(u, bias=u.bias * per_channel(alive[u.name], u.bias.shape)) if isinstance(u, Activation) else u
        for u in network.units
    )
    connections = tuple(_silenced(network, c, alive) for c in network.connections)
    notes = tuple(
        f"{name}: {np.count_nonzero(channels)} of {channels.size} channels never fired on the {samples:,} calibration "
        "samples, and are silent"
        for name, channels in dead.items()
    )
    return replace(network, units=units, connections=connections), notes


def _alive(network: FloatNetwork, dead: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return, per unit, 1 for channels that may emit and 0 for others, (C,) float64."""
    alive: dict[str, np.ndarray] = {}
    for unit in network.units:
        alive[unit.name] = np.ones(unit.shape[0])
        if isinstance(unit, MaxUnit):
            arriving = np.zeros(unit.input_shape)
            for connection in network.inputs(unit.name):
                shape = network[connection.source].shape
                numbers = np.broadcast_to(per_channel(alive[connection.source], shape), shape)
                for operator in connection.operators:
                    numbers = carried(operator, numbers)
                arriving = np.maximum(arriving, numbers)
            alive[unit.name] = arriving.reshape(unit.input_shape[0], -1).max(axis=1)
        elif unit.name in dead:
            alive[unit.name][dead[unit.name]] = 0.0
    return alive


def _silenced(network: FloatNetwork, connection: Connection, alive: Mapping[str, np.ndarray]) -> Connection:
    """Return the connection without the weights from what never emits, and those into it."""
    operators = connection.operators
    if isinstance(network[connection.target], MaxUnit):
        return connection
    if not alive[connection.source].all():
        operators = (Scale(alive[connection.source]), *operators)
    if not alive[connection.target].all():
        operators = (*operators, Scale(alive[connection.target]))
    simple = simplify(operators, network[connection.source].shape)
    assert not isinstance(simple, Zero)
    return replace(connection, operators=simple)
