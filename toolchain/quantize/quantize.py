"""Quantise a spiking network, population by population in forward order.

The order matters: a population's threshold is rounded first, and what one of its spikes then
stands for (``threshold * scale``) is folded into the weights that follow, so rounding a threshold
costs nothing downstream. Calibration uses `quantize_unit` to work on one population at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from hw_targets.fields import fit_bias, fit_threshold
from hw_targets.target import Target
from toolchain.netlist import (
    AdaFire,
    Connection,
    MaxPool,
    Netlist,
    Operator,
    Population,
    Provenance,
    Readout,
    TargetError,
    Weighted,
    chain_shapes,
)
from toolchain.netlist.shapes import per_channel
from toolchain.network import Activation, MaxUnit, Output, Source, SpikingNetwork
from toolchain.quantize.amplitude import channelwise, fold, largest_weight, output_channels, through_structure
from toolchain.quantize.scales import FoldedChain, channel_scales, split_chain, steady

#: No threshold or bias needs more units of membrane potential than this (16 bits): a channel whose
#: weights are so small that it would takes a coarser unit. It also gives dead channels their unit.
_FINEST = 2**16


@dataclass(frozen=True)
class Precision:
    """The integers to quantise to.

    Parameters
    ----------
    weight_bits : int
        Width of the signed weights, 2 to 16.
    target : Target, optional
        Its fields limit weights, thresholds, biases and payloads; without one only the
        netlist's own limits hold.
    """

    weight_bits: int = 8
    target: Target | None = None

    @property
    def top(self) -> int:
        """Greatest weight; scales are chosen so that the largest weight of a channel meets it."""
        return int(2 ** (self.weight_bits - 1) - 1)

    @property
    def membrane_bits(self) -> int:
        """Width of the membrane potential: the target's, or 24 bits."""
        return (self.target.netlist_membrane_bits if self.target else None) or 24


@dataclass(frozen=True, eq=False)
class QuantizedUnit:
    """One population in integers, with the connections into it.

    Parameters
    ----------
    population : Population
    connections : tuple of Connection
    amplitude : ndarray `shape`, float64
        What one payload unit of each neuron stands for; folded into the weights that follow.
    notes : tuple of str
        Roundings beyond half a unit that the target or the weight range forced.
    """

    population: Population
    connections: tuple[Connection, ...]
    amplitude: np.ndarray
    notes: tuple[str, ...] = field(default=())


def quantize_source(spiking: SpikingNetwork) -> QuantizedUnit:
    """Quantise the input: nothing feeds it, and its amplitude is its scale."""
    return QuantizedUnit(spiking.source, (), np.full(spiking.source.shape, spiking.source.scale))


def _integer_weights(operator: Operator, scale: np.ndarray, top: int) -> Operator:
    """Round the weights of `operator` in units of the scale of their output channel."""
    assert isinstance(operator, Weighted)
    divisor = output_channels(operator, np.where(scale > 0, scale, 1.0))
    weight = np.clip(np.rint(operator.weight / divisor), -top - 1, top).astype(np.int64)
    return replace(operator, weight=weight)


def _fold_chain(connection: Connection, amplitude: np.ndarray, top: int) -> FoldedChain:
    """Fold the source's amplitude in, and quantise all but the last weights of the chain.

    Weights in the middle of a chain get a scale per output channel of their own, which becomes
    the amplitude for the weights behind.
    """
    before, last, after = split_chain(connection.operators)
    done: list[Operator] = []
    for operator in before:
        shape = amplitude.shape
        if isinstance(operator, Weighted):
            folded = fold(connection.name, operator, amplitude)
            scale = largest_weight(folded) / top
            done.append(_integer_weights(folded, scale, top))
            out = operator.output_shape(shape)
            amplitude = np.broadcast_to(np.where(scale > 0, scale, 1.0).reshape(-1, *(1 for _ in out[1:])), out)
        else:
            done.append(operator)
            amplitude = through_structure(connection.name, operator, amplitude, shape)
    folded = fold(connection.name, last, amplitude)
    return FoldedChain(tuple(done), folded, after, last.output_shape(amplitude.shape))


