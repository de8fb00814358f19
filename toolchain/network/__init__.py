"""Networks in real numbers, and what they compute: the ANN, and the float SNN before anything is rounded."""

from toolchain.network.ann import activations, current, iterate, outputs, reference_outputs, value_of
from toolchain.network.float_network import Activation, FloatNetwork, MaxUnit, Output, Source, Unit
from toolchain.network.float_snn import simulate_float
from toolchain.network.meeting import carried, meeting_channels, shared_amplitudes
from toolchain.network.spiking_network import Firing, SpikingNetwork

__all__ = [
    "Activation",
    "Firing",
    "FloatNetwork",
    "MaxUnit",
    "Output",
    "Source",
    "SpikingNetwork",
    "Unit",
    "activations",
    "carried",
    "current",
    "iterate",
    "meeting_channels",
    "outputs",
    "reference_outputs",
    "shared_amplitudes",
    "simulate_float",
    "value_of",
]
