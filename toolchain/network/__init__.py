"""Networks in real numbers, and what they compute: the ANN, and the float SNN before anything is rounded."""

from toolchain.network.ann import activations, arguments, arriving, emit, iterate, outputs, reference_outputs
from toolchain.network.chunks import SampleTensor, chunks, each_chunk
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
    "SampleTensor",
    "Source",
    "SpikingNetwork",
    "Unit",
    "X",
    "activations",
    "arguments",
    "arriving",
    "carried",
    "chunks",
    "each_chunk",
    "emit",
    "iterate",
    "meeting_channels",
    "outputs",
    "reference_outputs",
    "shared_amplitudes",
    "simulate_float",
]