def _fit(where: str, what: str, values: np.ndarray, fitted: np.ndarray, notes: list[str]) -> np.ndarray:
    changed = int(np.count_nonzero(fitted != values))
    if changed:
        worst = float(np.max(np.abs(fitted - values)))
        notes.append(f"{where}: {changed} of {values.size} {what} rounded to the target's field, by at most {worst:g}")
    return fitted


def quantize_unit(
    spiking: SpikingNetwork, name: str, amplitudes: Mapping[str, np.ndarray], precision: Precision
) -> QuantizedUnit:
    """Quantise one population and the connections into it.

    Parameters
    ----------
    spiking : SpikingNetwork
    name : str
        A unit of the network, not its source.
    amplitudes : mapping of str to ndarray
        `QuantizedUnit.amplitude` of every population that feeds it.
    precision : Precision

    Returns
    -------
    QuantizedUnit

    Raises
    ------
    TargetError
        When a threshold, bias or phi exceeds the target's fields.
    NetlistError
        When neurons with different thresholds meet in one channel of a weight.
    """
    network, unit = spiking.network, spiking.network[name]
    if isinstance(unit, MaxUnit):
        return _quantize_maxpool(spiking, unit, amplitudes)
    assert isinstance(unit, Activation | Output)
    connections = network.inputs(name)
    chains = [_fold_chain(c, amplitudes[c.source], precision.top) for c in connections]
    firing = spiking.firing[name] if isinstance(unit, Activation) else None
    least = np.abs(unit.bias.reshape(unit.shape[0], -1)).max(axis=1)
    if firing is not None:
        least = np.maximum(least, firing.amplitude)
    least = steady(np.where(least > 0, least, 1.0) / _FINEST)
    scale, last_scales = channel_scales(chains, least, precision.top)
    notes: list[str] = []
    coarse = int(np.count_nonzero(scale == least))
    if coarse:
        notes.append(f"{name}: {coarse} of {scale.size} channels in units of 1/{_FINEST} of their threshold or bias")
    integers = tuple(
        Connection(c.source, c.target, (*chain.before, _integer_weights(chain.last, s, precision.top), *chain.after))
        for c, chain, s in zip(connections, chains, last_scales, strict=True)
    )

    per_neuron = per_channel(scale, unit.shape) if unit.bias.shape == unit.shape else scale
    bias = unit.bias / per_neuron
    target = precision.target
    if firing is None:
        rounded = np.rint(bias).astype(np.int64)
        if target is not None:
            rounded = _fit(name, "biases", rounded, fit_bias(target, rounded, name), notes)
        return QuantizedUnit(Readout(name, unit.shape, rounded, scale), integers, np.ones(unit.shape), tuple(notes))

    theta = np.rint(firing.amplitude / scale).astype(np.int64)
    small = theta < 1
    if small.any():
        notes.append(
            f"{name}: {int(small.sum())} of {theta.size} thresholds below one unit of the membrane potential "
            "raised to 1"
        )
        theta = np.maximum(theta, 1)
    if target is not None:
        theta = _fit(name, "thresholds", theta, fit_threshold(target, theta, name), notes)
    drift = firing.drift * (per_channel(theta, unit.shape) if bias.shape == unit.shape else theta)
    rounded = np.rint(bias + drift).astype(np.int64)
    if target is not None:
        rounded = _fit(name, "biases", rounded, fit_bias(target, rounded, name, threshold=theta), notes)
    initial_theta = per_channel(theta, unit.shape) if firing.initial.shape == unit.shape else theta
    population = AdaFire(
        name=name,
        shape=unit.shape,
        phi=firing.phi,
        threshold=theta,
        bias=rounded,
        initial=np.floor(firing.initial * initial_theta).astype(np.int64),
        scale=scale,
    )
    amplitude = np.broadcast_to(per_channel(theta * scale, unit.shape), unit.shape)
    return QuantizedUnit(population, integers, amplitude, tuple(notes))


