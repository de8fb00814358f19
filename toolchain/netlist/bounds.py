"""Static bounds: the largest currents, membrane potentials and partial sums that can occur.

They decide whether the membrane can saturate and which float type carries a sum exactly. Bounds
are intervals per neuron, propagated through the operators from the payload ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.netlist.graph import Connection, Netlist
from toolchain.netlist.linear import apply
from toolchain.netlist.operators import Operator, Operators
from toolchain.netlist.populations import AdaFire, Readout
from toolchain.netlist.shapes import Shape, per_channel


@dataclass(frozen=True, eq=False)
class Interval:
    """Least and greatest value per neuron; both ndarray `shape`, int64."""

    low: np.ndarray
    high: np.ndarray

    @property
    def magnitude(self) -> int:
        """Greatest absolute value."""
        return max(abs(int(self.low.min())), abs(int(self.high.max())))


def _through(operator: Operator, interval: Interval, shape: Shape) -> Interval:
    if isinstance(operator, Operators.WEIGHTED):
        weight = operator.weight.astype(np.int64)
        positive = replace(operator, weight=np.maximum(weight, 0))
        negative = replace(operator, weight=np.minimum(weight, 0))
        return Interval(
            apply(positive, interval.low, shape) + apply(negative, interval.high, shape),
            apply(positive, interval.high, shape) + apply(negative, interval.low, shape),
        )
    return Interval(apply(operator, interval.low, shape), apply(operator, interval.high, shape))


def _payload(netlist: Netlist, name: str) -> Interval:
    low, high = netlist.payload_range(name)
    shape = netlist[name].shape
    return Interval(np.full(shape, low, dtype=np.int64), np.full(shape, high, dtype=np.int64))


def current_bound(netlist: Netlist, connection: Connection) -> Interval:
    """Bound the current of one connection, per target neuron."""
    interval, shape = _payload(netlist, connection.source), netlist[connection.source].shape
    for operator in connection.operators:
        interval = _through(operator, interval, shape)
        shape = operator.output_shape(shape)
    return interval


def partial_sum_bound(netlist: Netlist, connection: Connection) -> int:
    """Bound the magnitude of every partial sum inside a connection, in any order of summation.

    The sum of |weight| * max |payload| over any subset of the inputs of any operator of the chain.
    A float type with more significand bits than this carries the connection exactly.
    """
    low, high = netlist.payload_range(connection.source)
    shape = netlist[connection.source].shape
    magnitude = np.full(shape, max(-low, high), dtype=np.int64)
    worst = int(magnitude.max())
    for operator in connection.operators:
        if isinstance(operator, Operators.WEIGHTED):
            operator = replace(operator, weight=np.abs(operator.weight.astype(np.int64)))
        magnitude = apply(operator, magnitude, shape)
        shape = operator.output_shape(shape)
        worst = max(worst, int(magnitude.max()))
    return worst


def total_current_bound(netlist: Netlist, name: str) -> Interval:
    """Bound the whole current of one timestep into a population, bias included, per neuron."""
    population = netlist[name]
    shape = population.shape
    low, high = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for connection in netlist.inputs(name):
        interval = current_bound(netlist, connection)
        low, high = low + interval.low, high + interval.high
    if isinstance(population, AdaFire | Readout):
        bias = per_channel(population.bias, shape)
        low, high = low + bias, high + bias
    return Interval(low, high)


def membrane_bound(netlist: Netlist, name: str, timesteps: int | None = None) -> Interval:
    """Bound the membrane potential before firing over a whole run, per neuron.

    Parameters
    ----------
    netlist : Netlist
    name : str
        An `AdaFire` population or a `Readout` (its running sum).
    timesteps : int, optional
        Length of the run; the netlist's own by default.

    Returns
    -------
    Interval
        A range that no timestep leaves, without saturation.
    """
    timesteps = timesteps or netlist.timesteps
    population = netlist[name]
    current = total_current_bound(netlist, name)
    if isinstance(population, Readout):
        return Interval(np.minimum(current.low, 0) * timesteps, np.maximum(current.high, 0) * timesteps)
    if not isinstance(population, AdaFire):
        raise TypeError(f"{name} has no membrane potential")
    theta = per_channel(population.threshold, population.shape)
    initial = np.broadcast_to(per_channel(population.initial, population.shape), population.shape).astype(np.int64)
    low, high = initial, initial
    least, most = initial, initial
    for _ in range(timesteps):
        low, high = low + current.low, high + current.high
        least, most = np.minimum(least, low), np.maximum(most, high)
        # After firing, what is above phi thresholds stays; what is above none is below one.
        low = np.minimum(low, 0)
        high = np.minimum(high, np.maximum(theta - 1, high - population.phi * theta))
    return Interval(least, most)


def can_saturate(netlist: Netlist, name: str, timesteps: int | None = None) -> bool:
    """Return whether a population's membrane potential could reach the saturation limit."""
    return membrane_bound(netlist, name, timesteps).magnitude > netlist.membrane_limit
