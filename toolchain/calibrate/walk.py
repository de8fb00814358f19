"""Walk ANN and quantised SNN side by side, unit by unit in forward order, on calibration data.

Calibration of a unit needs the ANN's activation and what the unit does on spikes of units that are
already calibrated and quantised: what rounding did to them is then part of what later units make up for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sim import compile_layer
from sim.threads import for_each
from toolchain.display import Progress, silent
from toolchain.netlist import AdaFire, InputError, Population, Readout, last_reads, per_channel
from toolchain.network import (
    Activation,
    FloatNetwork,
    MaxUnit,
    Output,
    Source,
    SpikingNetwork,
    Unit,
    current,
    value_of,
)
from toolchain.quantize import Precision, QuantizedUnit, quantize_source, quantize_unit

#: Samples that one call of a layer takes; bounds the memory of its currents. Always the same, for float sums depend on
#: how they are cut, and never on how many threads there are.
CHUNK = 32


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """Unlabelled data to calibrate on.

    Parameters
    ----------
    x : Tensor (N, *source shape), float32
        Normalised: what the ANN sees. The mean over frames for frames coding.
    payload : Tensor (1 or T, N, *source shape), int8 or uint8
        What the SNN sees; a first axis of 1 is held.
    """

    x: Tensor
    payload: Tensor

    def __post_init__(self) -> None:
        if self.x.shape != self.payload.shape[1:]:
            raise InputError("calibration data", f"{tuple(self.x.shape)} data for {tuple(self.payload.shape)} payloads")
        if self.x.shape[0] < 1:
            raise InputError("calibration data", "no samples found, expected at least one")

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def part(self, start: int, stop: int) -> CalibrationData:
        """Return the samples from `start` up to `stop`."""
        return CalibrationData(self.x[start:stop], self.payload[:, start:stop])


def parts(samples: int) -> list[slice]:
    """Return the chunks that samples are worked off in."""
    return [slice(start, min(start + CHUNK, samples)) for start in range(0, samples, CHUNK)]


def run_total(spikes: Tensor) -> Tensor:
    """Sum payloads (T, N, ...) over a run: (N, ...) float32, whose 24 bits hold any such sum."""
    # Addition by addition: torch's own sum over the first axis is ten times as slow.
    total = torch.zeros(spikes.shape[1:])
    for payload in spikes:
        total += payload
    return total


def channel_mean(values: Tensor) -> Tensor:
    """Mean over all axes but the channels: (N, C, ...) -> (C,), float64."""
    rows = values.reshape(*values.shape[:2], -1)
    sums = for_each(lambda part: rows[part].sum(2, dtype=torch.float64).sum(0), parts(len(rows)))
    return torch.stack(sums).sum(0) / (rows.shape[0] * rows.shape[2])


def sample_mean(values: Tensor) -> np.ndarray:
    """Mean over samples: (N, ...) -> (...), float64."""
    sums = for_each(lambda part: values[part].sum(0, dtype=torch.float64), parts(len(values)))
    return np.asarray(torch.stack(sums).sum(0).numpy() / len(values))


class CalibrationWalk:
    """The state of one walk: the network as it stands, and what the units passed so far emit.

    `units` walks over all units beside the ANN and holds only what later units still read. `keep` takes one unit
    alone, and all it has kept stays.

    Parameters
    ----------
    spiking : SpikingNetwork
        The walk's network; a step exchanges it for one with the current unit changed.
    data : CalibrationData
    precision : Precision
    """

    def __init__(self, spiking: SpikingNetwork, data: CalibrationData, precision: Precision) -> None:
        self.spiking = spiking
        self._ann = spiking.network
        self._samples = len(data)
        self._precision = precision
        source = quantize_source(spiking)
        name = source.population.name
        self._populations: dict[str, Population] = {name: source.population}
        self._amplitudes = {name: source.amplitude}
        self._spikes: dict[str, Tensor] = {name: data.payload}
        self._values: dict[str, Tensor] = {name: data.x}

    def __len__(self) -> int:
        return self._samples

    def fork(self, spiking: SpikingNetwork) -> CalibrationWalk:
        """Return a walk that goes on from here with another network, and leaves this one as it is."""
        other = copy(self)
        other.spiking = spiking
        other._populations, other._amplitudes = dict(self._populations), dict(self._amplitudes)
        other._spikes, other._values = dict(self._spikes), dict(self._values)
        return other

    def units(self) -> Iterator[str]:
        """Yield the name of every unit but the source, in forward order.

        Whatever the caller does to the unit through `spiking` before asking for the next one is
        what later units see.
        """
        done = last_reads((unit.name for unit in self._ann.units), self._ann.connections)
        for unit in self._ann.units[1:]:
            self._values[unit.name] = self._value(unit)
            yield unit.name
            if unit.name not in done[unit.name]:
                self.keep(unit.name)
            for name in done[unit.name]:
                self._values.pop(name)
                self._spikes.pop(name, None)

    def wanted(self, name: str) -> Tensor:
        """Return the ANN's activation of the unit where `units` stands, or of one that it reads, (N, *shape)."""
        return self._values[name]

    def _value(self, unit: Unit) -> Tensor:
        """Return what a unit is in the ANN, (N, *shape)."""
        read = {c.source: self._values[c.source] for c in self._ann.inputs(unit.name)} or self._values

        def work(part: slice) -> Tensor:
            return value_of(self._ann, unit, {name: value[part] for name, value in read.items()})

        return torch.cat(for_each(work, parts(self._samples)))

    def current(self, name: str, part: slice) -> Tensor:
        """Return the ANN's current into a unit, bias included, of some samples: before the activation function."""
        unit = self._ann[name]
        read = {c.source: self._values[c.source][part] for c in self._ann.inputs(name)}
        total = current(self._ann, unit, read)
        if isinstance(unit, MaxUnit | Source):
            return total
        return total + torch.from_numpy(per_channel(unit.bias, unit.shape)).to(total)

    def quantized(self, name: str) -> QuantizedUnit:
        """Quantise a unit as the network stands."""
        return quantize_unit(self.spiking, name, self._amplitudes, self._precision)

    def keep(self, name: str) -> None:
        """Quantise a unit as the network stands and run it: later units read what it emits."""
        unit = self.quantized(name)
        self._populations[name], self._amplitudes[name] = unit.population, unit.amplitude
        self._spikes[name] = self.run(unit)

    def population(self, name: str) -> Population:
        """Return a unit that the walk has passed, in integers."""
        return self._populations[name]

    def spikes(self, name: str) -> Tensor:
        """Return what a unit that the walk has passed emits, (T or 1, N, *shape)."""
        return self._spikes[name]

    def average(self, name: str, part: slice) -> Tensor:
        """Return what such a unit stands for on average over a run, for some samples, in real numbers, float32."""
        spikes = self._spikes[name][:, part]
        amplitude = torch.from_numpy(np.ascontiguousarray(self._amplitudes[name], dtype=np.float32))
        return run_total(spikes) / spikes.shape[0] * amplitude

    def run(self, unit: QuantizedUnit) -> Tensor:
        """Run one quantised unit on the spikes of its sources.

        Returns
        -------
        Tensor (T, N, *shape), integer
            What it emits. Of a readout the last sum alone, (1, N, *shape): that one decides.
        """
        layer = compile_layer(
            unit.population, unit.connections, self._populations, self._precision.membrane_limit, self.spiking.timesteps
        )
        emitted: Tensor | None = None
        for part in parts(self._samples):
            output = layer.run({name: self._spikes[name][:, part] for name in layer.sources}).output
            if isinstance(unit.population, Readout):
                output = output[-1:]
            if emitted is None:
                emitted = output.new_empty((output.shape[0], self._samples, *output.shape[2:]))
            emitted[:, part] = output
        assert emitted is not None
        return emitted

    def mean_output(self, unit: QuantizedUnit) -> Tensor:
        """Average real output per channel over time, samples and space, (C,) float64."""
        output, population = self.run(unit), unit.population
        if isinstance(population, Readout):
            return channel_mean(output[-1]) / self.spiking.timesteps * torch.from_numpy(population.scale)
        assert isinstance(population, AdaFire)
        amplitude = torch.from_numpy(population.threshold * population.scale)
        return channel_mean(run_total(output)) / self.spiking.timesteps * amplitude


