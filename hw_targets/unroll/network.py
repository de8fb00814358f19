"""The unrolled network, and why its bursts are those of the original.

Let r be the potential that firing leaves, b the bias and I a timestep's current. The original fires on
u = r + b + I, with r = u0 at first; the unrolled neuron has no bias and starts at u0 + b - G. Sub-steps are
counted within the timestep:

1. *Closed*, its potential is r + b - G and what has arrived of I. It is silent (`gates`).
2. It *opens*, + G, at ``start``: the sub-step in which the last of its sources may send a last spike. (A spike
   takes effect in the sub-step that sends it.) Now its potential is u.
3. It fires while u >= theta, once per sub-step and each time for theta, until its window of phi sub-steps ends:
   ``clip(floor(u / theta), 0, phi)`` times, from the window's first sub-step on. That is the burst n, and
   u - n theta remains, the next r.
4. It *closes* at ``stop = start + phi``, + b - G: step 1 of the next timestep. Of that the sources may send
   first spikes now, but none before: ``period >= stop - start of the source's window``. Where the period is
   phi it opens again in the same sub-step, and b is all that the gates bring.

Max-pooling emits the growth of the maximum of summed payloads, which over the sub-steps of a window adds up to
the growth over the timestep: it works as it is, with no more than one spike per input and sub-step. A readout
is not held back, but its bias is due once per timestep: in the last sub-step of its window, where its
running sum is read. Nothing of the next timestep has arrived by then, by the same choice of the period.

With period 1 every burst is a single spike already, and only the input changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hw_targets.unroll.bits import bit_shape, from_bits, to_bits, weigh_bits
from hw_targets.unroll.gates import Gate, gate_connection, gate_count, gate_heights, gate_overflows
from toolchain.netlist import (
    AdaFire,
    CubaLif,
    Input,
    LeakyReadout,
    MaxPool,
    Netlist,
    NetlistError,
    Population,
    Readout,
    TargetError,
    Trace,
    apply_chain,
    check_payloads,
    per_channel,
)
from toolchain.netlist.shapes import size


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
    windows : mapping of str to range
        Per population, the sub-steps in which it sends the spikes of timestep 0; a readout is read in
        the last one. Those of timestep t are ``t * period`` later.
    gates : mapping of str to int
        First gate of each gated population: open and close, or a readout's bias.
    """

    netlist: Netlist
    original: Netlist
    period: int
    windows: Mapping[str, range]
    gates: Mapping[str, int]

    def payloads(self, payloads: np.ndarray) -> np.ndarray:
        """Return the binary input for payloads of the original.

        Parameters
        ----------
        payloads : ndarray (N, *shape), or (T, N, *shape) for frames; integer

        Returns
        -------
        ndarray (N, *unrolled shape) or (substeps, N, *unrolled shape), uint8
            As the unrolled input's coding asks for: frames unless `period` is 1.

        Raises
        ------
        InputError
            When the payloads are not what the original takes.
        """
        source = self.original.input
        frames = source.coding == "frames"
        planes = to_bits(source, check_payloads(source, payloads, self.original.timesteps))
        if not self.gates:
            return planes if frames else planes[0]
        out = np.zeros((self.netlist.timesteps, planes.shape[1], *self.netlist.input.shape), np.uint8)
        bit_channels = bit_shape(source)[0]
        # Neurons in C order: the gates follow the bits.
        neurons, first = out.reshape(*out.shape[:2], -1), size(bit_shape(source))
        for t in range(self.original.timesteps):
            begin = t * self.period
            out[begin, :, :bit_channels] = planes[t if frames else 0]
            for name, gate in self.gates.items():
                window = self.windows[name]
                if isinstance(self.original[name], Readout):
                    neurons[begin + window.stop - 1, :, first + gate] = 1
                    continue
                neurons[begin + window.start, :, first + gate] = 1
                if begin + window.stop < len(out):
                    neurons[begin + window.stop, :, first + gate + 1] = 1
        return out

    def fold(self, trace: Trace) -> Trace:
        """Return the trace of the original that a trace of the unrolled netlist stands for.

        Raises
        ------
        NetlistError
            When a population fired outside its windows: the run was not gated.
        """
        begins = np.arange(self.original.timesteps) * self.period
        spikes = {}
        for name, binary in trace.spikes.items():
            if name == self.original.input.name:
                spikes[name] = from_bits(self.original.input, binary[begins])
                continue
            window = self.windows[name]
            bursts = np.stack([binary[b + window.start : b + window.stop].sum(axis=0) for b in begins])
            if int(bursts.sum()) != int(binary.sum()):
                raise NetlistError(name, "spikes outside the population's windows", "run it with Unrolled.payloads")
            spikes[name] = bursts.astype(np.uint8)
        readouts = {name: total[begins + self.windows[name].stop - 1] for name, total in trace.readouts.items()}
        return Trace(self.original.content_hash, trace.backend, spikes, readouts, dict(trace.saturations))


