"""One layer varied at a time: what it does to the outputs, and what it spends.

The base network's spikes are kept, so that a change of one layer runs only what lies behind it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sim import compile_layer
from toolchain.calibrate.light import shift_bias
from toolchain.calibrate.spiking_walk import CHUNK, CalibrationData, channel_mean
from toolchain.netlist import AdaFire, Population, Readout, fan_outs
from toolchain.network import Firing, FloatNetwork, SpikingNetwork, iterate
from toolchain.quantize import Precision, QuantizedUnit, quantize, quantize_source, quantize_unit
from toolchain.search.measure import symmetric_divergence

#: Changes when measurements change their meaning: measurements on disk by other versions are not read.
_VERSION = 1


@dataclass(frozen=True)
class Sensitivity:
    """One layer at one setting, all others at the base.

    Parameters
    ----------
    divergence : float
        Of the whole network from the ANN (`toolchain.search.measure`).
    operations : float
        Synaptic operations per sample that the layer's spikes cause.
    """

    divergence: float
    operations: float


@dataclass(frozen=True, eq=False)
class Base:
    """A network to vary, and the data to measure on: all that a worker needs.

    Parameters
    ----------
    network : FloatNetwork
        The ANN, before any calibration.
    spiking : SpikingNetwork
        The base setting.
    data : CalibrationData
    precision : Precision
    """

    network: FloatNetwork
    spiking: SpikingNetwork
    data: CalibrationData
    precision: Precision

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides a measurement, but the varied layer."""
        digest = hashlib.sha256(f"{_VERSION}:".encode())
        for network in (self.network, self.spiking.network):
            for unit in network.units:
                digest.update(repr((unit.name, unit.shape)).encode())
                digest.update(np.ascontiguousarray(getattr(unit, "bias", 0.0)).tobytes())
            for connection in network.connections:
                for operator in connection.operators:
                    digest.update(np.ascontiguousarray(getattr(operator, "weight", 0.0)).tobytes())
        digest.update(quantize(self.spiking, self.precision).content_hash.encode())
        digest.update(self.data.x.numpy().tobytes())
        digest.update(self.data.payload.numpy().tobytes())
        target = self.precision.target
        digest.update(f"{self.precision.weight_bits}:{target.name if target else None}".encode())
        return digest.hexdigest()


class Workbench:
    """The base network run once, ready to vary one layer."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._amplitudes: dict[str, np.ndarray] = {}
        self._populations: dict[str, Population] = {}
        self._spikes: dict[str, Tensor] = {}
        source = quantize_source(base.spiking)
        self._keep(source, base.data.payload)
        network = base.spiking.network
        self._order = [u.name for u in network.units[1:]]
        for name in self._order:
            unit = quantize_unit(base.spiking, name, self._amplitudes, base.precision)
            self._keep(unit, self._run(unit, self._populations, self._spikes))
        self._synapses = fan_outs(network.connections, {u.name: u.shape for u in network.units})
        self._reference, self._means = _ann(base.network, base.data.x)

    def _keep(self, unit: QuantizedUnit, output: Tensor) -> None:
        name = unit.population.name
        self._amplitudes[name], self._populations[name], self._spikes[name] = unit.amplitude, unit.population, output

    def _run(self, unit: QuantizedUnit, populations: dict[str, Population], spikes: dict[str, Tensor]) -> Tensor:
        limit = 2 ** (self._base.precision.membrane_bits - 1) - 1
        layer = compile_layer(unit.population, unit.connections, populations, limit, self._base.spiking.timesteps)
        samples = len(self._base.data)
        parts = [
            layer.run({name: spikes[name][:, start : start + CHUNK] for name in layer.sources}).output
            for start in range(0, samples, CHUNK)
        ]
        # Of a readout the last sum decides.
        return torch.cat([p[-1:] for p in parts] if isinstance(unit.population, Readout) else parts, dim=1)

    @torch.inference_mode()
    def measure(self, name: str, firing: Firing) -> Sensitivity:
        """Measure the network with one layer firing differently, its biases shifted by its mean error."""
        spiking = replace(self._base.spiking, firing={**self._base.spiking.firing, name: firing})
        populations, amplitudes, spikes = dict(self._populations), dict(self._amplitudes), dict(self._spikes)
        for later in self._order[self._order.index(name) :]:
            unit = quantize_unit(spiking, later, amplitudes, self._base.precision)
            output = self._run(unit, populations, spikes)
            if later == name:
                error = self._means[name] - self._mean(unit, output)
                spiking = replace(spiking, network=shift_bias(spiking.network, name, error))
                unit = quantize_unit(spiking, name, amplitudes, self._base.precision)
                output = self._run(unit, populations, spikes)
            populations[later], amplitudes[later], spikes[later] = unit.population, unit.amplitude, output
        divergence = 0.0
        for output_name, reference in self._reference.items():
            readout = populations[output_name]
            assert isinstance(readout, Readout)
            scale = torch.from_numpy(readout.scale).reshape(-1, *(1 for _ in readout.shape[1:]))
            divergence += symmetric_divergence(spikes[output_name][0] * scale / spiking.timesteps, reference)
        emitted = spikes[name].sum((0, 1), dtype=torch.int64).numpy()
        return Sensitivity(divergence, float((emitted * self._synapses[name]).sum()) / len(self._base.data))

    def _mean(self, unit: QuantizedUnit, output: Tensor) -> np.ndarray:
        population = unit.population
        assert isinstance(population, AdaFire)
        mean = channel_mean(output.sum(0, dtype=torch.int64)).numpy()
        return np.asarray(mean * population.threshold * population.scale / self._base.spiking.timesteps)


@torch.inference_mode()
def _ann(network: FloatNetwork, x: Tensor) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """Return the ANN's outputs, and the mean of every other unit per channel."""
    outputs: dict[str, list[Tensor]] = {}
    means: dict[str, np.ndarray] = {}
    for start in range(0, x.shape[0], CHUNK):
        part = x[start : start + CHUNK]
        for name, value in iterate(network, part):
            if network[name].emits:
                means[name] = means.get(name, 0.0) + channel_mean(value).numpy() * part.shape[0] / x.shape[0]
            else:
                outputs.setdefault(name, []).append(value)
    return {name: torch.cat(values) for name, values in outputs.items()}, means
