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
    CubaLif,
    LeakyReadout,
    Linear,
    MaxPool,
    Netlist,
    Resample,
    Scale,
    SumPool,
    Weighted,
    apply_chain,
    fan_in,
    per_channel,
)
from toolchain.netlist.graph import LEAKY_BITS
from toolchain.netlist.leaky import DECAY_UNITY
from toolchain.netlist.shapes import Shape
from toolchain.netlist.synapses import structure

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
class ConnectionFootprint:
    """What the boxes of one connection's targets take of a core.

    Parameters
    ----------
    connection : Connection
    source_shape : tuple of int
    fan_in : ndarray (target current shape), int64
        Synapses into each target, borders included.
    kernel : ndarray (C,), int64, or None
        Weights that one channel needs where a core stores a kernel once for all positions; None
        for connections that are no convolution.
    """

    connection: Connection
    source_shape: Shape
    fan_in: np.ndarray
    kernel: np.ndarray | None

    def weights(self, box: Box, *, shared: bool) -> int:
        """Count the weights that a core holding `box` stores."""
        every = int(self.fan_in[index(box)].sum())
        if shared and self.kernel is not None:
            # Few positions, or those at a border, need no more than their own synapses.
            return min(int(self.kernel[slice(*box[0])].sum()), every)
        return every

    def axons(self, box: Box, *, shared: bool) -> int:
        """Count the input axons of a core holding `box`.

        One per source neuron; where axons carry an index into shared weights, one per source
        position, the index being the channel.
        """
        sources = self.sources(box)
        return volume(sources[1:]) if shared and len(sources) > 1 else volume(sources)

    def sources(self, box: Box) -> Box:
        """Return the box of source neurons that a box of targets listens to."""
        return receptive_box(self.connection.operators, self.source_shape, box)


def _kernel_sizes(connection: Connection, shape: Shape) -> np.ndarray | None:
    """Count the weights of each channel's kernel, (C,); None when weights are not shared at all.

    Counted as if no map had a border: on a map smaller than the kernel no position sees all of it, yet together
    they do. Pooling before a convolution gives every tap as many synapses as the window has. Upsampling by f aligns
    the taps with the source in f ways per axis, each a kernel of its own. Where a pad adds a channel there is none.
    """
    sizes, last = np.ones(shape, np.int64), None
    for operator in connection.operators:
        out = operator.output_shape(shape)
        channels = sizes.reshape(shape[0], -1).max(axis=1)
        match operator:
            case Linear():
                return None
            case Conv(weight, groups=groups) | ConvTranspose(weight, groups=groups):
                taps = channels.reshape(groups, -1).sum(axis=1) * math.prod(weight.shape[2:])
                sizes = _in_full(taps.repeat(out[0] // groups), out)
            case SumPool(kernel):
                sizes = _in_full(channels * math.prod(kernel), out)
            case Resample(matrices):
                ways = (int(np.count_nonzero(m, axis=1).max()) * -(-m.shape[0] // m.shape[1]) for m in matrices)
                sizes = _in_full(channels * math.prod(ways), out)
            case _:
                sizes = apply_chain((structure(operator),), sizes[np.newaxis], shape)[0]
        if isinstance(operator, Weighted):
            last = operator
        shape = out
    shared = isinstance(last, Conv | ConvTranspose | Scale) and len(shape) > 1
    return sizes.reshape(shape[0], -1).max(axis=1) if shared else None


def _in_full(channels: np.ndarray, shape: Shape) -> np.ndarray:
    return np.broadcast_to(per_channel(channels, shape), shape)


def _measure(connection: Connection, source_shape: Shape) -> ConnectionFootprint:
    count = fan_in(connection.operators, source_shape)
    return ConnectionFootprint(connection, source_shape, count, _kernel_sizes(connection, source_shape))


@lru_cache(maxsize=4)
def connection_footprints(netlist: Netlist) -> Mapping[str, tuple[ConnectionFootprint, ...]]:
    """Return the connections into each population that takes any, measured."""
    return {
        p.name: tuple(_measure(c, netlist[c.source].shape) for c in netlist.inputs(p.name))
        for p in netlist.populations[1:]
    }


def stored_weight_bits(netlist: Netlist, target: Target) -> int:
    """Return the bits that one stored synapse takes: the narrowest format that holds the weights."""
    widths = [b for b in target.weight_bits or () if b >= netlist.weight_bits]
    return (min(widths) if widths else netlist.weight_bits) + (target.synapse_index_bits or 0)


def state_bits(netlist: Netlist, target: Target) -> int:
    """Return the state that one neuron cannot do without: potential, bias and threshold.

    In radix code the number that it is sending too; where neurons leak, their current and two decays.
    """
    bias = (target.bias_mantissa_bits or 0) + _field(target.bias_exponent)
    threshold = (target.threshold_mantissa_bits or 0) + _field(target.threshold_exponent)
    number = 0 if netlist.radix is None else netlist.radix.greatest.bit_length()
    leaks = any(isinstance(p, CubaLif | LeakyReadout) for p in netlist.populations)
    leak = LEAKY_BITS + 2 * DECAY_UNITY.bit_length() if leaks else 0
    return (target.membrane_bits or netlist.membrane_bits) + bias + threshold + number + leak


def _field(exponent: tuple[int, ...] | None) -> int:
    """Return the bits of an exponent, stored as its distance from the least one."""
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
    connections = connection_footprints(netlist)[name]
    neurons = volume(box)
    if isinstance(population, MaxPool):
        # Max-pooling remembers the cumulative payload of every input, and the windows' last maxima.
        box = receptive_box((population.window,), population.input_shape, box)
        neurons += volume(box)
    weights = sum(c.weights(box, shared=shared) for c in connections)
    synapse_bytes = -(-weights * stored_weight_bits(netlist, target) // 8)
    state_bytes = neurons * -(-state_bits(netlist, target) // 8)
    return {
        "neurons": neurons * (target.neuron_slots or 1),
        "synapse_bytes": synapse_bytes,
        "memory_bytes": synapse_bytes + state_bytes,
        "in_axons": sum(c.axons(box, shared=shared) for c in connections),
    }
