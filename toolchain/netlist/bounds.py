"""Static bounds: the largest currents, membrane potentials and partial sums that can occur.

They decide whether the membrane can saturate and which number type carries a sum exactly. Bounds
are intervals per neuron, propagated through the operators from the payload ranges. Each question
can be asked of a netlist, or of one population with what feeds it (`Incoming`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.netlist.errors import NetlistError
from toolchain.netlist.factored import Map, forward, full, multiplied
from toolchain.netlist.graph import Connection, Netlist
from toolchain.netlist.leaky import DECAY_UNITY, STATE_LIMIT, WEIGHT_SHIFT, CubaLif, Leaky, LeakyReadout
from toolchain.netlist.operators import Operator, Resample, Weighted
from toolchain.netlist.populations import AdaFire, MaxPool, Population, Readout
from toolchain.netlist.shapes import Shape, per_channel

#: The connections into one population, each with the population that it comes from.
Incoming = Sequence[tuple[Connection, Population]]

# Bounds are computed in float64, whose matrix products are fast: exact below this.
_EXACT = 2**53


@dataclass(frozen=True, eq=False)
class Interval:
    """Least and greatest value per neuron; both ndarray `shape`, int64."""

    low: np.ndarray
    high: np.ndarray

    @property
    def magnitude(self) -> int:
        """Greatest absolute value."""
        return max(abs(int(self.low.min())), abs(int(self.high.max())))


def _integers(where: str, values: np.ndarray) -> np.ndarray:
    if float(np.abs(values).max()) >= _EXACT:
        raise NetlistError(where, f"sums reach {np.abs(values).max():.3g}, expected less than 2**53")
    return values.astype(np.int64)


def _magnitudes(operator: Operator) -> Operator:
    if isinstance(operator, Weighted):
        return replace(operator, weight=np.abs(operator.weight.astype(np.int64)))
    if isinstance(operator, Resample):
        return replace(operator, matrices=tuple(np.abs(m) for m in operator.matrices))
    return operator


def _payload_range(population: Population) -> tuple[int, int]:
    if isinstance(population, Readout | LeakyReadout):
        raise NetlistError(population.name, "a readout emits no payload")
    return population.payload_range


def incoming(netlist: Netlist, name: str) -> Incoming:
    """Return the connections into a population, each with its source population."""
    return [(c, netlist[c.source]) for c in netlist.inputs(name)]


def bound_current(connection: Connection, source: Population) -> Interval:
    """Bound the current of one connection, per target neuron.

    With c the middle and r the radius of an interval, ``A [c - r, c + r]`` is ``A c +- |A| r``:
    two products, of which both are exact in halves.
    """
    low, high = _payload_range(source)
    shape: Shape = source.shape
    total: Map = full(shape, float(low + high))
    width: Map = full(shape, float(high - low))
    for operator in connection.operators:
        total, width = forward(operator, total, shape), forward(_magnitudes(operator), width, shape)
        shape = operator.output_shape(shape)
    middle, radius = multiplied(total), multiplied(width)
    sums = _integers(connection.name, np.stack([middle - radius, middle + radius]))
    return Interval(sums[0] // 2, sums[1] // 2)


def bound_partial_sums(connection: Connection, source: Population) -> int:
    """Bound the magnitude of every partial sum inside a connection, in any order of summation.

    The sum of |weight| * max |payload| over any subset of the inputs of any operator of the chain.
    A float type with more significand bits than this carries the connection exactly.
    """
    low, high = _payload_range(source)
    shape: Shape = source.shape
    magnitude: Map = full(shape, float(max(-low, high)))
    worst = float(max(-low, high))
    for operator in connection.operators:
        magnitude = forward(_magnitudes(operator), magnitude, shape)
        shape = operator.output_shape(shape)
        worst = max(worst, multiplied(magnitude).max())
    return int(_integers(connection.name, np.asarray(worst)))


def bound_total_current(population: Population, sources: Incoming) -> Interval:
    """Bound the whole current of one timestep into a population, per neuron; in units of a weight.

    The bias is part of it, but for leaky populations, which add theirs to the membrane potential.
    """
    shape = population.current_shape if isinstance(population, MaxPool) else population.shape
    low, high = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for connection, source in sources:
        interval = bound_current(connection, source)
        low, high = low + interval.low, high + interval.high
    if isinstance(population, AdaFire | Readout):
        bias = per_channel(population.bias, shape)
        low, high = low + bias, high + bias
    return Interval(low, high)


def bound_membrane(population: AdaFire | Readout | Leaky, sources: Incoming, timesteps: int) -> Interval:
    """Bound the membrane potential before firing over a whole run, per neuron.

    Parameters
    ----------
    population : AdaFire, CubaLif, Readout or LeakyReadout
        Of a readout, its running sum. Of leaky populations, whose potential is in 1/64 of a weight, a current that
        wraps around is not in it: `bound_leaky` says whether one can.
    sources : Incoming
    timesteps : int
        Length of the run.

    Returns
    -------
    Interval
        A range that no timestep leaves, without saturation.
    """
    current = bound_total_current(population, sources)
    if isinstance(population, Readout):
        return Interval(np.minimum(current.low, 0) * timesteps, np.maximum(current.high, 0) * timesteps)
    if isinstance(population, CubaLif | LeakyReadout):
        return bound_leaky(population, current, timesteps)[1]
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


def bound_window(population: AdaFire | Readout, sources: Incoming) -> Interval:
    """Bound the membrane potential, or a readout's sum, over a window of digits (semantics, section 10), per neuron.

    After k digits the potential is the current of the numbers so far, which are no greater than the whole ones, and
    a current may be zero: its interval holds all of them. The bias and the initial potential come with the last digit.

    Parameters
    ----------
    population : AdaFire or Readout
    sources : Incoming
        With whole numbers as payloads (`Netlist.numbers`).
    """
    shape = population.shape
    low, high = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for connection, source in sources:
        interval = bound_current(connection, source)
        low, high = low + np.minimum(interval.low, 0), high + np.maximum(interval.high, 0)
    last = window_offset(population)
    return Interval(np.minimum(low, low + last), np.maximum(high, high + last))


def window_offset(population: AdaFire | Readout) -> np.ndarray:
    """Return what comes to a potential with the last digit of a window: (C, 1...) or `shape`, int64."""
    offset = per_channel(population.bias, population.shape).astype(np.int64)
    if isinstance(population, AdaFire):
        offset = offset + per_channel(population.initial, population.shape)
    return np.asarray(offset)


def bound_leaky(population: Leaky, current: Interval, timesteps: int) -> tuple[Interval, Interval]:
    """Bound current and membrane potential of a leaky population over a run, in 1/64 of a weight, per neuron.

    Parameters
    ----------
    population : CubaLif or LeakyReadout
    current : Interval
        What arrives in one timestep, in units of a weight.
    timesteps : int

    Returns
    -------
    current, potential : Interval
        Ranges that no timestep leaves, without the limits of 24 bits.
    """
    shape = population.shape
    keep_u = DECAY_UNITY - per_channel(population.current_decay, shape).astype(np.float64)
    keep_v = DECAY_UNITY - per_channel(population.voltage_decay, shape).astype(np.float64)
    arriving = np.stack([np.minimum(current.low, 0), np.maximum(current.high, 0)]) * float(2**WEIGHT_SHIFT)
    bias = per_channel(population.bias, shape)
    drive = np.stack(np.broadcast_arrays(np.minimum(bias, 0), np.maximum(bias, 0)))
    u = v = np.zeros((2, *shape))
    for _ in range(timesteps):
        # Both ends only grow apart, and truncation moves neither outwards.
        u = np.trunc(u * keep_u / DECAY_UNITY) + arriving
        v = np.trunc(v * keep_v / DECAY_UNITY) + u + drive
    return Interval(*_integers(population.name, u)), Interval(*_integers(population.name, v))


def partial_sum_bound(netlist: Netlist, connection: Connection) -> int:
    """Bound the partial sums of one connection of a netlist: see `bound_partial_sums`."""
    return bound_partial_sums(connection, netlist[connection.source])


def total_current_bound(netlist: Netlist, name: str) -> Interval:
    """Bound the whole current of one timestep into a population of a netlist, bias included."""
    return bound_total_current(netlist[name], incoming(netlist, name))


def membrane_bound(netlist: Netlist, name: str, timesteps: int | None = None) -> Interval:
    """Bound a membrane potential, or a readout's running sum, over a run of a netlist: see `bound_membrane`."""
    population = netlist[name]
    if not isinstance(population, AdaFire | Readout | CubaLif | LeakyReadout):
        raise TypeError(f"{name} has no membrane potential")
    if netlist.radix is not None and isinstance(population, AdaFire | Readout):
        return bound_window(population, incoming(netlist.numbers, name))
    return bound_membrane(population, incoming(netlist, name), timesteps or netlist.timesteps)


def can_saturate(netlist: Netlist, name: str, timesteps: int | None = None) -> bool:
    """Return whether a population's membrane potential could reach the saturation limit, or a current wrap around."""
    population = netlist[name]
    if isinstance(population, CubaLif | LeakyReadout):
        current, potential = bound_leaky(population, total_current_bound(netlist, name), timesteps or netlist.timesteps)
        return max(current.magnitude, potential.magnitude) >= STATE_LIMIT
    return membrane_bound(netlist, name, timesteps).magnitude > netlist.membrane_limit