def refuse_digits(netlist: Netlist) -> None:
    """Raise unless bursts are rates: single spikes in a row would all count alike.

    Raises
    ------
    TargetError
    """
    if netlist.radix is not None:
        raise TargetError(
            "unroll",
            f"digits in base {netlist.radix.base} found, expected rates: a digit's place is its timestep",
            "convert with `phi` 1, whose digits are single spikes, or with `spike_code` rate",
        )


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
        When bursts are digits, or the potentials and the gates together do not fit the membrane: they then could
        saturate where the original does not. When potentials leak, or connections have a delay: sub-steps are no
        timesteps to them.
    NetlistError
        When max-pooling could emit more than one spike per sub-step, or weights are too narrow for gates.
    """
    refuse_digits(netlist)
    for where in not_unrollable(netlist):
        raise TargetError(
            where, "leaks or has a delay, which counts sub-steps and not timesteps", "leave bursts as they are"
        )
    windows = _windows(netlist)
    spans = [windows[c.target].stop - windows[c.source].start for c in netlist.connections]
    # Windows are within the spans, but for a population that nothing feeds and that feeds nothing.
    period = max(*spans, *(len(w) for w in windows.values()))
    heights = gate_heights(netlist) if period > 1 else {}
    for overflow in gate_overflows(netlist, heights, membrane_bits or {}):
        raise overflow
    gates, taken = _number_gates(netlist) if period > 1 else ({}, 0)
    inputs = _binary_input(netlist.input, taken, frames=period > 1)
    bit_channels = bit_shape(netlist.input)[0]
    populations: list[Population] = [inputs]
    connections = []
    for population in netlist.populations[1:]:
        populations.append(_binary_population(netlist, population, heights, gated=population.name in gates))
        connections += [
            weigh_bits(netlist, c) if c.source == inputs.name else c for c in netlist.inputs(population.name)
        ]
        if isinstance(population, AdaFire | Readout) and population.name in gates:
            height = heights[population.name].height if isinstance(population, AdaFire) else 0
            first = gates[population.name]
            connections.append(gate_connection(population, inputs, bit_channels, first, height, netlist.weight_bits))
    return Unrolled(
        netlist=replace(
            netlist,
            populations=tuple(populations),
            connections=tuple(connections),
            timesteps=(netlist.timesteps - 1) * period + max(w.stop for w in windows.values()),
            alpha=(),
            provenance=replace(netlist.provenance, unrolled_from=netlist.content_hash),
        ),
        original=netlist,
        period=period,
        windows=windows,
        gates=gates,
    )


def not_unrollable(netlist: Netlist) -> tuple[str, ...]:
    """Return what stands in the way of sub-steps: populations that leak, connections with a delay."""
    leaky = tuple(p.name for p in netlist.populations if isinstance(p, CubaLif | LeakyReadout))
    return leaky + tuple(c.name for c in netlist.connections if np.any(c.delay))


def _windows(netlist: Netlist) -> dict[str, range]:
    """Return when each population sends: the input's bits at once, neurons once their sources are done."""
    windows = {netlist.input.name: range(1)}
    for population in netlist.populations[1:]:
        sources = [windows[c.source] for c in netlist.inputs(population.name)] or [range(1)]
        last = max(w.stop for w in sources)
        if isinstance(population, AdaFire):
            windows[population.name] = range(last - 1, last - 1 + population.phi)
        else:
            windows[population.name] = range(min(w.start for w in sources), last)
    return windows


def _number_gates(netlist: Netlist) -> tuple[dict[str, int], int]:
    """Return the first gate of each gated population, and how many gates there are."""
    first, taken = {}, 0
    for population in netlist.populations:
        if isinstance(population, AdaFire | Readout):
            first[population.name] = taken
            taken += gate_count(population)
    return first, taken


def _binary_input(source: Input, gates: int, *, frames: bool) -> Input:
    """Return the binary input: the payload's bits, and whole channels behind them for the gates."""
    channels = bit_shape(source)[0] + -(-gates // size(source.shape[1:]))
    return Input(
        source.name,
        (channels, *source.shape[1:]),
        bits=1,
        signed=False,
        scale=1.0,
        mean=np.zeros(channels),
        std=np.ones(channels),
        coding="frames" if frames else source.coding,
    )


def _binary_population(
    netlist: Netlist, population: Population, heights: Mapping[str, Gate], *, gated: bool
) -> Population:
    match population:
        case MaxPool():
            arriving = np.zeros(population.current_shape, np.int64)
            for connection in netlist.inputs(population.name):
                shape = netlist[connection.source].shape
                arriving += apply_chain(connection.operators, np.ones(shape, np.int64), shape)
            if arriving.max() > 1:
                raise NetlistError(population.name, "adds up payloads before max-pooling: not a binary spike")
            return replace(population, max_payload=1)
        case AdaFire() if gated:
            start = per_channel(population.initial, population.shape) + per_channel(population.bias, population.shape)
            start = start - heights[population.name].height
            shape = population.shape[:1] if start.size == population.shape[0] else population.shape
            return replace(
                population, phi=1, bias=np.zeros(population.shape[0], np.int64), initial=start.reshape(shape)
            )
        case Readout() if gated:
            return replace(population, bias=np.zeros(population.shape[0], np.int64))
    return population
