"""Light calibration: shift every bias by the mean error of its channel.

``b_c <- b_c + mean(ANN) - mean(SNN)`` (eq. 14 of the appendix of Wang et al., AAAI 2025), layer by
layer, the SNN measured with all earlier layers already calibrated, spiking and quantised.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from toolchain.calibrate.spiking_walk import CalibrationData, Walk, channel_mean
from toolchain.display import Progress, silent
from toolchain.netlist.shapes import per_channel
from toolchain.network import Activation, FloatNetwork, Output, SpikingNetwork
from toolchain.quantize import Precision


def shift_bias(network: FloatNetwork, name: str, shift: np.ndarray) -> FloatNetwork:
    """Return the network with `shift` (C,) added to the bias of one unit."""

    def shifted(unit: Activation | Output) -> Activation | Output:
        per_neuron = unit.bias.shape == unit.shape
        return replace(unit, bias=unit.bias + (per_channel(shift, unit.shape) if per_neuron else shift))

    units = tuple(shifted(u) if u.name == name and isinstance(u, Activation | Output) else u for u in network.units)
    return replace(network, units=units)


@torch.inference_mode()
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

    Returns
    -------
    SpikingNetwork
        With shifted biases; everything else as it was.
    """
    walk = Walk(spiking, data, precision)
    with progress("calibrating biases", len(spiking.network.units) - 1) as advance:
        for name, ann in walk.units():
            if walk.is_calibrated(name):
                error = channel_mean(ann) - walk.mean_output(walk.quantized(name))
                network = shift_bias(walk.spiking.network, name, error.numpy())
                walk.spiking = replace(walk.spiking, network=network)
            advance()
    return walk.spiking
