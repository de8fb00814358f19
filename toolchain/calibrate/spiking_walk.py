"""Walk ANN and quantised SNN side by side, unit by unit in forward order, on calibration data.

Calibration of a unit needs the ANN's activation and what the unit does on spikes of units that are
already calibrated and quantised. The walk holds only what later units still read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sim import compile_layer
from sim.threads import one_thread
from toolchain.netlist import AdaFire, InputError, Population, Readout, per_channel
from toolchain.network import MaxUnit, Source, SpikingNetwork
from toolchain.network.ann import current, value_of
from toolchain.quantize import Precision, QuantizedUnit, quantize_source, quantize_unit

#: Samples that one call of a layer takes; bounds the memory of its currents.
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


@one_thread()
def channel_mean(values: Tensor) -> Tensor:
    """Mean over all axes but the channels: (N, C, ...) -> (C,), float64."""
    return values.double().transpose(0, 1).flatten(1).mean(1)


class Walk:
    """The state of one walk; `units` drives it.

    Parameters
    ----------
    spiking : SpikingNetwork
        The walk's network; `replace` exchanges it for one with the current unit changed.
    data : CalibrationData
    precision : Precision
    """

    def __init__(self, spiking: SpikingNetwork, data: CalibrationData, precision: Precision) -> None:
        self.spiking = spiking
        self._ann = spiking.network
        self._precision = precision
        source = quantize_source(spiking)
        name = source.population.name
        self._populations: dict[str, Population] = {name: source.population}
        self._amplitudes = {name: source.amplitude}
        self._values: dict[str, Tensor] = {name: data.x}
        self._spikes: dict[str, Tensor] = {name: data.payload}

    def quantized(self, name: str) -> QuantizedUnit:
        """Quantise a unit as the network stands."""
        return quantize_unit(self.spiking, name, self._amplitudes, self._precision)

    @one_thread()
    def current(self, name: str) -> Tensor:
        """Return the ANN's current into a unit, bias included, (N, *current shape): before the activation function."""
        unit = self._ann[name]
        total = current(self._ann, unit, self._values)
        if isinstance(unit, MaxUnit | Source):
            return total
        return total + torch.from_numpy(per_channel(unit.bias, unit.shape)).to(total)

    def average(self, name: str) -> Tensor:
        """Return what a unit stands for on average over a run, in real numbers, (N, *shape) float32."""
        spikes = self._spikes[name]
        amplitude = torch.from_numpy(np.ascontiguousarray(self._amplitudes[name], dtype=np.float32))
        return spikes.sum(0, dtype=torch.float32) / spikes.shape[0] * amplitude

    def spikes(self, name: str) -> Tensor:
        """Return what a unit that is already calibrated emits, (T or 1, N, *shape)."""
        return self._spikes[name]

    def population(self, name: str) -> Population:
        """Return a unit that is already calibrated, in integers."""
        return self._populations[name]

    def run(self, unit: QuantizedUnit) -> Tensor:
        """Run one quantised unit on the spikes of its sources, (T, N, *shape)."""
        layer = compile_layer(
            unit.population,
            unit.connections,
            self._populations,
            2 ** (self._precision.membrane_bits - 1) - 1,
            self.spiking.timesteps,
        )
        sources = {c.source for c in unit.connections}
        samples = next(iter(self._values.values())).shape[0]
        outputs = []
        for start in range(0, samples, CHUNK):
            chunk = {name: self._spikes[name][:, start : start + CHUNK] for name in sources}
            outputs.append(layer.run(chunk).output)
        return torch.cat(outputs, dim=1)

    def mean_output(self, unit: QuantizedUnit) -> Tensor:
        """Average real output per channel over time, samples and space, (C,) float64."""
        output, population = self.run(unit), unit.population
        if isinstance(population, Readout):
            return channel_mean(output[-1]) / self.spiking.timesteps * torch.from_numpy(population.scale)
        assert isinstance(population, AdaFire)
        amplitude = torch.from_numpy(population.threshold * population.scale)
        return channel_mean(output.sum(0, dtype=torch.int64)) / self.spiking.timesteps * amplitude

    def units(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, ANN activation (N, *shape)) of every unit but the source, in forward order.

        Whatever the caller does to the unit through `spiking` before asking for the next one is
        what later units see.
        """
        last_reader = {c.source: c.target for unit in self._ann.units for c in self._ann.inputs(unit.name)}
        for unit in self._ann.units[1:]:
            with one_thread():
                self._values[unit.name] = value_of(self._ann, unit, self._values)
            yield unit.name, self._values[unit.name]
            if unit.name in last_reader:
                final = self.quantized(unit.name)
                self._populations[unit.name] = final.population
                self._amplitudes[unit.name] = final.amplitude
                self._spikes[unit.name] = self.run(final)
            for name in [n for n in self._values if last_reader.get(n, unit.name) == unit.name]:
                self._values.pop(name)
                self._spikes.pop(name, None)

    def is_calibrated(self, name: str) -> bool:
        """Return whether the unit has a bias to calibrate."""
        return not isinstance(self._ann[name], MaxUnit)
