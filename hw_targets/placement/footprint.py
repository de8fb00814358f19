"""What a box of neurons takes of a core: neurons, synapses, state and axons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hw_targets.placement.boxes import Box, index, receptive_box, volume
from hw_targets.target import Target
from toolchain.netlist import (
    Connection,
    Conv,
    ConvTranspose,
    Linear,
    MaxPool,
    Netlist,
    Resample,
    Scale,
    Weighted,
    apply,
)
from toolchain.netlist.linear import structure
from toolchain.netlist.shapes import Shape

#: The resources of a core, in the order that tables show them.
RESOURCES = ("neurons", "synapse_bytes", "memory_bytes", "in_axons", "out_axons")


def core_limits(target: Target) -> Mapping[str, int | None]:
    """Return the limit of each resource of one core; None where it is unlimited or unknown."""
    return {
        "neurons": target.neurons_per_core,
        "synapse_bytes": target.synapse_bytes_per_core,
        "memory_bytes": target.memory_bytes_per_core,
        "in_axons": target.in_axons_per_core,
        "out_axons": target.out_axons_per_core,
    }


@dataclass(frozen=True, eq=False)
class Synapses:
    """The synapses of one connection.

    Parameters
    ----------
    connection : Connection
    source_shape : tuple of int
    fan_in : ndarray (target current shape), float64
        Paths into each target, borders included; integers.
    kernel : ndarray (C,), int64, or None
        Weights that one channel needs where a core stores a kernel once for all positions; None
        for connections that are no convolution.
    """

    connection: Connection
    source_shape: Shape
    fan_in: np.ndarray
    kernel: np.ndarray | None

    def stored(self, box: Box, *, shared: bool) -> int:
        """Count the weights that a core holding `box` stores."""
        if shared and self.kernel is not None:
            return min(int(self.kernel[slice(*box[0])].sum()), int(self.fan_in[index(box)].sum()))
        return int(self.fan_in[index(box)].sum())

    def axons(self, box: Box, *, shared: bool) -> int:
        """Count the input axons of a core holding `box`.

        One per source neuron; where axons carry an index into shared weights, one per source
        position, the index being the channel.
        """
        sources = receptive_box(self.connection.operators, self.source_shape, box)
        return volume(sources[1:]) if shared and len(sources) > 1 else volume(sources)


def _repeats(connection: Connection, shape: Shape) -> int | None:
    """Return how many kernels positions alternate between; None when weights are not shared at all."""
    repeats, last = 1, None
    for operator in connection.operators:
        if isinstance(operator, Linear):
            return None
        if isinstance(operator, Resample):
            repeats *= math.prod(-(-m.shape[0] // m.shape[1]) for m in operator.matrices)
        if isinstance(operator, ConvTranspose):
            repeats *= math.prod(operator.stride)
        if isinstance(operator, Weighted):
            last = operator
        shape = operator.output_shape(shape)
    return repeats if isinstance(last, Conv | ConvTranspose | Scale) and len(shape) > 1 else None


def _measure(connection: Connection, source_shape: Shape) -> Synapses:
    x, shape = np.ones(source_shape), source_shape
    for operator in connection.operators:
        x = apply(structure(operator), x, shape)
        shape = operator.output_shape(shape)
    repeats = _repeats(connection, source_shape)
    kernel = None if repeats is None else x.reshape(x.shape[0], -1).max(axis=1).astype(np.int64) * repeats
    return Synapses(connection, source_shape, x, kernel)


@lru_cache(maxsize=4)
def measure_synapses(netlist: Netlist) -> Mapping[str, tuple[Synapses, ...]]:
    """Return the synapses into each population that takes connections."""
    return {
        p.name: tuple(_measure(c, netlist[c.source].shape) for c in netlist.inputs(p.name))
        for p in netlist.populations[1:]
    }


def stored_weight_bits(netlist: Netlist, target: Target) -> int:
    """Return the bits that one stored synapse takes: the narrowest format that holds the weights."""
    widths = [b for b in target.weight_bits or () if b >= netlist.weight_bits]
    return (min(widths) if widths else netlist.weight_bits) + (target.synapse_index_bits or 0)


def state_bits(netlist: Netlist, target: Target) -> int:
    """Return the state that one AdaFire neuron cannot do without: potential, bias and threshold."""
    bias = (target.bias_mantissa_bits or 0) + _field(target.bias_exponent)
    threshold = (target.threshold_mantissa_bits or 0) + _field(target.threshold_exponent)
    return (target.membrane_bits or netlist.membrane_bits) + bias + threshold


def _field(exponent: tuple[int, ...] | None) -> int:
    return 0 if exponent is None else (exponent[1] - exponent[0]).bit_length()


def footprint(netlist: Netlist, target: Target, name: str, box: Box, *, shared: bool | None = None) -> dict[str, int]:
    """Return what a box of a population takes of a core, out-axons excepted.

    Parameters
    ----------
    netlist : Netlist
    target : Target
    name : str
        The population.
    box : Box
        In the population's shape.
    shared : bool, optional
        Whether kernels are stored once; by default what the target does.
    """
    population = netlist[name]
    shared = bool(target.shares_kernels) if shared is None else shared
    connections = measure_synapses(netlist)[name]
    neurons = volume(box)
    if isinstance(population, MaxPool):
        # Max-pooling remembers the cumulative payload of every input, and the windows' last maxima.
        box = receptive_box((population.window,), population.input_shape, box)
        neurons += volume(box)
    weights = sum(s.stored(box, shared=shared) for s in connections)
    synapse_bytes = -(-weights * stored_weight_bits(netlist, target) // 8)
    state_bytes = neurons * -(-state_bits(netlist, target) // 8)
    return {
        "neurons": neurons * (target.neuron_slots or 1),
        "synapse_bytes": synapse_bytes,
        "memory_bytes": synapse_bytes + state_bytes,
        "in_axons": sum(s.axons(box, shared=shared) for s in connections),
    }
