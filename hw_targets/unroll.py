"""Burst unrolling: the same network with binary spikes only, for chips that send no payload.

A timestep becomes `period` sub-steps. A burst of n leaves as n single spikes in the first n of its
population's window of phi sub-steps, and the input's payload leaves as its bits, one binary neuron
each, all in the timestep's first sub-step. The result is an ordinary netlist (every phi is 1), so
that every executor runs it as it is.

A neuron must not fire before all spikes of its timestep are in: later ones may be negative. So each
population is gated by two binary inputs. *Close* takes G off the membrane potential and adds the
bias of the next timestep; *open* gives G back. With G above every potential that can occur, a closed
neuron integrates and stays silent; an open one fires once per sub-step while u >= theta, at most phi
times, which is the burst ``clip(floor(u / theta), 0, phi)``. Windows follow the layers::

    sub-step      0    1    2    3    4    5    6    7    8   ...
    input         q0                       q1                      (period 5, phi 3)
    layer 1       n0   n0   n0             n1   n1   n1
    layer 2                 n0   n0   n0             n1   n1  ...

Layer 2 opens when layer 1 sends its last spike, and its sources start over only once it is closed:
the period is the longest span from a source's first sub-step to its target's last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    Input,
    InputError,
    Linear,
    MaxPool,
    Netlist,
    NetlistError,
    Operator,
    Population,
    Readout,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
    TargetError,
    Trace,
    current_bound,
    membrane_bound,
    per_channel,
)
from toolchain.netlist.shapes import Shape, size


@dataclass(frozen=True)
class Window:
    """The sub-steps in which a population sends the spikes of timestep 0.

    Parameters
    ----------
    start, stop : int
        Timestep t has ``t * period + start`` to ``t * period + stop - 1``.
    """

    start: int
    stop: int


@dataclass(frozen=True)
class Gate:
    """What holds a population back until its timestep is complete.

    Parameters
    ----------
    height : int
        G, taken off the membrane potential while closed.
    reach : int
        Greatest magnitude of the potential, open or closed.
    """

    height: int
    reach: int


@dataclass(frozen=True, eq=False)
class Unrolled:
    """A netlist with binary spikes, and how its sub-steps read as timesteps.

    Parameters
    ----------
    netlist : Netlist
        Runs `substeps` timesteps; its input takes `payloads`.
    original : Netlist
    period : int
        Sub-steps between two timesteps.
    windows : mapping of str to Window
        One per population; a readout is read in its last sub-step.
    gates : mapping of str to int
        First gate of each gated population: open and close, or a readout's bias.
    """

    netlist: Netlist
    original: Netlist
    period: int
    windows: Mapping[str, Window]
    gates: Mapping[str, int]

    def payloads(self, payloads: np.ndarray) -> np.ndarray:
        """Return the binary input for payloads of the original.

        Parameters
        ----------
        payloads : ndarray (N, *shape), or (T, N, *shape) for frames; integer

        Returns
        -------
        ndarray uint8, (N, *shape) or (substeps, N, *shape) of the unrolled input
            As the unrolled input's coding asks for: frames unless `period` is 1.
        """
        source, binary = self.original.input, self.netlist.input
        frames = source.coding == "frames"
        if payloads.shape[payloads.ndim - len(source.shape) :] != source.shape or payloads.ndim != len(source.shape) + (
            2 if frames else 1
        ):
            raise InputError(source.name, f"payloads of shape {payloads.shape} found, expected (.., {source.shape})")
        planes = _bits(source, payloads)
        if not self.gates:
            return planes
        samples = payloads.shape[1 if frames else 0]
        out = np.zeros((self.netlist.timesteps, samples, *binary.shape), np.uint8)
        flat = out.reshape(*out.shape[:2], -1)
        first = size(planes.shape[-len(source.shape) :])
        for t in range(self.original.timesteps):
            out[t * self.period, :, : planes.shape[-len(source.shape)]] = planes[t] if frames else planes
            for name, gate in self.gates.items():
                window = self.windows[name]
                if isinstance(self.original[name], Readout):
                    flat[t * self.period + window.stop - 1, :, first + gate] = 1
                    continue
                flat[t * self.period + window.start, :, first + gate] = 1
                if (closing := t * self.period + window.stop) < out.shape[0]:
                    flat[closing, :, first + gate + 1] = 1
        return out

    def fold(self, trace: Trace) -> Trace:
        """Return the trace of the original that a trace of the unrolled netlist stands for.

        Raises
        ------
        NetlistError
            When a population fired outside its windows: the run was not gated.
        """
        spikes, readouts = {}, {}
        starts = np.arange(self.original.timesteps) * self.period
        for name, binary in trace.spikes.items():
            window = self.windows[name]
            inside = np.stack([binary[s + window.start : s + window.stop].sum(axis=0) for s in starts])
            if name == self.original.input.name:
                spikes[name] = _payload(self.original.input, np.stack([binary[s] for s in starts]))
                continue
            if int(inside.sum()) != int(binary.sum()):
                raise NetlistError(name, "spikes outside the population's windows", "run it with Unrolled.payloads")
            spikes[name] = inside.astype(np.uint8)
        for name, total in trace.readouts.items():
            readouts[name] = total[starts + self.windows[name].stop - 1]
        return Trace(self.original.content_hash, trace.backend, spikes, readouts, dict(trace.saturations))


def unroll(netlist: Netlist, membrane_bits: Mapping[str, int] | None = None) -> Unrolled:
    """Return a netlist whose spikes are binary and whose bursts are those of `netlist`.

    Parameters
    ----------
    netlist : Netlist
    membrane_bits : mapping of str to int, optional
        Width of the membrane potential that a target gives a population, in the netlist's units;
        nowhere more than the netlist's own.

    Raises
    ------
    TargetError
        When the potentials and the gates together do not fit the membrane. They then could
        saturate where the original does not.
    NetlistError
        When max-pooling could emit more than one spike per sub-step.
    """
    windows = _windows(netlist)
    period = max(windows[c.target].stop - windows[c.source].start for c in netlist.connections)
    heights = gate_heights(netlist) if period > 1 else {}
    for overflow in gate_overflows(netlist, heights, membrane_bits or {}):
        raise overflow
    gated = [p for p in netlist.populations if isinstance(p, AdaFire | Readout)] if period > 1 else []
    gates: dict[str, int] = {}
    for gated_population in gated:
        gates[gated_population.name] = _gate_count(netlist, gates)
    inputs, planes = _binary_input(netlist, period, _gate_count(netlist, gates))
    populations: list[Population] = [inputs]
    connections = []
    for population in netlist.populations[1:]:
        populations.append(_binary_population(netlist, population, heights, gated=population.name in gates))
        connections += [_binary_connection(netlist, c, planes) for c in netlist.inputs(population.name)]
        if population.name in gates:
            connections.append(_gate_connection(netlist, population, inputs, planes, gates[population.name], heights))
    last = max(w.stop for w in windows.values())
    return Unrolled(
        netlist=replace(
            netlist,
            populations=tuple(populations),
            connections=tuple(connections),
            timesteps=(netlist.timesteps - 1) * period + last,
            alpha=(),
            provenance={**netlist.provenance, "unrolled_from": netlist.content_hash},
        ),
        original=netlist,
        period=period,
        windows=windows,
        gates=gates,
    )


def _windows(netlist: Netlist) -> dict[str, Window]:
    windows = {netlist.input.name: Window(0, 1)}
    for population in netlist.populations[1:]:
        sources = [windows[c.source] for c in netlist.inputs(population.name)] or [Window(0, 1)]
        last = max(w.stop for w in sources)
        match population:
            case AdaFire():
                windows[population.name] = Window(last - 1, last - 1 + population.phi)
            case _:
                windows[population.name] = Window(min(w.start for w in sources), last)
    return windows


def _gate_count(netlist: Netlist, gates: Mapping[str, int]) -> int:
    """Return how many gates are taken: two per AdaFire population, one per readout."""
    return sum(1 if isinstance(netlist[name], Readout) else 2 for name in gates)


def _plane_weights(source: Input) -> tuple[int, ...]:
    """Return the value of each bit of a payload: two's complement where it is signed."""
    values = [2**b for b in range(source.bits)]
    return (*values[:-1], -values[-1] if source.signed else values[-1])


