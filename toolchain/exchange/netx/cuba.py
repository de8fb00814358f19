"""CUBA networks as netx files that lava-dl's own `Network` runs: the layers that slayer exports."""

from __future__ import annotations

import io
import math
from pathlib import Path

import h5py
import numpy as np

from toolchain.exchange.loss_report import Loss, LossReport
from toolchain.exchange.lowering import KEEP
from toolchain.exchange.netx.sequence import NetxLayer, as_layer, write_operator, write_type
from toolchain.exchange.netx.synapses import MAX_DELAY, effective_matrix
from toolchain.files import create_hdf5, write_bytes
from toolchain.netlist import (
    Connection,
    Conv,
    CubaLif,
    LeakyReadout,
    Linear,
    Netlist,
    Operator,
    Population,
    Readout,
    Scale,
    UnsupportedError,
)
from toolchain.netlist.leaky import DECAY_UNITY, WEIGHT_SHIFT

#: A threshold that no potential reaches.
NEVER = 2**17
#: Mantissa of a bias, 13 bits with sign.
BIAS = (-4096, 4095)


def write_cuba(netlist: Netlist, path: Path | str) -> LossReport:
    """Write a network of leaky neurons as slayer does.

    Parameters
    ----------
    netlist : Netlist
        A sequence from the input through `CubaLif` populations; a `LeakyReadout` or a count of spikes may end it.
    path : path

    Returns
    -------
    LossReport

    Raises
    ------
    UnsupportedError
        When netx, or Lava's LIF behind it, cannot hold a part of the network; names it.
    InputError
        When the file cannot be written.
    """
    source = netlist.input
    losses = [Loss("graph", "lava-dl", "scale and normalisation of the input, and of the readout, are not in the file")]
    populations: list[Population] = list(netlist.populations[1:])
    if counts(netlist, populations):
        losses.append(Loss(populations.pop().name, "lava-dl", "the host counts the spikes of the last layer"))
    buffer = io.BytesIO()
    with create_hdf5(buffer) as file:
        simulation = file.create_group("simulation")
        simulation.create_dataset("Ts", data=np.int64(1))
        simulation.create_dataset("tSample", data=np.int64(netlist.timesteps))
        groups = file.create_group("layer")
        first = groups.create_group("0")
        write_type(first, "input", source.shape)
        before: Population = source
        if source.coding == "direct":
            before = _write_input(first, netlist, populations.pop(0) if populations else source)
        elif source.payload_range != (0, 1):
            raise UnsupportedError(source.name, "frames of more than one bit: lava-dl's first layer takes spikes", KEEP)
        count = 1
        for population in populations:
            layer, connection = _layer(netlist, population, before)
            if layer.flatten:
                write_type(groups.create_group(str(count)), "flatten", (math.prod(before.shape),))
                count += 1
            _write_layer(groups.create_group(str(count)), layer, connection)
            if layer.merged:
                losses.append(
                    Loss(population.name, "netx", "operators before it are written as one layer with their product")
                )
            count += 1
            before = population
    write_bytes(path, buffer.getvalue())
    return LossReport("netx", tuple(losses))


def counts(netlist: Netlist, populations: list[Population]) -> bool:
    """Return whether the last population only counts the spikes of the one before."""
    last = populations[-1]
    if not isinstance(last, Readout) or np.any(last.bias):
        return False
    incoming = netlist.inputs(last.name)
    return len(incoming) == 1 and not incoming[0].operators and not np.any(incoming[0].delay)


def _write_input(group: h5py.Group, netlist: Netlist, population: Population) -> Population:
    """Write the neurons that held data enter through."""
    source = netlist.input
    incoming = netlist.inputs(population.name)
    operators: tuple[Operator, ...] = incoming[0].operators if incoming else ()
    match operators:
        case []:
            sign = 1
        case [Scale(weight)] if np.all(np.abs(weight) == 1) and np.all(weight == weight[0]):
            sign = int(weight[0])
        case _:
            sign = 0
    if (
        not isinstance(population, CubaLif)
        or len(incoming) != 1
        or not sign
        or np.any(population.current_decay != DECAY_UNITY)
    ):
        raise UnsupportedError(
            population.name,
            "held data enter netx as they are, one neuron each, whose current has no memory: here they do not",
            "code the input as frames of spikes",
        )
    whole = int(np.rint(1 / source.scale))
    if not math.isclose(whole * source.scale, 1, rel_tol=1e-9):
        raise UnsupportedError(source.name, f"a scale of {source.scale:g} is not one over a whole number", KEEP)
    group.create_dataset("weight", data=np.int64(sign * whole))
    group.create_dataset("bias", data=np.int64(_bias(population, single=True)[0]))
    _write_neuron(group, population)
    return population


