"""Convolution over what fires, for 16 output channels: they fill a quarter of the registers of `sim.events`.

A row of 64 weights holds three taps side by side, by which an input pixel adds to three output pixels, a register of 16
channels each. Input pixels come in order, so that the sums of three output pixels stay in registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sim.jit import jit
from sim.vnni import (
    I64,
    REGISTER,
    STEPS,
    address,
    aligned,
    in_lanes,
    instruction,
    load,
    payloads_of_quad,
    weights_of_quad,
)
from toolchain.netlist import Conv, Shape

#: Output channels of a block, and taps side by side.
CHANNELS, TAPS = 16, 3


def _emit_sweep(steps: int) -> Any:
    """Add up the products of a row of output pixels and 16 output channels, over some timesteps.

    Parameters
    ----------
    steps : int
        Known when this is compiled: of `STEPS`.
    table : int64
        Address of `count` rows of two int64, one for each row of input pixels that is seen: address of where the quads
        of its first pixel begin (int64, those of the next behind it); address of the weights (64) of channel 0 of the
        sample.
    payloads, listed : int64
        Addresses of the sample's lists.
    pixels : int64
        In a row, of the input and of the output.
    line : int64
        Bytes of the weights of one input pixel: the list counts channels on from pixel to pixel, weights do not.
    target : int64
        Address of 16 float32 of the first output pixel, to write; `stride` bytes from one timestep to the next, and
        `apart` from one pixel to the next.

    Notes
    -----
    Exact as `sim.vnni` is: the same products, in another order.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, count, payloads, listed, pixels, line, target, stride, apart = arguments
        kind, floats = ir.VectorType(ir.IntType(32), CHANNELS), ir.VectorType(ir.FloatType(), CHANNELS)
        vpdpbusd = instruction(builder, kind)
        sums = [[cgutils.alloca_once(builder, kind, zfill=True) for _ in range(steps)] for _ in range(TAPS)]

        def write(pixel: Any) -> None:
            place = builder.add(target, builder.mul(apart, pixel))
            for t, total in enumerate(sums[-1]):
                step = builder.add(place, builder.mul(stride, ir.Constant(I64, t)))
                result = builder.sitofp(builder.load(total), floats)
                builder.store(result, builder.inttoptr(step, floats.as_pointer())).align = 1

        with cgutils.for_range(builder, pixels) as pixel:
            before = builder.mul(line, pixel.index)
            with cgutils.for_range(builder, count) as tap:
                row = address(builder, table, tap.index, 16)
                starts, weights = (load(builder, I64, address(builder, row, i, 8)) for i in range(2))
                place = address(builder, starts, pixel.index, 8)
                start, end = (load(builder, I64, address(builder, place, i, 8)) for i in range(2))
                bytes_of_pixel = builder.sub(weights, before)
                with cgutils.for_range(builder, builder.sub(end, start)) as quad:
                    index = builder.add(start, quad.index)
                    weighted = weights_of_quad(builder, listed, index, bytes_of_pixel, REGISTER)
                    for t, same in enumerate(payloads_of_quad(builder, payloads, index, steps, kind)):
                        for total, weight in zip(sums, weighted[:TAPS], strict=True):
                            products = [builder.load(total[t]), same, builder.bitcast(weight, kind)]
                            builder.store(builder.call(vpdpbusd, products), total[t])
            # The output pixel before this one has all it gets, from the last tap; that of the first one does not exist.
            with builder.if_then(builder.icmp_signed(">", pixel.index, ir.Constant(I64, 0))):
                write(builder.sub(pixel.index, ir.Constant(I64, 1)))
            for t in range(steps):
                for tap in (2, 1):
                    builder.store(builder.load(sums[tap - 1][t]), sums[tap][t])
                builder.store(ir.Constant(kind, [0] * CHANNELS), sums[0][t])
        write(builder.sub(pixels, ir.Constant(I64, 1)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 9), generate


def _sweeper(steps: int) -> Any:
    def emit(
        typing: Any,
        table: Any,
        count: Any,
        payloads: Any,
        listed: Any,
        pixels: Any,
        line: Any,
        target: Any,
        stride: Any,
        apart: Any,
    ) -> Any:
        return _emit_sweep(steps)

    return intrinsic(emit)


sweep_four, sweep_three, sweep_two = (_sweeper(steps) for steps in STEPS)


@jit
def by_rows(
    weight: np.ndarray,
    rows: np.ndarray,
    width: int,
    payloads: np.ndarray,
    listed: np.ndarray,
    starts: np.ndarray,
    out: np.ndarray,
) -> None:
    """Convolve the listed payloads: as `sim.event_pixels.by_pixels`; `EventRows` has the other parameters."""
    blocks, height, inputs, line = weight.shape
    samples, steps = out.shape[:2]
    table = np.empty((height, 2), np.int64)
    for block in range(blocks):
        for n in range(samples):
            for y in range(len(rows)):
                count = 0
                for i in range(height):
                    if rows[y, i] >= 0:
                        first = rows[y, i] * width
                        table[count, 0] = starts[n, first:].ctypes.data
                        table[count, 1] = weight[block, i].ctypes.data - first * inputs * line
                        count += 1
                target = out[n, 0, y * width, block * CHANNELS :].ctypes.data
                lists = table.ctypes.data, count, payloads[n].ctypes.data, listed[n].ctypes.data
                places = width, inputs * line, target, out.strides[1], out.strides[2]
                if steps == 4:
                    sweep_four(*lists, *places)
                elif steps == 3:
                    sweep_three(*lists, *places)
                else:
                    sweep_two(*lists, *places)


@dataclass(frozen=True, eq=False)
class EventRows:
    """A convolution with three taps side by side, one pixel apart, whose map keeps its width: see `lay_rows`.

    Parameters
    ----------
    weight : ndarray (blocks, rows of taps, C_in, 64), int8
        In the order of `sim.vnni.in_lanes`: three taps of 16 output channels, and 16 zeros.
    rows : ndarray (H_out, rows of taps), int64
        The row of input pixels that each row of taps sees, -1 in the padding.
    width : int
        Pixels in a row.
    """

    weight: np.ndarray
    rows: np.ndarray
    width: int

    @property
    def block(self) -> int:
        """Output channels that are computed together."""
        return CHANNELS

    @property
    def pairs(self) -> int:
        """Pairs of an input and an output pixel that are multiplied."""
        return TAPS * self.width * int(np.count_nonzero(self.rows >= 0))

    @property
    def layout(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """What `sim.events.convolve` takes: weights, no runs, rows."""
        return self.weight, np.zeros((0, 0, 3), np.int64), self.rows, self.width


def lay_rows(conv: Conv, shape: Shape) -> EventRows | None:
    """Lay a convolution of payloads (C, spatial...) out; None where it is of another form."""
    channels, inputs, *kernel = conv.weight.shape
    beside = kernel[-1], conv.stride[-1], conv.dilation[-1], conv.padding[-1]
    if channels % CHANNELS or beside != (TAPS, 1, 1, (1, 1)) or len(kernel) > 2:
        return None
    weight = np.zeros((channels // CHANNELS, CHANNELS, inputs, kernel[0] if len(kernel) == 2 else 1, TAPS + 1), np.int8)
    weight[..., :TAPS] = conv.weight.reshape(*weight.shape[:-1], TAPS)
    rows = np.zeros((1, 1), np.int64)
    if len(kernel) == 2:
        height = conv.output_shape(shape)[1]
        seen = np.arange(height)[:, np.newaxis] * conv.stride[0] + np.arange(kernel[0]) * conv.dilation[0]
        rows = seen - conv.padding[0][0]
        rows[(rows < 0) | (rows >= shape[1])] = -1
    # (blocks, taps above each other, C_in, taps side by side and channels of each)
    weight = weight.transpose(0, 3, 2, 4, 1).reshape(len(weight), weight.shape[3], inputs, REGISTER)
    return EventRows(aligned(in_lanes(weight)), rows, shape[-1])
