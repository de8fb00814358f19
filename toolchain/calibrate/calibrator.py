"""What every pass works with: the ANN, the data, and how networks are calibrated.

A search weighs many networks, and each is calibrated first: what is measured is then what the user gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from toolchain.calibrate.advanced import AdvancedCalibration
from toolchain.calibrate.calibration_data import CalibrationData
from toolchain.calibrate.histograms import Histogram
from toolchain.calibrate.influence import influences
from toolchain.calibrate.light import calibrate_biases
from toolchain.calibrate.retune import Goal
from toolchain.calibrate.thresholds import Thresholds, fire_with
from toolchain.display import Progress, silent
from toolchain.netlist import Input, fan_outs
from toolchain.network import FloatNetwork, SpikingNetwork
from toolchain.quantize import Precision

#: How biases (and with `advanced`, weights, thresholds and potentials) are calibrated.
CalibrationMethod = Literal["light", "advanced", "none"]
#: Samples on which the influence of activations is measured: a mean over samples and positions that only has to rank
#: channels. It is known to 6 % of a channel's and 0.4 % of a layer's, of ResNet-20, whose channels spread over a factor
#: of two either way.
_INFLUENCE_SAMPLES = 64


@dataclass(frozen=True, eq=False)
class Calibrator:
    """One network, the data to calibrate it on, and how that is done.

    Parameters
    ----------
    network : FloatNetwork
        The ANN, as it came.
    source : Input
        What data become as payloads.
    histograms : mapping of str to Histogram
        Of the ANN's activations on `data`.
    data : CalibrationData
        To calibrate on.
    precision : Precision
    thresholds : Thresholds
    method : {"light", "advanced", "none"}
    progress : Progress
    """

    network: FloatNetwork
    source: Input
    histograms: Mapping[str, Histogram]
    data: CalibrationData
    precision: Precision
    thresholds: Thresholds
    method: CalibrationMethod
    progress: Progress = silent

    @cached_property
    def influence(self) -> dict[str, np.ndarray]:
        """How much an error in each channel moves the outputs (`toolchain.calibrate.influence`)."""
        found = influences(self.network, self.data.part(0, _INFLUENCE_SAMPLES).x)
        self.data.storage.give_back()
        return found

    @cached_property
    def fan_out(self) -> dict[str, np.ndarray]:
        """Mean number of synapses that a neuron of each channel drives, (C,) float64 per unit that is read."""
        synapses = fan_outs(self.network.connections, {u.name: u.shape for u in self.network.units})
        return {name: neurons.reshape(neurons.shape[0], -1).mean(axis=1) for name, neurons in synapses.items()}

    def fire(self, phi: Mapping[str, int]) -> SpikingNetwork:
        """Choose thresholds for the longest bursts given, per activation; nothing is calibrated yet."""
        firing = fire_with(self.network, self.histograms, phi, self.thresholds)
        return SpikingNetwork(self.network, self.source, firing, self.thresholds.timesteps, self.thresholds.radix)

    def calibrate(self, spiking: SpikingNetwork, operation_cost: float = 0.0) -> SpikingNetwork:
        """Calibrate a network anew, from the ANN's own weights and biases.

        Parameters
        ----------
        spiking : SpikingNetwork
            How it fires; its weights and biases do not count.
        operation_cost : float
            In squared error of the outputs, for the thresholds of advanced calibration.
        """
        spiking = replace(spiking, network=self.network)
        match self.method:
            case "none":
                return spiking
            case "light":
                return calibrate_biases(spiking, self.data, self.precision, progress=self.progress)
            case "advanced":
                goals = {name: self._goal(name, operation_cost) for name in self.histograms if name in self.fan_out}
                return AdvancedCalibration()(spiking, self.data, self.precision, goals, progress=self.progress)

    def _goal(self, name: str, operation_cost: float) -> Goal:
        """Return what the thresholds of one activation are judged by."""
        seen = self.histograms[name]
        # Where operations are free, each channel takes its least error, whatever that does to the outputs.
        influence = self.influence[name] if operation_cost > 0 else np.ones(seen.top.size)
        return Goal(influence, self.fan_out[name], operation_cost, seen, len(self.data))