def _quantize_maxpool(spiking: SpikingNetwork, unit: MaxUnit, amplitudes: Mapping[str, np.ndarray]) -> QuantizedUnit:
    """Max-pooling compares payloads, so the neurons of one window must stand for the same value."""
    total = np.zeros(unit.input_shape)
    connections = spiking.network.inputs(unit.name)
    most = 1
    for connection in connections:
        shapes = chain_shapes(connection.operators, amplitudes[connection.source].shape)
        carried = amplitudes[connection.source]
        for operator, shape in zip(connection.operators, shapes[:-1], strict=True):
            carried = through_structure(unit.name, operator, carried, shape)
        total = total + carried
        most = max(most, largest_payload(spiking, connection.source))
    amplitude = channelwise(unit.name, total)
    population = MaxPool(unit.name, unit.input_shape, unit.kernel, unit.stride, unit.padding, most)
    return QuantizedUnit(population, connections, np.broadcast_to(per_channel(amplitude, unit.shape), unit.shape))


def largest_payload(spiking: SpikingNetwork, name: str) -> int:
    """Return the longest burst that a unit of the network can emit."""
    unit = spiking.network[name]
    if isinstance(unit, MaxUnit):
        return max(largest_payload(spiking, c.source) for c in spiking.network.inputs(name))
    if isinstance(unit, Source):
        return spiking.source.payload_range[1]
    return spiking.firing[name].phi


def check_precision(precision: Precision, phis: Mapping[str, int]) -> None:
    """Raise when the target cannot hold the weights or payloads at all.

    Raises
    ------
    TargetError
        Naming the field, what was asked and what the target holds.
    """
    target = precision.target
    if target is None:
        return
    if target.weight_bits is not None and precision.weight_bits > max(target.weight_bits):
        raise TargetError(
            target.name,
            f"weights of {precision.weight_bits} bits asked, the target holds {max(target.weight_bits)}",
            f"use --weight-bits {max(target.weight_bits)} or fewer",
        )
    # Where spikes are binary, bursts can be unrolled: `adafire check --unroll` says whether they fit then.
    if target.max_payload is not None and not target.binary:
        for name, phi in phis.items():
            if phi > target.max_payload:
                raise TargetError(
                    name,
                    f"bursts of {phi} asked, spikes of {target.name} carry at most {target.max_payload}",
                    f"use --phi {target.max_payload} or less",
                )


def quantize(
    spiking: SpikingNetwork, precision: Precision | None = None, provenance: Provenance | None = None
) -> Netlist:
    """Quantise a whole spiking network.

    Parameters
    ----------
    spiking : SpikingNetwork
    precision : Precision, optional
        8-bit weights without a target by default.
    provenance : Provenance, optional
        Recorded in the netlist, with the roundings that were forced as its notes.

    Returns
    -------
    Netlist

    Raises
    ------
    TargetError
        When a number does not fit the target's fields.
    """
    precision = precision or Precision()
    check_precision(precision, {n: f.phi for n, f in spiking.firing.items()})
    units = [quantize_source(spiking)]
    amplitudes = {units[0].population.name: units[0].amplitude}
    for unit in spiking.network.units[1:]:
        units.append(quantize_unit(spiking, unit.name, amplitudes, precision))
        amplitudes[unit.name] = units[-1].amplitude
    notes = tuple(note for unit in units for note in unit.notes)
    return Netlist(
        populations=tuple(u.population for u in units),
        connections=tuple(c for u in units for c in u.connections),
        timesteps=spiking.timesteps,
        weight_bits=precision.weight_bits,
        membrane_bits=precision.membrane_bits,
        provenance=replace(provenance or Provenance(), notes=notes),
    )
