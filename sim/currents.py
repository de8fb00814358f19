"""The current of one connection for a whole batch of payloads: which kernel carries it exactly.

Chosen by the computed bound of the partial sums, the connection's shape and the processor:

- `ByteConv` and `ByteMatrix`, oneDNN on uint8 payloads and int8 weights, where one convolution or
  matrix does the work and the sums stay below 2**24, the integers of its float32 result;
- `FloatCurrent`, any chain of operators, in float32 below 2**24 and in float64 below 2**53;
- `Diagonal`, one synapse per neuron (a residual identity): no current at all, the neuron scan
  multiplies.

Why a float may carry the sums: payloads and weights are integers, and `bound_partial_sums` adds up |weight| x
greatest payload over all inputs of an output. No sum of any of these products, in whatever order and blocks a
kernel takes them, is greater. While the bound is within `EXACT`, every one of them is an integer that the type
holds, so no addition rounds, and all kernels give the same integer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sim.arrange import arrange, pair, split_at_product, structural, sum_pool
from sim.events import EventConv, compile_events
from sim.kernels import apply_chain
from sim.processor import convolve_bytes, has_byte_kernels, multiply_bytes, pack, pack_matrix
from toolchain.netlist import (
    Connection,
    Conv,
    Input,
    Linear,
    NetlistError,
    Operator,
    Pad,
    Scale,
    Shape,
    Spiking,
    SumPool,
    Weighted,
    bound_partial_sums,
    chain_shapes,
)

#: Populations that emit payloads.
Emitting = Input | Spiking

#: Integers up to this magnitude are exact in each float type: its significand has 24 or 53 bits.
EXACT = {torch.float32: 2**24, torch.float64: 2**53}


def carrier(where: str, bound: int) -> torch.dtype:
    """Return the narrowest float type that carries every integer up to `bound` exactly.

    Raises
    ------
    NetlistError
        When none does.
    """
    for dtype, limit in EXACT.items():
        if bound <= limit:
            return dtype
    raise NetlistError(where, f"partial sums reach {bound}, expected at most 2**53")


class CompiledConnection(Protocol):
    """A compiled connection: payloads (B, *source shape) in, currents (B, *target shape) out."""

    @property
    def bound(self) -> int:
        """No partial sum is greater in magnitude."""

    def __call__(self, payload: Tensor, timesteps: int = 1) -> Tensor:
        """Return the current, float32 or float64.

        Where B = N * T, the timesteps of a sample after each other, `timesteps` says so.
        """


@dataclass(frozen=True, eq=False)
class FloatCurrent:
    """Any chain of operators, in a float type that is exact by the bound.

    Sums of bytes in front (`pool`) are written in that type at once: there are fewer of them than there are bytes.
    """

    before: tuple[Operator, ...]
    pool: SumPool | None
    operators: tuple[Operator, ...]
    dtype: torch.dtype
    bound: int

    def __call__(self, payload: Tensor, timesteps: int = 1) -> Tensor:
        """Return the current (B, *target shape) in `dtype`."""
        x = arrange(self.before, payload)
        x = x.to(self.dtype) if self.pool is None else sum_pool(self.pool, x, self.dtype)
        return apply_chain(self.operators, x)


@dataclass(frozen=True, eq=False)
class ByteConv:
    """A convolution of uint8 payloads by int8 weights, between structural operators.

    oneDNN adds the products in int32 and gives float32: exact while `bound` is at most 2**24. Its scales are all
    one and its zero points zero (`ones`, `zeros`): quantised operators of torch want them, integers need none.
    """

    before: tuple[Operator, ...]
    packed: Tensor
    ones: Tensor
    zeros: Tensor
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int
    shape: Shape
    after: tuple[Operator, ...]
    bound: int
    events: EventConv | None
    pointwise: bool

    def __call__(self, payload: Tensor, timesteps: int = 1) -> Tensor:
        """Return the current (B, *target shape), float32, channels-last."""
        x = arrange(self.before, payload)
        if self.events is not None and (sparse := self.events.run(x, timesteps)) is not None:
            return apply_chain(self.after, sparse)
        # oneDNN's operator has two spatial axes: a sequence is a picture of one row.
        if x.ndim == 3:
            x = x.unsqueeze(2)
        y = self._by_pixel(x) if self.pointwise else self._by_window(x)
        return apply_chain(self.after, y.squeeze(2) if len(self.shape) == 2 else y)

    def _by_window(self, x: Tensor) -> Tensor:
        return convolve_bytes(
            x, self.packed, self.ones, self.zeros, self.stride, self.padding, self.dilation, self.groups
        )

    def _by_pixel(self, x: Tensor) -> Tensor:
        """Multiply pixels by a matrix: oneDNN's convolution of 1x1 takes up to twelve times as long."""
        rows = x[:, :, :: self.stride[0], :: self.stride[1]].movedim(1, -1)
        y = multiply_bytes(rows.reshape(-1, rows.shape[-1]), self.packed, self.ones, self.zeros)
        return y.reshape(*rows.shape[:-1], -1).movedim(-1, 1)