def _bits(source: Input, payloads: np.ndarray) -> np.ndarray:
    """Return the bits of payloads (..., C, *space) as channels (..., C * bits, *space), uint8."""
    axis = payloads.ndim - len(source.shape)
    codes = payloads.astype(np.int64) & (2**source.bits - 1)
    planes = np.stack([(codes >> b) & 1 for b in range(source.bits)], axis=axis + 1)
    shape = (*payloads.shape[:axis], source.shape[0] * source.bits, *source.shape[1:])
    return planes.reshape(shape).astype(np.uint8)


def _payload(source: Input, binary: np.ndarray) -> np.ndarray:
    """Return the payloads that bits (T, N, C * bits [+ gates], *space) stand for."""
    channels = source.shape[0] * source.bits
    planes = binary[:, :, :channels].reshape(*binary.shape[:2], source.shape[0], source.bits, *source.shape[1:])
    values = np.asarray(_plane_weights(source)).reshape(-1, *(1 for _ in source.shape[1:]))
    return (planes * values).sum(axis=3).astype(source.payload_dtype)


def _binary_input(netlist: Netlist, period: int, gates: int) -> tuple[Input, int]:
    """Return the binary input and its number of bit channels; gates fill whole channels after them."""
    source = netlist.input
    bit_channels = source.shape[0] * source.bits
    channels = bit_channels + -(-gates // size(source.shape[1:]))
    return (
        Input(
            source.name,
            (channels, *source.shape[1:]),
            bits=1,
            signed=False,
            scale=1.0,
            mean=np.zeros(channels),
            std=np.ones(channels),
            coding="frames" if period > 1 else source.coding,
        ),
        bit_channels,
    )


def _binary_population(
    netlist: Netlist, population: Population, heights: Mapping[str, Gate], *, gated: bool
) -> Population:
    match population:
        case MaxPool():
            for connection in netlist.inputs(population.name):
                source = netlist[connection.source]
                high = current_bound(netlist, connection).high.max()
                if high > source.payload_range[1]:  # type: ignore[union-attr]  # a readout is no source
                    raise NetlistError(connection.name, "adds up payloads before max-pooling: not a binary spike")
            return replace(population, max_payload=1)
        case AdaFire() if gated:
            start = per_channel(population.initial, population.shape) + per_channel(population.bias, population.shape)
            start = start - heights[population.name].height
            return replace(
                population,
                phi=1,
                bias=np.zeros(population.shape[0], np.int64),
                initial=start.reshape(
                    population.shape if size(start.shape) != population.shape[0] else population.shape[:1]
                ),
            )
        case Readout() if gated:
            return replace(population, bias=np.zeros(population.shape[0], np.int64))
    return population


def gate_heights(netlist: Netlist) -> dict[str, Gate]:
    """Return the gate of each AdaFire population: just above every potential that can occur."""
    gates = {}
    for population in netlist.populations:
        if isinstance(population, AdaFire):
            # One timestep more than the run has: the last close adds a bias that nothing uses.
            bound = membrane_bound(netlist, population.name, netlist.timesteps + 1)
            low, high = int(bound.low.min()), int(bound.high.max())
            height = max(high - int(population.threshold.min()) + 1, 0)
            gates[population.name] = Gate(height, max(height - low, high))
    return gates


def gate_overflows(
    netlist: Netlist, gates: Mapping[str, Gate], membrane_bits: Mapping[str, int]
) -> Iterator[TargetError]:
    """Yield an error for each population whose potentials, gated, do not fit its membrane."""
    for name, gate in gates.items():
        bits = min(membrane_bits.get(name, netlist.membrane_bits), netlist.membrane_bits)
        limit = 2 ** (bits - 1) - 1
        if gate.reach > limit:
            yield TargetError(
                name,
                f"unrolled potentials can reach {gate.reach}, a membrane of {bits} bits holds +-{limit}",
                "use fewer weight bits, a lower phi or fewer timesteps",
            )


def _binary_connection(netlist: Netlist, connection: Connection, bit_channels: int) -> Connection:
    """Rebuild the payload from its bits where the source is the input."""
    source = netlist.input
    if connection.source != source.name:
        return connection
    shape = (bit_channels, *source.shape[1:])
    flat = len(shape) == 1
    spatial = 1 if flat else len(shape) - 1
    values = np.tile(np.asarray(_plane_weights(source)), source.shape[0])
    scales, last = _factors(values, netlist.weight_bits)
    weight = last.reshape(source.shape[0], source.bits, *(1 for _ in range(spatial)))
    ones, none = (1,) * spatial, ((0, 0),) * spatial
    combine: tuple[Operator, ...] = (Conv(weight, ones, none, ones, groups=source.shape[0]),)
    if flat:
        combine = (Reshape((*shape, 1)), *combine, Reshape(source.shape))
    return Connection(
        connection.source,
        connection.target,
        (Slice(0, 0, bit_channels), *(Scale(s) for s in scales), *combine, *connection.operators),
    )


def _factors(values: np.ndarray, weight_bits: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Write signed powers of two as products of weights that fit: (factors, last factor)."""
    most = weight_bits - 2
    exponents = np.round(np.log2(np.abs(values))).astype(np.int64)
    factors = []
    while int(exponents.max()) > most:
        step = np.minimum(np.maximum(exponents - most, 0), most)
        factors.append(np.left_shift(np.ones_like(step), step))
        exponents = exponents - step
    return factors, np.sign(values).astype(np.int64) << exponents


def _gate_connection(
    netlist: Netlist, population: Population, inputs: Input, bit_channels: int, gate: int, heights: Mapping[str, Gate]
) -> Connection:
    """Connect the gates of a population: currents of any size from narrow weights, digit by digit."""
    bias = per_channel(population.bias, population.shape)  # type: ignore[union-attr]  # AdaFire or Readout
    whole = bias.shape == population.shape and size(bias.shape) != population.shape[0]
    neurons = bias.reshape(-1).astype(np.int64)
    if isinstance(population, AdaFire):
        height = heights[population.name].height
        currents = np.stack([np.full_like(neurons, height), neurons - height], axis=1)
    else:
        currents = neurons[:, np.newaxis]
    digits = _digits(currents, netlist.weight_bits)
    count, width = len(digits), neurons.size
    rest = inputs.shape[1:]
    operators: list[Operator] = [
        Slice(0, bit_channels, inputs.shape[0]),
        Reshape(((inputs.shape[0] - bit_channels) * size(rest),)),
        Slice(0, gate, gate + currents.shape[1]),
        Linear(np.concatenate(digits)),
    ]
    base = 2 ** (netlist.weight_bits - 2)
    for place in range(1, count):
        operators.append(Scale(np.where(np.arange(count * width) // width >= place, base, 1)))
    if count > 1:
        operators += [Reshape((1, count, width)), SumPool((count, 1), (count, 1), ((0, 0), (0, 0)))]
    if whole or len(population.shape) == 1:
        operators.append(Reshape(population.shape))
    else:
        space: Shape = population.shape[1:]
        operators += [Reshape((width, *(1 for _ in space))), Resample(tuple(np.ones((n, 1), np.int64) for n in space))]
    return Connection(inputs.name, population.name, tuple(operators))


def _digits(values: np.ndarray, weight_bits: int) -> list[np.ndarray]:
    """Write integers as digits in base 2**(weight_bits - 2), balanced so that each fits a weight."""
    base = 2 ** (weight_bits - 2)
    digits = []
    while True:
        digit = (values + base // 2) % base - base // 2
        digits.append(digit)
        values = (values - digit) // base
        if not np.any(values):
            return digits
