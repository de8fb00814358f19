"""Advanced calibration: weights, thresholds, biases and initial potentials, one unit after the other.

Each step of a unit sees what the steps before left, and every later unit sees the result spiking and
quantised (after Li et al., ICML 2021; `toolchain.calibrate.weights` and `retune` say what differs). The order
follows from what a step can undo: weights change the shape of the current, thresholds and initial potentials are
chosen on it, the bias takes back the mean error that is left per channel, the potentials what is left per neuron.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from toolchain.calibrate.calibration_data import CalibrationData
from toolchain.calibrate.light import calibrate_bias
from toolchain.calibrate.retune import Goal, retune
from toolchain.calibrate.walk import CalibrationWalk, Step, calibrate_units
from toolchain.calibrate.weights import fit_weights
from toolchain.display import Progress, silent
from toolchain.netlist import AdaFire, per_channel
from toolchain.network import SpikingNetwork
from toolchain.quantize import Precision


@dataclass(frozen=True)
class AdvancedCalibration:
    """Which steps of advanced calibration run; the bias is always calibrated.

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
            Per activation; one without a goal keeps its thresholds.
        progress : Progress
        """
        steps: list[tuple[bool, Step]] = [
            (self.weights, fit_weights),
            (self.thresholds, partial(retune, goals=goals)),
            (True, calibrate_bias),
            (self.potentials, shift_potentials),
        ]
        asked = [step for wanted, step in steps if wanted]
        return calibrate_units(
            spiking, data, precision, asked, "advanced calibration", fitted=self.weights, progress=progress
        )


def shift_potentials(walk: CalibrationWalk, name: str) -> SpikingNetwork:
    """Return the walk's network with every neuron's initial potential shifted by its mean error.

    ``u0 <- u0 + T * mean over samples (ANN - SNN)``: what a neuron lacks on average over a run, it
    gets at the start. Shifts stay within half a threshold: beyond it, the mean error comes from
    clipping, which no initial potential mends.

    Parameters
    ----------
    walk : CalibrationWalk
        Standing at this unit.
    name : str
        An `Activation`; other units have no initial potential and stay as they are.
    """
    if name not in walk.spiking.firing:
        return walk.spiking
    unit, firing, timesteps = walk.quantized(name), walk.spiking.firing[name], walk.spiking.timesteps
    assert isinstance(unit.population, AdaFire)
    emitted = walk.total_output(unit) / walk.samples(name) / timesteps
    error = walk.wanted_per_neuron(name) - emitted * unit.amplitude
    shift = np.clip(timesteps * error / unit.amplitude, -0.5, 0.5)
    shifted = replace(firing, initial=per_channel(firing.initial, unit.population.shape) + shift)
    return replace(walk.spiking, firing={**walk.spiking.firing, name: shifted})
