"""Advanced calibration: weights, thresholds, biases and initial potentials, one unit after the other.

Each step of a unit sees what the steps before left, and every later unit sees the result spiking and
quantised (after Li et al., ICML 2021; `toolchain.calibrate.weights` and `retune` say what differs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from toolchain.calibrate.light import shift_bias
from toolchain.calibrate.retune import Goal, retune
from toolchain.calibrate.spiking_walk import CalibrationData, Walk, channel_mean
from toolchain.calibrate.weights import fit_weights
from toolchain.display import Progress, silent
from toolchain.netlist import AdaFire
from toolchain.network import SpikingNetwork
from toolchain.quantize import Precision


@dataclass(frozen=True)
class AdvancedCalibration:
    """Which steps of advanced calibration run.

    Parameters
    ----------
    weights : bool
        Fit the weights to the ANN's currents.
    thresholds : bool
        Choose threshold and initial potential per channel on real currents; needs goals.
    potentials : bool
        Shift the initial potential of every neuron by its mean error over the run.
    """

    weights: bool = True
    thresholds: bool = True
    potentials: bool = True

    @torch.inference_mode()
    def __call__(
        self,
        spiking: SpikingNetwork,
        data: CalibrationData,
        precision: Precision,
        goals: Mapping[str, Goal],
        *,
        progress: Progress = silent,
    ) -> SpikingNetwork:
        """Calibrate a network whose weights and biases are the ANN's.

        Parameters
        ----------
        spiking : SpikingNetwork
        data : CalibrationData
        precision : Precision
        goals : mapping of str to Goal
            Per activation.
        """
        walk = Walk(spiking, data, precision)
        with progress("advanced calibration", len(spiking.network.units) - 1) as advance:
            for name, wanted in walk.units():
                if walk.is_calibrated(name):
                    if self.weights:
                        walk.spiking = fit_weights(walk, name)
                    if self.thresholds and name in goals:
                        walk.spiking = retune(walk, name, wanted, goals[name])
                    error = channel_mean(wanted) - walk.mean_output(walk.quantized(name))
                    network = shift_bias(walk.spiking.network, name, error.numpy())
                    walk.spiking = replace(walk.spiking, network=network)
                    if self.potentials and name in walk.spiking.firing:
                        walk.spiking = shift_potentials(walk, name, wanted)
                advance()
        return walk.spiking


def shift_potentials(walk: Walk, name: str, wanted: torch.Tensor) -> SpikingNetwork:
    """Return the walk's network with every neuron's initial potential shifted by its mean error.

    ``u0 <- u0 + T * mean over samples (ANN - SNN)``: what a neuron lacks on average over a run, it
    gets at the start. Shifts stay within half a threshold: beyond it, the mean error comes from
    clipping, which no initial potential mends.
    """
    unit = walk.quantized(name)
    population, firing, timesteps = unit.population, walk.spiking.firing[name], walk.spiking.timesteps
    assert isinstance(population, AdaFire)
    emitted = walk.run(unit).sum(0, dtype=torch.float32).mean(0).double().numpy() / timesteps
    amplitude = unit.amplitude
    shift = timesteps * (wanted.double().mean(0).numpy() - emitted * amplitude) / amplitude
    initial = firing.initial
    if initial.shape != unit.population.shape:
        initial = np.broadcast_to(initial.reshape(-1, *(1 for _ in population.shape[1:])), population.shape)
    shifted = replace(firing, initial=initial + np.clip(shift, -0.5, 0.5))
    return replace(walk.spiking, firing={**walk.spiking.firing, name: shifted})
