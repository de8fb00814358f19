"""Walk ANN and quantised SNN side by side, unit by unit in forward order, on calibration data.

Calibration of a unit needs the ANN's activation and what the unit does on spikes of units that are
already calibrated and quantised: what rounding did to them is then part of what later units make up for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from sim import Layer, compile_layer
from toolchain.calibrate.calibration_data import CalibrationData, add_up
from toolchain.calibrate.enough import enough_samples, running_samples
from toolchain.calibrate.totals import sum_over_samples, sum_over_steps
from toolchain.display import Progress, silent
from toolchain.netlist import AdaFire, Population, Readout, Shape, last_reads
from toolchain.network import (
    Activation,
    FloatNetwork,
    MaxUnit,
    Output,
    SampleTensor,
    SpikingNetwork,
    Unit,
    arriving,
    chunks,
    each_chunk,
    emit,
)
from toolchain.quantize import Precision, QuantizedUnit, quantize_source, quantize_unit


def channel_sum(values: Tensor) -> Tensor:
    """Sum over all axes but the channels: (N, C, ...) -> (C,), float64."""
    return (
        values.flatten(2).sum(2, dtype=torch.float64).sum(0) if values.ndim > 2 else values.sum(0, dtype=torch.float64)
    )


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
    samples : dict of str to int, optional
        On how many, the first of the data, each unit is calibrated (`toolchain.calibrate.enough`); by default on all.
    """

    def __init__(
        self,
        spiking: SpikingNetwork,
        data: CalibrationData,
        precision: Precision,
        samples: dict[str, int] | None = None,
    ) -> None:
        self.spiking = spiking
        self._samples = samples or {unit.name: len(data) for unit in spiking.network.units}
        self._running = running_samples(spiking.network, self._samples)
        self._ann = spiking.network
        self._data = data
        self._precision = precision
        source = quantize_source(spiking)
        name = source.population.name
        self._populations: dict[str, Population] = {name: source.population}
        self._amplitudes = {name: source.amplitude}
        #: What is emitted, (N, T or 1, *shape).
        self._spikes: dict[str, SampleTensor] = {name: data.payload}
        #: Of the ANN, what arrives at the functions of units, and maxima: (N, *shape).
        self._arrived: dict[str, SampleTensor] = {name: data.x}

    def samples(self, name: str) -> int:
        """Return on how many samples a unit is calibrated."""
        return self._samples[name]

    def running(self, name: str) -> int:
        """Return how many samples run through a unit: at least those, and all that a later one is calibrated on."""
        return self._running[name]

    def fork(self, spiking: SpikingNetwork) -> CalibrationWalk:
        """Return a walk that goes on from here with another network, and leaves this one as it is."""
        other = copy(self)
        other.spiking = spiking
        other._populations, other._amplitudes = dict(self._populations), dict(self._amplitudes)
        other._spikes, other._arrived = dict(self._spikes), dict(self._arrived)
        return other

    def units(self) -> Iterator[str]:
        """Yield the name of every unit but the source, in forward order.

        Whatever the caller does to the unit through `spiking` before asking for the next one is
        what later units see.
        """
        done = last_reads((unit.name for unit in self._ann.units), self._ann.connections)
        for unit in self._ann.units[1:]:
            assert isinstance(unit, Activation | MaxUnit | Output)
            self._arrived[unit.name] = self._store_arriving(unit)
            yield unit.name
            if unit.name not in done[unit.name]:
                self.keep(unit.name)
            for name in done[unit.name]:
                for held in (self._arrived, self._spikes, self._amplitudes, self._populations):
                    held.pop(name, None)

    def shapes(self, name: str) -> list[Shape]:
        """Return the shapes of a unit and of all that it reads."""
        return [self._ann[n].shape for n in (name, *(c.source for c in self._ann.inputs(name)))]

    def _parts(self, name: str, samples: int, times: int = 1) -> list[slice]:
        """Return the chunks in which samples of a unit are worked off, of so many times its numbers."""
        return chunks(samples, times * max(map(prod, self.shapes(name))))

    def wanted(self, name: str, part: slice) -> Tensor:
        """Return the ANN's activation of the unit where `units` stands, or of one that it reads, (n, *shape)."""
        return self._value(self._ann[name], part)

    def arriving(self, name: str, part: slice) -> Tensor:
        """Return what arrives at the function of the ANN's unit where `units` stands, (n, *shape)."""
        return self._arrived[name][part]

    def _value(self, unit: Unit, part: slice) -> Tensor:
        arrived = self._arrived[unit.name][part]
        return emit(unit, arrived) if isinstance(unit, Activation) else arrived

    def _store_arriving(self, unit: Activation | MaxUnit | Output) -> SampleTensor:
        stored = self._data.storage.allocate((self.running(unit.name), *unit.shape), torch.float32)
        sources = {c.source for c in self._ann.inputs(unit.name)} or {self._ann.source.name}

        def work(part: slice) -> None:
            arrived = arriving(self._ann, unit, {name: self._value(self._ann[name], part) for name in sources})
            stored[part] = emit(unit, arrived) if isinstance(unit, MaxUnit) else arrived

        list(each_chunk(work, self._parts(unit.name, self.running(unit.name))))
        return stored

    def wanted_mean(self, name: str) -> Tensor:
        """Return the mean of the ANN's activation over its samples and positions, (C,) float64."""

        def work(part: slice) -> Tensor:
            return channel_sum(self.wanted(name, part))

        samples = self.samples(name)
        sums = list(each_chunk(work, self._parts(name, samples)))
        return torch.stack(sums).sum(0) / (samples * prod(self._ann[name].shape[1:]))

    def wanted_per_neuron(self, name: str) -> np.ndarray:
        """Return the mean of the ANN's activation over its samples, (*shape) float64."""

        def work(part: slice) -> np.ndarray:
            return self.wanted(name, part).sum(0, dtype=torch.float64).numpy()

        return add_up(work, self._parts(name, self.samples(name))) / self.samples(name)

    def quantized(self, name: str) -> QuantizedUnit:
        """Quantise a unit as the network stands."""
        return quantize_unit(self.spiking, name, self._populations, self._amplitudes, self._precision)

    def keep(self, name: str) -> None:
        """Quantise a unit as the network stands and run it: later units read what it emits."""
        unit = self.quantized(name)
        population = unit.population
        steps = 1 if isinstance(population, Readout) else self.spiking.timesteps
        dtype = torch.int64 if isinstance(population, Readout) else torch.uint8
        stored = self._data.storage.allocate((self.running(name), steps, *population.shape), dtype, channels=2)

        layer = self._compiled(unit)

        def work(part: slice) -> None:
            stored[part] = self._run(layer, part)

        list(each_chunk(work, self._runs(name, self.running(name))))
        self._populations[name], self._amplitudes[name], self._spikes[name] = population, unit.amplitude, stored

    def population(self, name: str) -> Population:
        """Return a unit that the walk has passed, in integers."""
        return self._populations[name]

    def is_held(self, name: str) -> bool:
        """Return whether such a unit says the same at every timestep."""
        return self._spikes[name].shape[1] == 1

    def spikes(self, name: str, part: slice) -> Tensor:
        """Return what such a unit emits, (T or 1, n, *shape); of a readout its last sum."""
        return self._spikes[name][part].transpose(0, 1)

    def average(self, name: str, part: slice) -> Tensor:
        """Return what such a unit stands for on average over a run, for some samples, in real numbers, float32."""
        spikes = self._spikes[name][part]
        amplitude = torch.from_numpy(np.ascontiguousarray(self._amplitudes[name], dtype=np.float32))
        return sum_over_steps(spikes).contiguous() / spikes.shape[1] * amplitude

    def emitted(self, name: str) -> np.ndarray:
        """Return what neurons of a unit that the walk has passed emit in all samples and timesteps, (*shape) int64."""
        spikes = self._spikes[name]
        return add_up(lambda part: sum_over_samples(spikes[part]), self._runs(name, self.running(name)))

    def total_output(self, unit: QuantizedUnit) -> np.ndarray:
        """Run one quantised unit; return what its neurons emit in all of its samples and timesteps, (*shape) int64.

        Of a readout that is the sum of the last sums.
        """
        layer, name = self._compiled(unit), unit.population.name
        return add_up(lambda part: sum_over_samples(self._run(layer, part)), self._runs(name, self.samples(name)))

    def mean_output(self, unit: QuantizedUnit) -> Tensor:
        """Average real output per channel over time, samples and space, (C,) float64."""
        population = unit.population
        assert isinstance(population, AdaFire | Readout)
        amplitude = population.scale * (population.threshold if isinstance(population, AdaFire) else 1)
        emitted = torch.from_numpy(self.total_output(unit).reshape(population.shape[0], -1).sum(1)).double()
        mean = emitted / (self.samples(population.name) * prod(population.shape[1:]))
        return mean / self.spiking.timesteps * torch.from_numpy(amplitude)

    def _compiled(self, unit: QuantizedUnit) -> Layer:
        return compile_layer(
            unit.population, unit.connections, self._populations, self._precision.membrane_limit, self.spiking.timesteps
        )

    def _runs(self, name: str, samples: int) -> list[slice]:
        """Return the chunks of a run, smaller where it is long: how whole numbers are cut decides nothing."""
        return self._parts(name, samples, -(-self.spiking.timesteps // 8))

    def _run(self, layer: Layer, part: slice) -> Tensor:
        """Return what a layer emits for some samples, (n, T, *shape); of a readout the last sum, which decides."""
        output = layer.run({name: self.spikes(name, part) for name in layer.sources}).output
        if isinstance(layer.population, Readout):
            output = output[-1:]
        return output.transpose(0, 1)


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
    fitted: bool = False,
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
    fitted : bool
        Whether a step fits weights, for which some units need more samples.
    progress : Progress

    Returns
    -------
    SpikingNetwork
    """
    samples = enough_samples(spiking.network, len(data), fitted=fitted)
    walk = CalibrationWalk(spiking, data, precision, samples)
    with progress(title, len(spiking.network.units) - 1) as advance:
        for name in walk.units():
            if not isinstance(spiking.network[name], MaxUnit):
                for step in steps:
                    walk.spiking = step(walk, name)
            data.storage.give_back()
            advance()
    return walk.spiking


def replace_unit(network: FloatNetwork, unit: Activation | Output) -> FloatNetwork:
    """Return the network with `unit` in the place of the one that has its name."""
    return replace(network, units=tuple(unit if u.name == unit.name else u for u in network.units))