#: What calibration does with a unit where a walk stands: it returns the walk's network with that unit changed.
Step = Callable[[CalibrationWalk, str], SpikingNetwork]


@torch.inference_mode()
def calibrate_units(
    spiking: SpikingNetwork,
    data: CalibrationData,
    precision: Precision,
    steps: Sequence[Step],
    title: str,
    *,
    progress: Progress = silent,
) -> SpikingNetwork:
    """Take every unit through the same steps, one unit after the other.

    Parameters
    ----------
    spiking : SpikingNetwork
    data : CalibrationData
    precision : Precision
        What the network will be quantised to.
    steps : sequence of Step
        In order; each sees what the ones before left. Max-pooling has nothing to calibrate.
    title : str
        What progress calls it.
    progress : Progress

    Returns
    -------
    SpikingNetwork
    """
    walk = CalibrationWalk(spiking, data, precision)
    with progress(title, len(spiking.network.units) - 1) as advance:
        for name in walk.units():
            if not isinstance(spiking.network[name], MaxUnit):
                for step in steps:
                    walk.spiking = step(walk, name)
            advance()
    return walk.spiking


def replace_unit(network: FloatNetwork, unit: Activation | Output) -> FloatNetwork:
    """Return the network with `unit` in the place of the one that has its name."""
    return replace(network, units=tuple(unit if u.name == unit.name else u for u in network.units))
