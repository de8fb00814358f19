"""lava-dl's netx files (.net): a sequence of layers that its `Network` process is built from.

netx knows 2-D convolutions, dense layers and flattening, one after the other. Our neurons have a type of
their own in it, ADAFIRE, which `hw_targets.lava_runtime.netx_network` teaches to lava-dl's reader. Any linear
map into a flat population becomes a dense matrix; what has no such form is refused by name. Layout in
docs/lava.md.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from toolchain.exchange.loss_report import Loss, LossReport, refuse_digits
from toolchain.exchange.lowering import KEEP, merge_pool
from toolchain.files import create_hdf5, write_bytes
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    Linear,
    Netlist,
    Operator,
    Population,
    Readout,
    Reshape,
    Shape,
    SumPool,
    UnsupportedError,
    chain_matrix,
)
from toolchain.netlist.shapes import size

#: Version of the layout.
VERSION = 1

#: Neuron types, as `neuron/type` of a layer spells them.
ADAFIRE, ADAFIRE_SUM = "ADAFIRE", "ADAFIRE_SUM"

#: Largest dense matrix that a chain of operators is multiplied out to, in elements.
MAX_MATRIX = 1 << 26


@dataclass(frozen=True, eq=False)
class NetxLayer:
    """One layer of a sequence.

    Parameters
    ----------
    population : AdaFire or Readout
    operator : Conv or Linear
        Everything between the population before and this one. A `Conv` has two axes and even padding.
    flatten : bool
        Whether the population before is flattened first, in C order of (C, H, W).
    merged : bool
        Whether the operator is a product of several.
    """

    population: AdaFire | Readout
    operator: Conv | Linear
    flatten: bool
    merged: bool


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
        layers.append(_layer(population, incoming[0], before.shape, netlist.weight_bits))
        before = population
    if not layers:
        raise UnsupportedError("netlist", "there is no layer to write")
    return tuple(layers)


def _layer(population: AdaFire | Readout, connection: Connection, shape: Shape, weight_bits: int) -> NetxLayer:
    """Return a connection as one layer of netx."""
    where, operators = connection.name, connection.operators
    flat = len(population.shape) == 1
    if flat:
        flatten = len(shape) == 3
        match operators:
            case [Linear() as linear] if len(shape) == 1:
                return NetxLayer(population, linear, flatten=False, merged=False)
            case [Reshape(), Linear() as linear] if flatten:
                return NetxLayer(population, linear, flatten=True, merged=False)
        if len(shape) == 1 or flatten:
            return NetxLayer(population, _matrix(where, operators, shape, weight_bits), flatten, merged=True)
        raise UnsupportedError(where, f"a population of shape {shape} has no place in netx", KEEP)
    if len(shape) != 3 or len(population.shape) != 3:
        raise UnsupportedError(
            where, f"from {shape} to {population.shape}: netx holds populations (C, H, W) and (features,)", KEEP
        )
    match operators:
        case [Conv() as conv]:
            return NetxLayer(population, _even(where, conv), flatten=False, merged=False)
        case [SumPool() as pool, Conv() as conv]:
            merged = merge_pool(where, pool, conv, shape)
            _check_range(where, merged.weight, weight_bits)
            return NetxLayer(population, _even(where, merged), flatten=False, merged=True)
    kinds = ", ".join(type(o).__name__ for o in operators) or "an identity"
    raise UnsupportedError(where, f"{kinds} found; netx holds Conv, alone or after SumPool, into (C, H, W)", KEEP)


def _even(where: str, conv: Conv) -> Conv:
    if any(before != after for before, after in conv.padding):
        raise UnsupportedError(where, f"padding {conv.padding} is uneven; netx has one number per axis", KEEP)
    return conv


def _check_range(where: str, weight: np.ndarray, weight_bits: int) -> None:
    """Raise unless a product of operators still fits the weights' width."""
    low, high = -(2 ** (weight_bits - 1)), 2 ** (weight_bits - 1) - 1
    if int(weight.min()) < low or int(weight.max()) > high:
        raise UnsupportedError(
            where,
            f"multiplied out, its weights reach {int(weight.min())} .. {int(weight.max())}, "
            f"beyond {weight_bits} bits; netx has no layer for the operators one by one",
            KEEP,
        )


def _matrix(where: str, operators: tuple[Operator, ...], shape: Shape, weight_bits: int) -> Linear:
    """Multiply a chain of operators out to a dense matrix."""
    columns = size(shape)
    if columns**2 > MAX_MATRIX:
        raise UnsupportedError(where, f"as a dense matrix it is too large for netx ({columns} inputs)", KEEP)
    weight = chain_matrix(operators, shape)
    _check_range(where, weight, weight_bits)
    return Linear(weight)


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
        _write_type(first, "input", source.shape)
        count = 1
        before = source.shape
        for layer in layers:
            if layer.flatten:
                _write_type(groups.create_group(str(count)), "flatten", (math.prod(before),))
                count += 1
            _write_layer(groups.create_group(str(count)), layer, before)
            count += 1
            before = layer.population.shape
    return buffer.getvalue()


def _write_type(group: h5py.Group, kind: str, shape: Shape) -> None:
    group.create_dataset("type", data=np.array([kind.encode()], dtype="S10"))
    group.create_dataset("shape", data=np.array(shape, dtype="<i8"))


def _write_layer(group: h5py.Group, layer: NetxLayer, before: Shape) -> None:
    population, operator = layer.population, layer.operator
    if isinstance(operator, Conv):
        _write_type(group, "conv", population.shape)
        group.create_dataset("inChannels", data=np.int64(before[0]))
        group.create_dataset("outChannels", data=np.int64(population.shape[0]))
        group.create_dataset("kernelSize", data=np.array(operator.weight.shape[2:], dtype="<i8"))
        group.create_dataset("stride", data=np.array(operator.stride, dtype="<i8"))
        group.create_dataset("padding", data=np.array([p for p, _ in operator.padding], dtype="<i8"))
        group.create_dataset("dilation", data=np.array(operator.dilation, dtype="<i8"))
        group.create_dataset("groups", data=np.int64(operator.groups))
    else:
        _write_type(group, "dense", population.shape)
        group.create_dataset("inFeatures", data=np.int64(operator.weight.shape[1]))
        group.create_dataset("outFeatures", data=np.int64(operator.weight.shape[0]))
    group.create_dataset("weight", data=operator.weight.astype("<i4"))
    group.create_dataset("bias", data=population.bias.astype("<i8"))
    neuron = group.create_group("neuron")
    neuron.create_dataset("type", data=np.bytes_(ADAFIRE if isinstance(population, AdaFire) else ADAFIRE_SUM))
    neuron.create_dataset("population", data=np.bytes_(population.name))
    neuron.create_dataset("scale", data=population.scale.astype("<f8"))
    if isinstance(population, AdaFire):
        neuron.create_dataset("phi", data=np.int64(population.phi))
        neuron.create_dataset("vThMant", data=population.threshold.astype("<i8"))
        neuron.create_dataset("vInit", data=population.initial.astype("<i8"))
