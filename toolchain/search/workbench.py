"""One layer varied at a time: what it does to the outputs, and what it spends.

The base network's spikes are kept, so that a change of one layer runs only what lies behind it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from toolchain.calibrate import CalibrationData, CalibrationWalk, channel_sum, shift_bias
from toolchain.netlist import Readout, TaskName, fan_outs, per_channel
from toolchain.network import Firing, FloatNetwork, SpikingNetwork, chunks, iterate
from toolchain.quantize import Precision, quantize
from toolchain.tasks import symmetric_divergence

#: Changes when measurements change their meaning: measurements on disk by other versions are not read.
_VERSION = 2


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
class BaseNetwork:
    """A network to vary, and the data to measure on: all that a worker needs.

    Parameters
    ----------
    network : FloatNetwork
        The ANN, before any calibration.
    spiking : SpikingNetwork
        The base setting.
    data : CalibrationData
    precision : Precision
    task : TaskName or None
        What the network is for: how outputs are compared.
    """

    network: FloatNetwork
    spiking: SpikingNetwork
    data: CalibrationData
    precision: Precision
    task: TaskName | None = None

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides a measurement, but the varied layer."""
        digest = hashlib.sha256(f"{_VERSION}:{self.task}:".encode())
        for network in (self.network, self.spiking.network):
            for unit in network.units:
                digest.update(repr((unit.name, unit.shape)).encode())
                digest.update(np.ascontiguousarray(getattr(unit, "bias", 0.0)).tobytes())
            for connection in network.connections:
                for operator in connection.operators:
                    digest.update(np.ascontiguousarray(getattr(operator, "weight", 0.0)).tobytes())
        digest.update(quantize(self.spiking, self.precision).content_hash.encode())
        digest.update(self.data.x[:].numpy().tobytes())
        digest.update(self.data.payload[:].numpy().tobytes())
        target = self.precision.target
        digest.update(f"{self.precision.weight_bits}:{target.name if target else None}".encode())
        return digest.hexdigest()


class Workbench:
    """The base network run once, ready to vary one layer."""

    def __init__(self, base: BaseNetwork) -> None:
        self._base = base
        network = base.spiking.network
        self._order = [u.name for u in network.units[1:]]
        self._walk = CalibrationWalk(base.spiking, base.data, base.precision)
        for name in self._order:
            self._walk.keep(name)
        self._synapses = fan_outs(network.connections, {u.name: u.shape for u in network.units})
        self._reference, self._means = _ann(base.network, base.data)

    @torch.inference_mode()
    def measure(self, name: str, firing: Firing) -> Sensitivity:
        """Measure the network with one layer firing differently, its biases shifted by its mean error.

        Parameters
        ----------
        name : str
            An `Activation`.
        firing : Firing
        """
        walk = self._walk.fork(replace(self._base.spiking, firing={**self._base.spiking.firing, name: firing}))
        error = self._means[name] - walk.mean_output(walk.quantized(name)).numpy()
        walk.spiking = shift_bias(walk.spiking, name, error)
        # What lies before the layer emits what it emits at the base.
        for later in self._order[self._order.index(name) :]:
            walk.keep(later)
        divergence = 0.0
        for output_name, reference in self._reference.items():
            readout = walk.population(output_name)
            assert isinstance(readout, Readout)
            scale = torch.from_numpy(per_channel(readout.scale, readout.shape))
            average = walk.spikes(output_name, slice(None))[0] * scale / walk.spiking.timesteps
            divergence += symmetric_divergence(average, reference, self._base.task)
        operations = float((walk.emitted(name) * self._synapses[name]).sum()) / len(self._base.data)
        return Sensitivity(divergence, operations)


@torch.inference_mode()
def _ann(network: FloatNetwork, data: CalibrationData) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """Return the ANN's outputs, and the mean of every other unit per channel."""
    outputs: dict[str, list[Tensor]] = {}
    means: dict[str, np.ndarray] = {}
    for part in chunks(len(data), network.widest):
        for name, value in iterate(network, data.x[part]):
            if network[name].emits:
                mean = channel_sum(value).numpy() / prod(value.shape[2:]) / len(data)
                means[name] = means.get(name, 0.0) + mean
            else:
                outputs.setdefault(name, []).append(value)
    return {name: torch.cat(values) for name, values in outputs.items()}, means
