"""Currents in plain torch, as products of int8 matrices: what a GPU does fastest exactly.

A convolution is one product of a matrix of *columns*, a row for every output pixel with all the payloads that it
sees, by the matrix of its weights. `torch._int_mm` takes int8 and adds in int32: on CUDA the tensor cores' integer
instructions, on a CPU oneDNN. Libraries for convolutions of floats do not say which algorithm they take, and some
(Winograd, TF32) round; a product of integers has nothing to round.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sim import gpu
from sim.arrange import split_at_product
from sim.currents import CompiledConnection, Emitting, carrier, compile_current
from sim.kernels import apply_chain, pad
from sim.processor import has_integer_products
from toolchain.netlist import Connection, Conv, Linear, Operator, Shape, SumPool, bound_partial_sums, chain_shapes

#: Columns that are there at a time, in bytes: a convolution of 3x3 writes every payload nine times.
COLUMN_BYTES = 2**27

#: `torch._int_mm` on CUDA takes more rows than this, and inner and outer sizes of multiples of `EVEN`.
FEWEST_ROWS, EVEN = 17, 8

_INT32 = 2**31


@dataclass(frozen=True, eq=False)
class ColumnProduct:
    """A convolution or a matrix between structural operators, as one product of int8 matrices.

    Exact without further ado: weights are int8, payloads are or are taken as 128 less, and all sums are within int32.

    Parameters
    ----------
    before, after : tuple of Operator
        What moves payloads, or adds them up within a byte, and what moves currents.
    weight : Tensor (C_out, taps * C_in), int8
        Channels last among the columns; both sizes filled up with zeros to multiples of `EVEN`.
    shift : Tensor (C_out,) or None, int32
        128 times the sum of each output's weights, filled up likewise: added where payloads above 127 are taken as 128
        less.
    geometry : Conv or None
        Kernel, stride, padding and dilation; None of a matrix.
    seen, shape : tuple of int
        (C_in, spatial...) of the payloads that are multiplied, and (C_out, spatial...) of the product.
    dtype : torch.dtype
        Float type that holds the sums exactly.
    bound : int
    """

    before: tuple[Operator, ...]
    weight: Tensor
    shift: Tensor | None
    geometry: Conv | None
    seen: Shape
    shape: Shape
    after: tuple[Operator, ...]
    dtype: torch.dtype
    bound: int

    def __call__(self, payload: Tensor, timesteps: int = 1) -> Tensor:
        """Return the current (B, *target shape), channels-last."""
        x = arrange_anywhere(self.before, payload).movedim(1, -1)
        per_sample = prod(self.shape[1:]) * self.weight.shape[1]
        parts = [self._product(part) for part in x.split(max(1, COLUMN_BYTES // per_sample))]
        return apply_chain(self.after, torch.cat(parts).movedim(-1, 1))

    def _product(self, x: Tensor) -> Tensor:
        """Multiply payloads (b, spatial..., C_in); return (b, spatial..., C_out)."""
        columns = x if self.geometry is None else _columns(x, self.geometry)
        columns = columns.reshape(-1, columns.shape[-1])
        rows, width = columns.shape
        columns = F.pad(columns, (0, self.weight.shape[1] - width, 0, max(0, FEWEST_ROWS - rows)))
        sums = torch._int_mm(as_int8(columns, self.shift), self.weight.t())
        if self.shift is not None:
            sums = sums.add_(self.shift)
        return sums[:rows, : self.shape[0]].to(self.dtype).reshape(-1, *self.shape[1:], self.shape[0])


def _columns(x: Tensor, conv: Conv) -> Tensor:
    """Return the payloads (b, spatial..., C) that every output pixel sees: (b, spatial..., taps * C)."""
    axes = len(conv.stride)
    x = pad(x, (*conv.padding, (0, 0)))
    for axis, (size, stride, dilation) in enumerate(
        zip(conv.weight.shape[2:], conv.stride, conv.dilation, strict=True), start=1
    ):
        x = x.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    # (b, spatial..., C, taps...): the channels of a tap stay together.
    return x.movedim(axes + 1, -1).flatten(axes + 1)


def as_int8(payload: Tensor, shift: Tensor | None) -> Tensor:
    """Take bytes as int8: as they are, or each 128 less, which is its highest bit turned over."""
    return (payload if shift is None else payload ^ 128).view(torch.int8)


def arrange_anywhere(operators: tuple[Operator, ...], x: Tensor) -> Tensor:
    """Apply structural operators to bytes (B, *shape) on any device; sums must fit."""
    for operator in operators:
        if isinstance(operator, SumPool) and len(operator.kernel) <= 2 and gpu.has_kernels(x.device):
            x = gpu.sum_windows(operator, x.movedim(1, -1)).movedim(-1, 1)
        elif isinstance(operator, SumPool):
            x = pad(x, operator.padding)
            for axis, (kernel, stride) in enumerate(zip(operator.kernel, operator.stride, strict=True), start=2):
                x = x.unfold(axis, kernel, stride).sum(-1, dtype=x.dtype)
        else:
            x = apply_chain((operator,), x)
    return x


def compile_plain(connection: Connection, source: Emitting, device: torch.device) -> CompiledConnection:
    """Choose the kernel of a connection on any device: products of int8 where they serve it, else floats."""
    return compile_columns(connection, source, device) or compile_current(connection, source, plain=True)


def compile_columns(connection: Connection, source: Emitting, device: torch.device) -> ColumnProduct | None:
    """Compile a connection as a product of int8 matrices; None where that does not serve it."""
    low, high = source.payload_range
    if low < -128 or high > (127 if low < 0 else 255) or not has_integer_products(device.type):
        return None
    split = split_at_product(connection.operators, high, 127) if high <= 127 else None
    shifted = split is None and low >= 0
    if shifted:
        split = split_at_product(connection.operators, high, 255)
    bound = bound_partial_sums(connection, source)
    if split is None or bound >= _INT32:
        return None
    before, operator, after = split
    if isinstance(operator, Conv) and operator.groups > 1:
        return None
    seen = chain_shapes(before, source.shape)[-1]
    weight = operator.weight if isinstance(operator, Linear) else np.moveaxis(operator.weight, 1, -1)
    weight = weight.reshape(len(weight), -1)
    # What lies outside of a map is 128 less too: sums that no payload reaches.
    if shifted and 128 * int(np.abs(weight).sum(1).max()) >= _INT32:
        return None
    weight = np.pad(weight, [(0, -n % EVEN) for n in weight.shape])
    shift = torch.from_numpy((128 * weight.sum(1)).astype(np.int32)).to(device) if shifted else None
    packed = torch.from_numpy(weight.astype(np.int8)).to(device)
    geometry = operator if isinstance(operator, Conv) else None
    shape, dtype = operator.output_shape(seen), carrier(connection.name, bound)
    return ColumnProduct(before, packed, shift, geometry, seen, shape, after, dtype, bound)
