"""Rules on what a network is made of: operators, delays, destinations, fan-in and fan-out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hw_targets.placement.footprint import connection_footprints
from hw_targets.rules.report import Violation
from hw_targets.schedule import schedule
from hw_targets.target import Target
from toolchain.netlist import (
    Connection,
    Conv,
    ConvTranspose,
    Input,
    MaxPool,
    Netlist,
    SumPool,
    UnsupportedError,
    fan_outs,
)
from toolchain.netlist.shapes import size


def digits(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that potentials can be multiplied by the base of the digits that come in."""
    if netlist.radix is None or netlist.radix.digits == 1 or target.multiplies_potential is not False:
        return
    fix = "convert with `spike_code` rate, or for a chip whose neurons are programs"
    yield Violation("digits", "netlist", "decays or sums", f"potentials times {netlist.radix.base}", fix)


def max_pooling(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that spiking max-pooling exists where it is used."""
    for population in netlist.populations:
        if isinstance(population, MaxPool) and target.max_pool is False:
            yield Violation(
                "max_pooling", population.name, "none", "max-pooling", "average instead of max pool, and retrain"
            )


def kernel_shape(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require kernels, strides, dilation and groups that the target has."""
    for connection in netlist.connections:
        for operator in connection.operators:
            if not isinstance(operator, Conv | ConvTranspose | SumPool):
                continue
            kernel = operator.kernel if isinstance(operator, SumPool) else operator.weight.shape[2:]
            where = connection.name
            if target.square_kernels and len(set(kernel)) > 1:
                yield Violation(
                    "kernel_shape", where, "square", "x".join(map(str, kernel)), "pad the kernel to a square"
                )
            if isinstance(operator, SumPool):
                continue
            if target.kernel_sizes is not None and not set(kernel) <= set(target.kernel_sizes):
                allowed = ", ".join(map(str, target.kernel_sizes))
                larger = [k for k in target.kernel_sizes if k >= max(kernel)]
                fix = f"pad the kernel to {larger[0]}" if larger else "use two smaller convolutions in a row"
                yield Violation("kernel_shape", where, allowed, "x".join(map(str, kernel)), fix)
            if target.strides is not None and not set(operator.stride) <= set(target.strides):
                allowed = ", ".join(map(str, target.strides))
                yield Violation(
                    "kernel_shape", where, allowed, f"stride {max(operator.stride)}", "pool instead of striding"
                )
            if isinstance(operator, Conv) and target.dilated_kernels is False and max(operator.dilation) > 1:
                fix = "fill the kernel with zeros in between"
                yield Violation("kernel_shape", where, "no dilation", f"dilation {max(operator.dilation)}", fix)
            if target.grouped_kernels is False and operator.groups > 1:
                yield Violation(
                    "kernel_shape", where, "no groups", f"{operator.groups} groups", "fill the other groups with zeros"
                )


def skip_delay(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that a connection can wait one step per layer that it skips, or a window of digits.

    The input is exempt: the host injects it when it is due.
    """
    if target.delay is None:
        return
    for connection, waits in steps_to_wait(netlist):
        if waits > target.delay and not isinstance(netlist[connection.source], Input):
            fix = "relay the spikes through populations with threshold 1, or shorten what is skipped"
            yield Violation("skip_delay", connection.name, target.delay, waits, fix)


def loops(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that a loop's delays are as many timesteps as it has hops, where neurons update once per timestep."""
    try:
        _ = netlist.depths
    except UnsupportedError as error:
        if target.timesteps is not False:
            yield Violation("loops", error.where, "a hop per timestep", error.problem, error.fix or "")


def steps_to_wait(netlist: Netlist) -> list[tuple[Connection, int]]:
    """Return each connection with the longest delay beyond its hop; nothing where a loop is not balanced."""
    try:
        delays = schedule(netlist).delays
    except UnsupportedError:
        return []
    # A schedule waits as the shortest synapse asks: the longest takes the difference on top.
    return [
        (c, delay - 1 + int(np.max(c.delay)) - c.least_delay)
        for c, delay in zip(netlist.connections, delays, strict=True)
    ]


def destinations(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that a population sends to no more populations than the target allows."""
    if target.destinations is None:
        return
    for population in netlist.spiking:
        sends = len({c.target for c in netlist.outputs(population.name)})
        if sends > target.destinations:
            fix = "duplicate the population, each copy with its own destinations"
            yield Violation("destinations", population.name, target.destinations, sends, fix)


def fan_in(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that a neuron has no more synapses than the target allows."""
    if target.fan_in is None:
        return
    for population in netlist.populations[1:]:
        most = greatest_fan_in(netlist, population.name) if netlist.inputs(population.name) else 0
        if most > target.fan_in:
            yield Violation(
                "fan_in", population.name, target.fan_in, most, "split the layer's inputs over several populations"
            )


def greatest_fan_in(netlist: Netlist, name: str) -> int:
    """Return the most synapses into one neuron of a population."""
    return int(np.max(sum(c.fan_in for c in connection_footprints(netlist)[name])))


def fan_out_limit(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that a neuron reaches no more targets than the target allows."""
    if target.fan_out is None:
        return
    counts = fan_outs(netlist.connections, {p.name: p.shape for p in netlist.populations})
    for population in netlist.spiking:
        most = int(counts[population.name].max()) if population.name in counts else 0
        if most > target.fan_out:
            fix = "narrow the layers that it feeds, or duplicate the population"
            yield Violation("fan_out_limit", population.name, target.fan_out, most, fix)


def channels_in_and_out(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require a channel for every input neuron and every readout."""
    inputs, outputs = size(netlist.input.shape), sum(size(r.shape) for r in netlist.readouts)
    if target.inputs is not None and inputs > target.inputs:
        yield Violation(
            "channels_in_and_out", netlist.input.name, target.inputs, inputs, "reduce the data before the network"
        )
    if target.outputs is not None and outputs > target.outputs:
        yield Violation("channels_in_and_out", netlist.readouts[0].name, target.outputs, outputs, "use fewer classes")


def biases(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that biases exist where they are used."""
    for population in netlist.populations:
        if isinstance(population, Input | MaxPool):
            continue
        if target.biases is False and np.any(population.bias):
            most = int(np.abs(population.bias).max())
            yield Violation("biases", population.name, 0, most, "train and convert without biases")
