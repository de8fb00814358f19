"""Quantise one unit and the connections into it: semantics, section 3, step by step.

The order matters. What one payload unit of the sources stands for is known first, for it is folded into the
weights; the weights choose the scale, the real value of one unit of membrane potential; threshold, bias and
initial potential are counted in that scale. A threshold is rounded before the numbers that are relative to it, and
what a spike then really stands for (``threshold * scale``) is folded into the weights that follow: rounding a
threshold costs nothing downstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hw_targets.fields import fit_bias, fit_threshold, largest_bias, largest_threshold
from hw_targets.target import Target
from toolchain.netlist import (
    AdaFire,
    Connection,
    MaxPool,
    Population,
    Readout,
    chain_shapes,
    per_channel,
)
from toolchain.network import Activation, Firing, MaxUnit, Output, Source, SpikingNetwork
from toolchain.quantize.accumulator import accumulator_use
from toolchain.quantize.amplitude import channelwise, through_structure
from toolchain.quantize.chains import fold_chain, integer_weights
from toolchain.quantize.precision import Precision
from toolchain.quantize.remarks import Remark
from toolchain.quantize.scales import channel_scales, steady

#: No threshold or bias needs more units of membrane potential than this. Weights that are tiny beside their threshold
#: would ask for a finer unit, and the membrane would run out of bits: 16 of the usual 24 leave room for 127 thresholds.
#: A target's field may hold less, and of a narrower membrane a threshold takes this share at most.
_FINEST = 2**16
_SHARE_OF_MEMBRANE = 1 / 8
#: Numbers of many levels have small thresholds beside the range that they cover, and beside biases: of the 24 bits, the
#: whole range gets 22 and a bias 19, which the fields of the Loihis still hold; a narrower membrane gives these shares.
_FINEST_RANGE, _FINEST_BIAS = 2**22, 2**19
#: How much coarser than by what an accumulator lacks units become: rounded weights may add up to more than exact ones.
_MORE = 1 + 2**-8


@dataclass(frozen=True, eq=False)
class QuantizedUnit:
    """One population in integers, with the connections into it.

    Parameters
    ----------
    population : Population
    connections : tuple of Connection
    amplitude : ndarray `shape`, float64
        What one payload unit of each neuron stands for; folded into the weights that follow.
    remarks : tuple of Remark
        Roundings beyond half a unit that the target or the weight range forced.
    """

    population: Population
    connections: tuple[Connection, ...]
    amplitude: np.ndarray
    remarks: tuple[Remark, ...] = field(default=())


def quantize_source(spiking: SpikingNetwork) -> QuantizedUnit:
    """Quantise the input: nothing feeds it, and its amplitude is its scale."""
    return QuantizedUnit(spiking.source, (), np.full(spiking.source.shape, spiking.source.scale))


def quantize_unit(
    spiking: SpikingNetwork,
    name: str,
    sources: Mapping[str, Population],
    amplitudes: Mapping[str, np.ndarray],
    precision: Precision,
) -> QuantizedUnit:
    """Quantise one population and the connections into it.

    Parameters
    ----------
    spiking : SpikingNetwork
    name : str
        A unit of the network, not its source.
    sources : mapping of str to Population
        `QuantizedUnit.population` of every population that feeds it.
    amplitudes : mapping of str to ndarray
        `QuantizedUnit.amplitude` of every population that feeds it.
    precision : Precision

    Returns
    -------
    QuantizedUnit

    Raises
    ------
    TargetError
        When a threshold or bias exceeds the target's fields.
    NetlistError
        When neurons with different thresholds meet in one channel of a weight.
    """
    unit = spiking.network[name]
    if isinstance(unit, MaxUnit):
        return _quantize_maxpool(spiking, unit, amplitudes)
    assert isinstance(unit, Activation | Output)
    firing = spiking.firing[name] if isinstance(unit, Activation) else None
    finest, greatest = _finest_scale(unit, firing, precision, numbers=spiking.radix is not None)
    least = finest
    while True:
        quantized = _in_units_of(spiking, unit, amplitudes, precision, finest, least, greatest)
        population = quantized.population
        assert isinstance(population, AdaFire | Readout)
        use = accumulator_use(population, quantized.connections, sources, precision.target, spiking.radix)
        if np.all(use <= 1):
            return quantized
        least = np.maximum(least, np.where(use > 1, population.scale * use * _MORE, 0.0))


def _in_units_of(
    spiking: SpikingNetwork,
    unit: Activation | Output,
    amplitudes: Mapping[str, np.ndarray],
    precision: Precision,
    finest: np.ndarray,
    least: np.ndarray,
    greatest: np.ndarray,
) -> QuantizedUnit:
    """Quantise one population with scales of at least `least` (C,); `finest`, `greatest`: see `_finest_scale`."""
    name, inputs = unit.name, spiking.network.inputs(unit.name)
    firing = spiking.firing[name] if isinstance(unit, Activation) else None
    chains = [fold_chain(c, amplitudes[c.source], least, precision.top) for c in inputs]

    # Scale: the largest weight of a channel just fits, unless threshold or bias would need too many units, or what
    # arrives at once more than the accumulator has.
    shared = np.arange(unit.shape[0]) if firing is None or firing.shared is None else firing.shared
    scale, weight_scales = channel_scales(chains, least, greatest, shared, precision.top)
    rounding = _Rounding(name, precision.target)
    rounding.remark_coarse(int(np.count_nonzero(scale == finest)), scale.size)

    # Weights: half a unit at most is lost, and all connections into a channel lose it on the same grid.
    connections = tuple(
        Connection(c.source, c.target, (*chain.before, integer_weights(chain.last, s, precision.top), *chain.after))
        for c, chain, s in zip(inputs, chains, weight_scales, strict=True)
    )
    bias = unit.bias / per_channel(scale, unit.bias.shape)
    if firing is None:
        readout = Readout(name, unit.shape, rounding.bias(bias), scale)
        return QuantizedUnit(readout, connections, np.ones(unit.shape), tuple(rounding.remarks))

    # Threshold before bias and initial potential: drift and initial potential are shares of the threshold that the
    # neuron really has, and a target's field for the bias depends on it.
    theta = rounding.threshold(firing.amplitude / scale)
    drift = firing.drift * per_channel(theta, bias.shape)
    population = AdaFire(
        name=name,
        shape=unit.shape,
        phi=firing.phi,
        threshold=theta,
        # One rounding for both: a drift of a fraction of a unit would be lost by itself.
        bias=rounding.bias(bias + drift, theta),
        # Down, so that half a threshold is theta // 2.
        initial=np.floor(firing.initial * per_channel(theta, firing.initial.shape)).astype(np.int64),
        scale=scale,
    )
    amplitude = np.broadcast_to(per_channel(theta * scale, unit.shape), unit.shape)
    return QuantizedUnit(population, connections, amplitude, tuple(rounding.remarks))


def _finest_scale(
    unit: Activation | Output, firing: Firing | None, precision: Precision, *, numbers: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least scale of every channel, at which its threshold or bias fits, and the greater of the two.

    Returns
    -------
    least, greatest : ndarray (C,), float64, positive
        The unit that makes threshold or bias as large as it may be, or as much as the target's fields hold; both in
        real numbers.
    """
    bias = np.abs(unit.bias.reshape(unit.shape[0], -1)).max(axis=1)
    amplitude = np.zeros(unit.shape[0]) if firing is None else firing.amplitude
    if firing is not None:
        bias = bias + firing.drift * amplitude
    greatest = np.maximum(amplitude, bias)
    target, membrane = precision.target, precision.membrane_limit
    finest_bias = finest_threshold = min(_FINEST, int(membrane * _SHARE_OF_MEMBRANE))
    if numbers:
        finest_bias = min(_FINEST_BIAS, membrane // 16)
        finest_threshold = min(_FINEST_RANGE, membrane // 2) // (1 if firing is None else firing.phi)
    # One unit less than the field holds, for a scale is rounded itself.
    fields = [None if target is None else largest(target) for largest in (largest_bias, largest_threshold)]
    most_bias, most_threshold = (
        room if field is None else min(room, field - 1)
        for room, field in zip((finest_bias, finest_threshold), fields, strict=True)
    )
    least = np.maximum(amplitude / most_threshold, bias / most_bias)
    # Weight decay leaves channels at 1e-41, whose scale float32 does not hold: they say nothing either.
    silent = least < np.finfo(np.float32).tiny
    return steady(np.where(silent, 1 / _FINEST, least)), np.where(silent, 1.0, greatest)


class _Rounding:
    """Rounds the numbers of one population to integers, and remarks on what moved them by more than half a unit.

    Parameters
    ----------
    name : str
        The population.
    target : Target or None
        Whose fields hold the numbers.
    """

    def __init__(self, name: str, target: Target | None) -> None:
        self._name = name
        self._target = target
        self.remarks: list[Remark] = []

    def _remark(self, what: str, count: int, of: int, most: float | None = None) -> None:
        if count:
            self.remarks.append(Remark(self._name, what, count, of, most))

    def remark_coarse(self, channels: int, of: int) -> None:
        """Remark on channels whose weights lost precision to the size of their threshold or bias."""
        self._remark("channels in the finest unit that their threshold or bias has room for", channels, of)

    def threshold(self, exact: np.ndarray) -> np.ndarray:
        """Round thresholds in units of the membrane potential, (C,) int64, at least 1."""
        theta = np.rint(exact).astype(np.int64)
        # Nothing divides by a threshold of 0: one unit is the least that a netlist holds.
        small = int(np.count_nonzero(theta < 1))
        self._remark("thresholds below one unit of the membrane potential raised to 1", small, theta.size)
        theta = np.maximum(theta, 1)
        if self._target is None:
            return theta
        return self._fitted("thresholds", theta, fit_threshold(self._target, theta, self._name))

    def bias(self, exact: np.ndarray, theta: np.ndarray | None = None) -> np.ndarray:
        """Round biases in units of the membrane potential, int64; `theta` is the population's threshold."""
        bias = np.rint(exact).astype(np.int64)
        if self._target is None:
            return bias
        return self._fitted("biases", bias, fit_bias(self._target, bias, self._name, threshold=theta))

    def _fitted(self, what: str, values: np.ndarray, fitted: np.ndarray) -> np.ndarray:
        changed, worst = int(np.count_nonzero(fitted != values)), float(np.max(np.abs(fitted - values)))
        self._remark(f"{what} rounded to the target's field", changed, values.size, worst)
        return fitted


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
        # Branches of a concat are disjoint: where one delivers, the others carry amplitude 0.
        total = total + carried
        most = max(most, _largest_payload(spiking, connection.source))
    amplitude = channelwise(unit.name, total)
    population = MaxPool(unit.name, unit.input_shape, unit.kernel, unit.stride, unit.padding, most)
    return QuantizedUnit(population, connections, np.broadcast_to(per_channel(amplitude, unit.shape), unit.shape))


def _largest_payload(spiking: SpikingNetwork, name: str) -> int:
    """Return the longest burst that a unit of the network can emit."""
    unit = spiking.network[name]
    if isinstance(unit, MaxUnit):
        return max(_largest_payload(spiking, c.source) for c in spiking.network.inputs(name))
    if isinstance(unit, Source):
        return spiking.source.payload_range[1]
    return spiking.firing[name].phi
