"""lava-dl's netx files (.net): a sequence of layers that its `Network` process is built from.

Our neurons have a type of their own in it, ADAFIRE, which `hw_targets.lava_runtime.netx_network` teaches to
lava-dl's reader; leaky ones are lava-dl's own (`cuba`). Layout in docs/lava.md.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from toolchain.exchange.loss_report import Loss, LossReport, refuse_digits
from toolchain.exchange.lowering import KEEP
from toolchain.exchange.netx.cuba import write_cuba
from toolchain.exchange.netx.sequence import NetxLayer, as_layer, write_operator, write_type
from toolchain.files import create_hdf5, write_bytes
from toolchain.netlist import (
    AdaFire,
    Connection,
    CubaLif,
    LeakyReadout,
    Netlist,
    Population,
    Readout,
    Reshape,
    UnsupportedError,
)
from toolchain.netlist.shapes import size

#: Version of the layout.
VERSION = 1

#: Neuron types, as `neuron/type` of a layer spells them.
ADAFIRE, ADAFIRE_SUM = "ADAFIRE", "ADAFIRE_SUM"


def write_netx(netlist: Netlist, path: Path | str) -> LossReport:
    """Write a netlist as a netx file.

    Parameters
    ----------
    netlist : Netlist
        A sequence: every population is fed by the one before, and only by it.
    path : path

    Returns
    -------
    LossReport

    Raises
    ------
    UnsupportedError
        When netx cannot hold a part of the network; names it.
    InputError
        When the file cannot be written.
    """
    refuse_digits(netlist, "netx")
    if any(isinstance(p, CubaLif | LeakyReadout) for p in netlist.populations):
        return write_cuba(netlist, path)
    layers = _sequence(netlist)
    write_bytes(path, _netx_bytes(netlist, layers))
    merged = [
        Loss(layer.population.name, "netx", "operators before it are written as one layer with their product")
        for layer in layers
        if layer.merged
    ]
    reader = "a plain Network knows no neuron type ADAFIRE: load it with hw_targets.lava_runtime.netx_network"
    return LossReport("netx", (Loss("graph", "lava-dl", reader), *merged))


def _sequence(netlist: Netlist) -> tuple[NetxLayer, ...]:
    """Return the netlist as layers of netx.

    Raises
    ------
    UnsupportedError
        When it is no sequence of them; names the first population or connection that is not.
    """
    layers: list[NetxLayer] = []
    before: Population = netlist.input
    for population in netlist.populations[1:]:
        if not isinstance(population, AdaFire | Readout):
            raise UnsupportedError(population.name, "netx holds no max-pooling", f"use average pooling, or {KEEP}")
        incoming = netlist.inputs(population.name)
        if len(incoming) != 1 or incoming[0].source != before.name:
            found = ", ".join(c.source for c in incoming) or "nothing"
            raise UnsupportedError(
                population.name, f"fed by {found}; netx holds sequences only, here fed by {before.name}", KEEP
            )
        if isinstance(before, Readout):
            raise UnsupportedError(before.name, "netx holds one readout, as the last layer", KEEP)
        layers.append(as_layer(population, incoming[0], before.shape, netlist.weight_bits))
        before = population
    if not layers:
        raise UnsupportedError("netlist", "there is no layer to write")
    return tuple(layers)


def _as_written(netlist: Netlist, layers: tuple[NetxLayer, ...]) -> Netlist:
    """Return the netlist that the layers make: the same one, unless operators were multiplied out."""
    connections = []
    before: Population = netlist.input
    for layer in layers:
        flatten = (Reshape((size(before.shape),)),) if layer.flatten else ()
        connections.append(Connection(before.name, layer.population.name, (*flatten, layer.operator)))
        before = layer.population
    return replace(netlist, connections=tuple(connections))


def _netx_bytes(netlist: Netlist, layers: tuple[NetxLayer, ...]) -> bytes:
    """Return the bytes of a netx file; equal netlists give equal bytes."""
    source = netlist.input
    buffer = io.BytesIO()
    with create_hdf5(buffer) as file:
        header = file.create_group("adafire")
        for name, number in (
            ("version", VERSION),
            ("timesteps", netlist.timesteps),
            ("weight_bits", netlist.weight_bits),
            ("membrane_bits", netlist.membrane_bits),
            ("input_bits", source.bits),
            ("input_signed", int(source.signed)),
        ):
            header.attrs[name] = np.int64(number)
        header.attrs["input_scale"] = np.float64(source.scale)
        for name, text in (
            ("input", source.name),
            ("coding", source.coding),
            ("netlist_hash", netlist.content_hash),
            ("content_hash", _as_written(netlist, layers).content_hash),
        ):
            header.attrs[name] = np.bytes_(text)
        for name, values in (("mean", source.mean), ("std", source.std), ("alpha", np.array(netlist.alpha))):
            header.create_dataset(name, data=values.astype("<f8"))
        # What slayer's own exports carry: the length of a step and of a sample.
        simulation = file.create_group("simulation")
        simulation.create_dataset("Ts", data=np.int64(1))
        simulation.create_dataset("tSample", data=np.int64(netlist.timesteps))
        groups = file.create_group("layer")
        first = groups.create_group("0")
        write_type(first, "input", source.shape)
        count = 1
        before = source.shape
        for layer in layers:
            if layer.flatten:
                write_type(groups.create_group(str(count)), "flatten", (math.prod(before),))
                count += 1
            _write_layer(groups.create_group(str(count)), layer)
            count += 1
            before = layer.population.shape
    return buffer.getvalue()


def _write_layer(group: h5py.Group, layer: NetxLayer) -> None:
    population = layer.population
    assert isinstance(population, AdaFire | Readout)
    write_operator(group, layer)
    group.create_dataset("bias", data=population.bias.astype("<i8"))
    neuron = group.create_group("neuron")
    neuron.create_dataset("type", data=np.bytes_(ADAFIRE if isinstance(population, AdaFire) else ADAFIRE_SUM))
    neuron.create_dataset("population", data=np.bytes_(population.name))
    neuron.create_dataset("scale", data=population.scale.astype("<f8"))
    if isinstance(population, AdaFire):
        neuron.create_dataset("phi", data=np.int64(population.phi))
        neuron.create_dataset("vThMant", data=population.threshold.astype("<i8"))
        neuron.create_dataset("vInit", data=population.initial.astype("<i8"))