def _layer(netlist: Netlist, population: Population, before: Population) -> tuple[NetxLayer, Connection]:
    where, incoming = population.name, netlist.inputs(population.name)
    if len(incoming) != 1 or incoming[0].source != before.name:
        found = ", ".join(c.source for c in incoming) or "nothing"
        raise UnsupportedError(where, f"fed by {found}; netx holds sequences only, here fed by {before.name}", KEEP)
    if isinstance(before, LeakyReadout | Readout):
        raise UnsupportedError(before.name, "netx holds one readout, as the last layer", KEEP)
    if isinstance(population, Readout):
        population = as_leaky(population)
    if not isinstance(population, CubaLif | LeakyReadout):
        raise UnsupportedError(where, f"{type(population).__name__} beside leaky neurons: lava-dl has no such", KEEP)
    if isinstance(population, CubaLif) and population.reset != "zero":
        raise UnsupportedError(where, "resets by subtraction, and Lava's LIF to zero", KEEP)
    connection = incoming[0]
    layer = as_layer(population, connection, before.shape, netlist.weight_bits)
    if isinstance(layer.operator, Conv) and np.any(connection.delay):
        raise UnsupportedError(connection.name, "delays of a convolution: lava-dl has no meaning for them", KEEP)
    if int(np.max(connection.delay)) > MAX_DELAY:
        raise UnsupportedError(connection.name, f"a delay of more than {MAX_DELAY} timesteps", KEEP)
    if isinstance(connection.delay, np.ndarray) and layer.merged:
        raise UnsupportedError(connection.name, "delays of synapses that are multiplied out", KEEP)
    if isinstance(layer.operator, Linear):
        stored = effective_matrix(connection.name, layer.operator.weight)
        if not np.array_equal(stored, layer.operator.weight):
            raise UnsupportedError(connection.name, "weights at the end of 8 bits, which Lava's Dense clips", KEEP)
    return layer, connection


def as_leaky(readout: Readout) -> LeakyReadout:
    """Return a running sum as the potential of neurons that forget nothing and never fire."""
    if np.any(readout.bias):
        raise UnsupportedError(readout.name, "a running sum with a bias: lava-dl's integrator adds it once", KEEP)
    nothing = np.zeros(readout.shape[0], np.int64)
    return LeakyReadout(readout.name, readout.shape, nothing, nothing + DECAY_UNITY, nothing, readout.scale)


def _write_layer(group: h5py.Group, layer: NetxLayer, connection: Connection) -> None:
    population = layer.population
    assert isinstance(population, CubaLif | LeakyReadout)
    write_operator(group, layer)
    group.create_dataset("bias", data=_bias(population, single=False))
    if np.any(connection.delay):
        delay = np.asarray(connection.delay)
        matrix = np.broadcast_to(delay, layer.operator.weight.shape)
        group.create_dataset("delay", data=matrix.astype("<i8"))
    _write_neuron(group, population)


def _write_neuron(group: h5py.Group, population: CubaLif | LeakyReadout) -> None:
    neuron = group.create_group("neuron")
    neuron.create_dataset("type", data=np.bytes_("CUBA"))
    fields = {"iDecay": population.current_decay, "vDecay": population.voltage_decay}
    fields["vThMant"] = population.threshold if isinstance(population, CubaLif) else np.array([NEVER])
    for name, values in fields.items():
        if np.any(values != values.ravel()[0]):
            raise UnsupportedError(
                population.name, f"{name} differs from neuron to neuron, which Lava's LIF cannot hold", KEEP
            )
        neuron.create_dataset(name, data=np.int64(values.ravel()[0]))
    neuron.create_dataset("refDelay", data=np.int64(1))
    neuron.create_dataset("gradedSpike", data=np.bool_(False))


def _bias(population: CubaLif | LeakyReadout, *, single: bool) -> np.ndarray:
    """Return biases in units of a weight, as netx has them: per channel, or one for all."""
    bias, where = population.bias, population.name
    mantissa = bias >> WEIGHT_SHIFT
    if np.any(bias & (2**WEIGHT_SHIFT - 1)) or int(mantissa.min()) < BIAS[0] or int(mantissa.max()) > BIAS[1]:
        raise UnsupportedError(where, "its biases are no whole weights of 13 bits, as netx has them", KEEP)
    flat = mantissa.reshape(mantissa.shape[0], -1)
    if np.any(flat != (flat[:1, :1] if single else flat[:, :1])):
        raise UnsupportedError(where, "its bias differs from neuron to neuron, which netx does not hold", KEEP)
    return flat[:, 0].astype("<i8")