@dataclass(frozen=True, eq=False)
class ByteMatrix:
    """A matrix of int8 weights on uint8 payloads as they lie in memory, channels-last.

    Serves `Linear`, and convolutions over a map of fewer pixels than the kernel has, which would
    mostly multiply padding. Exact as `ByteConv` is.
    """

    before: tuple[Operator, ...]
    packed: Tensor
    ones: Tensor
    zeros: Tensor
    shape: Shape
    after: tuple[Operator, ...]
    bound: int
    events: EventConv | None

    def __call__(self, payload: Tensor, timesteps: int = 1) -> Tensor:
        """Return the current (B, *target shape), float32, channels-last."""
        x = arrange(self.before, payload)
        if self.events is not None and (sparse := self.events.run(x, timesteps)) is not None:
            return apply_chain(self.after, sparse)
        # The matrix has its rows and columns in this order too, so that a map is flattened without a copy.
        y = multiply_bytes(x.movedim(1, -1).flatten(1), self.packed, self.ones, self.zeros)
        return apply_chain(self.after, y.reshape(-1, *self.shape[1:], self.shape[0]).movedim(-1, 1))


@dataclass(frozen=True, eq=False)
class Arranged:
    """Structural operators only: what reaches a max-pooling stays bytes."""

    operators: tuple[Operator, ...]
    bound: int

    def __call__(self, payload: Tensor, timesteps: int = 1) -> Tensor:
        """Return the payload (B, *target shape) in its own type."""
        return arrange(self.operators, payload)


@dataclass(frozen=True, eq=False)
class Diagonal:
    """One synapse per neuron, from a payload that structural operators bring into place.

    It has no kernel: the neuron scan reads the bytes and multiplies. A float current would be four times as large,
    and be written once to be read once.
    """

    before: tuple[Operator, ...]
    weight: np.ndarray
    bound: int


