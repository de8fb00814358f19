"""Networks in real numbers, and what they compute: the ANN, and the float SNN before anything is rounded."""

from toolchain.network.ann import activations, arguments, current, iterate, outputs, reference_outputs, value_of
from toolchain.network.float_network import Activation, Curve, FloatNetwork, Gated, MaxUnit, Output, Source, Unit
from toolchain.network.float_snn import simulate_float
from toolchain.network.function import Function, X
from toolchain.network.meeting import carried, meeting_channels, shared_amplitudes
from toolchain.network.spiking_network import Firing, SpikingNetwork

__all__ = [
    "Activation",
    "Curve",
    "Firing",
    "FloatNetwork",
    "Function",
    "Gated",
    "MaxUnit",
    "Output",
    "Source",
    "SpikingNetwork",
    "Unit",
    "X",
    "activations",
    "arguments",
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
