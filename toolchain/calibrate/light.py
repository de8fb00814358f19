"""Light calibration: shift every bias by the mean error of its channel.

``b_c <- b_c + mean(ANN) - mean(SNN)`` (eq. 14 of the appendix of Wang et al., AAAI 2025), layer by
layer, the SNN measured with all earlier layers already calibrated, spiking and quantised.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.calibrate.calibration_data import CalibrationData
from toolchain.calibrate.walk import CalibrationWalk, calibrate_units, replace_unit
from toolchain.display import Progress, silent
from toolchain.netlist import per_channel
from toolchain.network import Activation, Output, SpikingNetwork
from toolchain.quantize import Precision


def shift_bias(spiking: SpikingNetwork, name: str, shift: np.ndarray) -> SpikingNetwork:
    """Return the network with a shifted bias.

    Parameters
    ----------
    spiking : SpikingNetwork
    name : str
        An `Activation` or `Output`.
    shift : ndarray (C,), float64
        Added per channel, also where the unit has a bias per neuron.
    """
    unit = spiking.network[name]
    assert isinstance(unit, Activation | Output)
    shifted = replace(unit, bias=unit.bias + per_channel(shift, unit.bias.shape))
    return replace(spiking, network=replace_unit(spiking.network, shifted))


def calibrate_bias(walk: CalibrationWalk, name: str) -> SpikingNetwork:
    """Return the walk's network with the bias of one unit shifted by its mean error (eq. 14).

    Parameters
    ----------
    walk : CalibrationWalk
        Standing at this unit.
    name : str
        An `Activation` or `Output`.
    """
    error = walk.wanted_mean(name) - walk.mean_output(walk.quantized(name))
    return shift_bias(walk.spiking, name, error.numpy())


def calibrate_biases(
    spiking: SpikingNetwork, data: CalibrationData, precision: Precision, *, progress: Progress = silent
) -> SpikingNetwork:
    """Calibrate the bias of every unit (eq. 14).

    Parameters
    ----------
    spiking : SpikingNetwork
    data : CalibrationData
    precision : Precision
        What the network will be quantised to.
    progress : Progress

    Returns
    -------
    SpikingNetwork
        With shifted biases; everything else as it was.
    """
    return calibrate_units(spiking, data, precision, [calibrate_bias], "calibrating biases", progress=progress)