def _flattened(conv: Conv, shape: Shape) -> np.ndarray:
    """Write a convolution of (C, spatial...) out as a matrix between channels-last payloads."""
    out = conv.output_shape(shape)
    per_group = conv.weight.shape[1]
    weight: Any = conv.weight
    matrix: Any = np.zeros((*out[1:], out[0], *shape[1:], shape[0]), np.int64)
    for target in np.ndindex(*out[1:]):
        for k in product(*(range(n) for n in conv.weight.shape[2:])):
            source = tuple(
                o * s + i * d - before
                for o, s, i, d, (before, _) in zip(target, conv.stride, k, conv.dilation, conv.padding, strict=True)
            )
            if all(0 <= i < n for i, n in zip(source, shape[1:], strict=True)):
                for group in range(conv.groups):
                    rows = slice(group * out[0] // conv.groups, (group + 1) * out[0] // conv.groups)
                    columns = slice(group * per_group, (group + 1) * per_group)
                    matrix[(*target, rows, *source, columns)] = weight[(rows, slice(None), *k)]
    return np.asarray(matrix.reshape(prod(out), prod(shape)))


def _compile_bytes(connection: Connection, source: Emitting, bound: int) -> ByteConv | ByteMatrix | None:
    """Compile for the byte kernels; None where they do not serve the connection."""
    low, high = source.payload_range
    # The kernels take uint8 by int8 and give float32: signed payloads, wide weights and large sums are for floats.
    if low < 0 or bound > EXACT[torch.float32] or not has_byte_kernels():
        return None
    split = split_at_product(connection.operators, high)
    if split is None:
        return None
    before, operator, after = split
    shape = chain_shapes(before, source.shape)[-1]
    out = operator.output_shape(shape)
    # Volumes: oneDNN's operator has two spatial axes.
    if len(shape) > 3:
        return None
    if isinstance(operator, Linear) or prod(shape[1:]) < prod(operator.weight.shape[2:]):
        matrix = operator.weight if isinstance(operator, Linear) else _flattened(operator, shape)
        ones, zeros = torch.ones(len(matrix)), torch.zeros(len(matrix), dtype=torch.int32)
        events = compile_events(operator, shape, matrix=True) if isinstance(operator, Conv) else None
        return ByteMatrix(before, pack_matrix(_bytes(matrix)), ones, zeros, out, after, bound, events)
    # The kernel pads both ends of an axis alike: unequal padding becomes zero bytes ahead of it.
    if any(a != b for a, b in operator.padding):
        before = (*before, Pad(((0, 0), *operator.padding)))
        operator = replace(operator, padding=tuple((0, 0) for _ in operator.padding))
    weight = operator.weight if operator.weight.ndim == 4 else operator.weight[:, :, np.newaxis]
    stride, dilation = list(pair(operator.stride, 1)), list(pair(operator.dilation, 1))
    padding = list(pair(tuple(p for p, _ in operator.padding), 0))
    pointwise = weight.shape[2:] == (1, 1) and not any(padding) and operator.groups == 1
    if pointwise:
        packed = pack_matrix(_bytes(weight[:, :, 0, 0]))
    else:
        packed = pack(_bytes(weight), stride, padding, dilation, operator.groups)
    ones, zeros = torch.ones(out[0]), torch.zeros(out[0], dtype=torch.int32)
    shape = chain_shapes(before, source.shape)[-1]
    events = compile_events(operator, shape)
    geometry = stride, padding, dilation, operator.groups
    return ByteConv(before, packed, ones, zeros, *geometry, out, after, bound, events, pointwise)


def _bytes(weight: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(weight, dtype=np.int8))


def compile_current(connection: Connection, source: Emitting, *, plain: bool = False) -> CompiledConnection:
    """Choose the kernel of a connection by the bound of its partial sums, its shape and the processor.

    `plain` keeps to the kernels that every device has.
    """
    bound = bound_partial_sums(connection, source)
    if not plain and (current := _compile_bytes(connection, source, bound)) is not None:
        return current
    dtype = carrier(connection.name, bound)
    numpy_dtype = np.float32 if dtype is torch.float32 else np.float64
    operators = tuple(
        replace(o, weight=o.weight.astype(numpy_dtype)) if isinstance(o, Weighted) else o for o in connection.operators
    )
    before, pool, rest = ((), None, operators) if plain else _split_at_pool(operators, source)
    return FloatCurrent(before, pool, rest, dtype, bound)


def _split_at_pool(
    operators: tuple[Operator, ...], source: Emitting
) -> tuple[tuple[Operator, ...], SumPool | None, tuple[Operator, ...]]:
    """Split a chain at the sum of bytes that no byte holds, where nothing else that bytes do not do comes before."""
    low, high = source.payload_range
    count = 0 if low < 0 else structural(operators, high)
    before, rest = operators[:count], operators[count:]
    if rest and isinstance(rest[0], SumPool) and len(rest[0].kernel) <= 2:
        return before, rest[0], rest[1:]
    return (), None, operators


@dataclass(frozen=True)
class Silence:
    """The current of a population that no connection reaches: zeros (B, *shape), as many as there are payloads."""

    shape: Shape

    @property
    def bound(self) -> int:
        """No sum is greater."""
        return 0

    def __call__(self, payload: Tensor, timesteps: int = 1) -> Tensor:
        """Return zeros, float32."""
        return torch.zeros((payload.shape[0], *self.shape), dtype=torch.float32, device=payload.device)


def compile_arranged(connection: Connection, source: Emitting) -> Arranged | None:
    """Compile a connection without weights; None where its sums do not fit a byte."""
    if structural(connection.operators, source.payload_range[1]) < len(connection.operators):
        return None
    return Arranged(connection.operators, bound_partial_sums(connection, source))


def compile_diagonal(connection: Connection, source: Emitting) -> Diagonal | None:
    """Compile a connection of one synapse per neuron from a byte; None where it is none."""
    low, high = source.payload_range
    # The scan reads uint8.
    if low < 0 or not connection.operators:
        return None
    *before, last = connection.operators
    if not isinstance(last, Scale) or structural(tuple(before), high) < len(before):
        return None
    return Diagonal(tuple(before), last.weight, bound_partial_sums(connection, source))
