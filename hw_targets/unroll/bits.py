"""The input's payload as bits: one binary neuron each, and the connections that put them together.

A payload is the sum of its bits times their values, so a connection that weighs the bits by their
values first delivers the same current: it is linear.
"""

from __future__ import annotations

import numpy as np

from hw_targets.unroll.digits import factors
from toolchain.netlist import Connection, Conv, Input, Netlist, Operator, Reshape, Scale, Shape, Slice


def bit_shape(source: Input) -> Shape:
    """Return the shape of the bits of an input (C, *space): (C * bits, *space), a channel's bits together."""
    return source.shape[0] * source.bits, *source.shape[1:]


def bit_values(source: Input) -> np.ndarray:
    """Return what each bit is worth: powers of two, the sign bit of two's complement a negative one."""
    values = 2 ** np.arange(source.bits)
    if source.signed:
        values[-1] *= -1
    return values


def to_bits(source: Input, payloads: np.ndarray) -> np.ndarray:
    """Return the bits of payloads (..., C, *space) as channels (..., C * bits, *space), uint8."""
    axis = payloads.ndim - len(source.shape)
    # A mask of the lowest bits is two's complement of that width, negative payloads included.
    codes = payloads.astype(np.int64) & (2**source.bits - 1)
    planes = np.stack([(codes >> b) & 1 for b in range(source.bits)], axis=axis + 1)
    return planes.reshape(*payloads.shape[:axis], *bit_shape(source)).astype(np.uint8)


def from_bits(source: Input, binary: np.ndarray) -> np.ndarray:
    """Return the payloads that spikes (T, N, C * bits [+ gates], *space) of the binary input stand for."""
    channels = bit_shape(source)[0]
    planes = binary[:, :, :channels].reshape(*binary.shape[:2], source.shape[0], source.bits, *source.shape[1:])
    values = bit_values(source).reshape(-1, *(1 for _ in source.shape[1:]))
    return (planes * values).sum(axis=3).astype(source.payload_dtype)


def weigh_bits(netlist: Netlist, connection: Connection) -> Connection:
    """Return a connection of the original from the binary input: bits are weighed, then it goes on as before."""
    source = netlist.input
    spatial = max(len(source.shape) - 1, 1)
    *scales, last = factors(np.tile(bit_values(source), source.shape[0]), netlist.weight_bits)
    weight = last.reshape(source.shape[0], source.bits, *(1 for _ in range(spatial)))
    ones, none = (1,) * spatial, ((0, 0),) * spatial
    # A group per channel of the payload: the convolution adds up the bits of that channel.
    combine: tuple[Operator, ...] = (Conv(weight, ones, none, ones, groups=source.shape[0]),)
    if len(source.shape) == 1:
        combine = (Reshape((*bit_shape(source), 1)), *combine, Reshape(source.shape))
    return Connection(
        connection.source,
        connection.target,
        (Slice(0, 0, bit_shape(source)[0]), *(Scale(s) for s in scales), *combine, *connection.operators),
    )
