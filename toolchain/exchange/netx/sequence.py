"""netx as a sequence of layers: which one a connection becomes, and how its synapses are written.

netx knows 2-D convolutions, dense layers and flattening, one after the other. Any linear map into a flat population
becomes a dense matrix; what has no such form is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from toolchain.exchange.lowering import KEEP, merge_pool
from toolchain.netlist import (
    AdaFire,
    AnyReadout,
    Connection,
    Conv,
    CubaLif,
    Linear,
    Operator,
    Reshape,
    Shape,
    SumPool,
    UnsupportedError,
    chain_matrix,
)
from toolchain.netlist.shapes import size

#: Largest dense matrix that a chain of operators is multiplied out to, in elements.
MAX_MATRIX = 1 << 26


@dataclass(frozen=True, eq=False)
class NetxLayer:
    """One layer of a sequence.

    Parameters
    ----------
    population : any but Input and MaxPool
    operator : Conv or Linear
        Everything between the population before and this one. A `Conv` has two axes and even padding.
    flatten : bool
        Whether the population before is flattened first, in C order of (C, H, W).
    merged : bool
        Whether the operator is a product of several.
    """

    population: AdaFire | CubaLif | AnyReadout
    operator: Conv | Linear
    flatten: bool
    merged: bool


def as_layer(
    population: AdaFire | CubaLif | AnyReadout, connection: Connection, shape: Shape, weight_bits: int
) -> NetxLayer:
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


def write_type(group: h5py.Group, kind: str, shape: Shape) -> None:
    """Write what a layer is, and its shape."""
    group.create_dataset("type", data=np.array([kind.encode()], dtype="S10"))
    group.create_dataset("shape", data=np.array(shape, dtype="<i8"))


def write_operator(group: h5py.Group, layer: NetxLayer) -> None:
    """Write a layer's type, shape and weights."""
    population, operator = layer.population, layer.operator
    if isinstance(operator, Conv):
        write_type(group, "conv", population.shape)
        group.create_dataset("inChannels", data=np.int64(operator.weight.shape[1] * operator.groups))
        group.create_dataset("outChannels", data=np.int64(population.shape[0]))
        group.create_dataset("kernelSize", data=np.array(operator.weight.shape[2:], dtype="<i8"))
        group.create_dataset("stride", data=np.array(operator.stride, dtype="<i8"))
        group.create_dataset("padding", data=np.array([p for p, _ in operator.padding], dtype="<i8"))
        group.create_dataset("dilation", data=np.array(operator.dilation, dtype="<i8"))
        group.create_dataset("groups", data=np.int64(operator.groups))
    else:
        write_type(group, "dense", population.shape)
        group.create_dataset("inFeatures", data=np.int64(operator.weight.shape[1]))
        group.create_dataset("outFeatures", data=np.int64(operator.weight.shape[0]))
    group.create_dataset("weight", data=operator.weight.astype("<i4"))
