"""Convolution over the neurons that fire, for processors with AVX-512 VNNI.

Many neurons are silent through all timesteps: their ReLU is zero. Per sample and pixel, the input channels that fire
at least once in eight timesteps, or in four, are listed; an output pixel then multiplies these timesteps of the listed
payloads only. What is left out is zero times a weight, and sums of integers do not depend on their order: the result
is that of the dense convolution. It costs less the more is silent; `EventConv.run` declines where dense kernels win.

All products go through one instruction of VNNI, `vpdpbusd`: in each of 16 lanes it adds four products of uint8 by
int8 to an int32. numba has no name for it and does not find it in loops, which take six to eight times as long
(docs/performance.md); so the innermost loop, `_emit_accumulate`, is written in LLVM's language through numba's
low-level extension interface. All else is ordinary numba.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from sim.jit import jit
from toolchain.netlist import Conv, Shape

#: Sums of int32 in a register of 512 bits.
WIDTH = 16

#: Output channels of a block, and timesteps that share a load of weights, most first. Their sums take 8 x 2 of the 32
#: registers; the rest holds weights. More timesteps or channels at once would spill sums to memory; two timesteps would
#: hardly be faster than dense kernels.
BLOCK, STEPS = 2 * WIDTH, (8, 4)

#: Channels whose products one instruction adds up.
QUAD = 4

#: Integers of as many bytes as there are timesteps.
_HISTORY = {8: np.uint64, 4: np.uint32}

#: Products per second of the dense kernels over those of this one, and what listing an input payload costs in such
#: products, measured (docs/performance.md).
DENSE_ADVANTAGE, LISTING = 1.3, 90

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_SUMS, _FLOATS = ir.VectorType(_I32, WIDTH), ir.VectorType(ir.FloatType(), WIDTH)
_WEIGHTS = ir.VectorType(ir.IntType(8), BLOCK)


def _shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, order: list[int]) -> ir.Value:
    """Return a vector of the elements of `a` and, counting on, of `b` in some order."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(order)), order))


def _address(builder: ir.IRBuilder, base: ir.Value, index: ir.Value | int, size: int) -> ir.Value:
    """Return the address of an element of `size` bytes."""
    index = ir.Constant(_I64, index) if isinstance(index, int) else index
    return builder.add(base, builder.mul(index, ir.Constant(_I64, size)))


def _load(builder: ir.IRBuilder, kind: ir.Type, address: ir.Value) -> ir.Value:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    # LLVM would else take a vector to lie at a multiple of its size.
    value.align = 1
    return value


def _emit_accumulate(steps: int, taps: Any, count: Any, target: Any, stride: Any) -> Any:
    """Add up the products of one output pixel and one block of output channels over some timesteps.

    Parameters
    ----------
    steps : int
        Known when this is compiled: one of `STEPS`.
    taps : int64
        Address of `count` rows of four int64, one for each input pixel that the output pixel sees: address of its
        listed payloads; address of its listed channels; number of its quads; address of the tap's weights (C_in, 32).
    target : int64
        Address of 32 float32 to write, `stride` bytes from one timestep to the next.

    Notes
    -----
    The sums are exact: four products of uint8 by int8 stay below 2**17, `vpdpbusd` adds them in 32 bits without
    saturation, and the bound of the connection's partial sums (2**24, asked for by `sim.currents`) keeps every sum
    within int32 and makes the last conversion to float32 exact.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        taps, count, target, stride = arguments
        kind = ir.FunctionType(_SUMS, [_SUMS] * 3)
        vpdpbusd = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
        # LLVM keeps these in registers, since no index into them is left to the running program.
        sums = [[cgutils.alloca_once(builder, _SUMS, zfill=True) for _ in range(2)] for _ in range(steps)]
        with cgutils.for_range(builder, count) as tap:
            row = _address(builder, taps, tap.index, 32)
            payloads, listed, quads, weights = (_load(builder, _I64, _address(builder, row, i, 8)) for i in range(4))
            with cgutils.for_range(builder, quads) as quad:
                four = _address(builder, listed, quad.index, 4 * QUAD)
                inputs = [builder.zext(_load(builder, _I32, _address(builder, four, i, 4)), _I64) for i in range(QUAD)]
                rows = [_load(builder, _WEIGHTS, _address(builder, weights, channel, BLOCK)) for channel in inputs]
                # A lane takes the weights of one output channel by all four listed channels: 4 x 32 bytes transposed.
                pairs = [_shuffle(builder, rows[i], rows[i + 1], list(range(2 * BLOCK))) for i in (0, 2)]
                quadruples = [
                    _shuffle(builder, pairs[0], pairs[1], [BLOCK * i + c for c in channels for i in range(QUAD)])
                    for channels in (range(WIDTH), range(WIDTH, BLOCK))
                ]
                bytes_of_quad = _address(builder, payloads, quad.index, QUAD * steps)
                for t in range(steps):
                    # ... and the four payloads of one timestep, the same in every lane.
                    payload = _load(builder, _I32, _address(builder, bytes_of_quad, t, QUAD))
                    one = builder.insert_element(ir.Constant(_SUMS, ir.Undefined), payload, ir.Constant(_I32, 0))
                    same = _shuffle(builder, one, one, [0] * WIDTH)
                    for total, weight in zip(sums[t], quadruples, strict=True):
                        products = [builder.load(total), same, builder.bitcast(weight, _SUMS)]
                        builder.store(builder.call(vpdpbusd, products), total)
        for t in range(steps):
            for half, total in enumerate(sums[t]):
                step = builder.add(target, builder.mul(stride, ir.Constant(_I64, t)))
                place = _address(builder, step, half, 4 * WIDTH)
                result = builder.sitofp(builder.load(total), _FLOATS)
                builder.store(result, builder.inttoptr(place, _FLOATS.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


def _accumulator(steps: int) -> Any:
    def emit(typing: Any, taps: Any, count: Any, target: Any, stride: Any) -> Any:
        return _emit_accumulate(steps, taps, count, target, stride)

    return intrinsic(emit)


_accumulate_eight, _accumulate_four = (_accumulator(steps) for steps in STEPS)


@jit
def _share_active(x: np.ndarray) -> float:
    """Return the share of channels that fire in some pixels of the first sample of `x` (N, steps, P, C).

    Sixteen pixels are enough: the answer decides which kernel is faster, never what it computes.
    """
    _, steps, pixels, channels = x.shape
    step = max(1, pixels // 16)
    fires = np.empty(channels, np.uint8)
    count = 0
    for p in range(0, pixels, step):
        fires[:] = 0
        for t in range(steps):
            fires |= x[0, t, p]
        count += np.count_nonzero(fires)
    return count / (channels * len(range(0, pixels, step)))


@jit
def _list_active(
    x: np.ndarray, history: np.ndarray, payloads: np.ndarray, listed: np.ndarray, quads: np.ndarray
) -> None:
    """List, per sample and pixel, the channels of `x` (N, steps, P, C), uint8, that fire.

    Parameters
    ----------
    history : ndarray (C,), unsigned integer of as many bytes as there are timesteps
        Scratch.
    payloads : ndarray (N, P, C // 4 + 1, steps, 4), uint8
        Written: the payloads of the listed channels, four of them together, as `_emit_accumulate` takes them.
    listed : ndarray (N, P, C // 4 + 1, 4), int32
        Written: which channels they are.
    quads : ndarray (N, P), int64
        Written: how many fours there are; beyond them nothing is written.
    """
    samples, steps, pixels, channels = x.shape
    # The payloads of a channel as bytes of one integer, lowest first: to fire at all is to differ from zero.
    # Processors with the instruction store integers lowest byte first, so the same bytes in memory are the timesteps.
    kind = history.dtype.type
    active = np.zeros(QUAD * payloads.shape[2], history.dtype)
    by_step = active.view(np.uint8).reshape(-1, QUAD, steps)
    where = np.zeros(active.size, np.int32)
    for n in range(samples):
        for p in range(pixels):
            history[:] = 0
            for t in range(steps):
                row = x[n, t, p]
                for c in range(channels):
                    history[c] |= kind(row[c]) << kind(8 * t)
            count = 0
            for c in range(channels):
                # Written in any case and overwritten by the next if silent: no branch to guess wrong.
                active[count] = history[c]
                where[count] = c
                count += history[c] != 0
            # The last four are filled up with silence: payloads of zero, by the weights of channel 0.
            active[count : count + QUAD] = 0
            where[count : count + QUAD] = 0
            quads[n, p] = (count + QUAD - 1) // QUAD
            for quad in range(quads[n, p]):
                for i in range(QUAD):
                    listed[n, p, quad, i] = where[QUAD * quad + i]
                for t in range(steps):
                    for i in range(QUAD):
                        payloads[n, p, quad, t, i] = by_step[quad, i, t]


@jit
def _convolve(
    weight: np.ndarray,
    payloads: np.ndarray,
    listed: np.ndarray,
    quads: np.ndarray,
    taps: np.ndarray,
    out: np.ndarray,
) -> None:
    """Convolve the listed payloads.

    Parameters
    ----------
    weight : ndarray (blocks, taps, C_in, 32), int8
    payloads, listed, quads
        From `_list_active`.
    taps : ndarray (P_out, taps), int64
        The input pixel of each tap of each output pixel, -1 in the padding.
    out : ndarray (N, steps, P_out, C_out), float32
        Written.
    """
    blocks, positions, _, _ = weight.shape
    samples, steps, pixels, _ = out.shape
    rows = np.empty((positions, 4), np.int64)
    # Blocks first: the weights of one stay in cache for all samples.
    for block in range(blocks):
        for n in range(samples):
            for p in range(pixels):
                count = 0
                for k in range(positions):
                    q = taps[p, k]
                    if q >= 0:
                        rows[count, 0] = payloads[n, q].ctypes.data
                        rows[count, 1] = listed[n, q].ctypes.data
                        rows[count, 2] = quads[n, q]
                        rows[count, 3] = weight[block, k].ctypes.data
                        count += 1
                target = out[n, 0, p, block * BLOCK :].ctypes.data
                if steps == 8:
                    _accumulate_eight(rows.ctypes.data, count, target, out.strides[1])
                else:
                    _accumulate_four(rows.ctypes.data, count, target, out.strides[1])


@cache
def has_instruction() -> bool:
    """Return whether numba may compile `_emit_accumulate` here: LLVM ends the process where it may not."""
    # Told to compile for some other processor, numba knows that one's instructions only.
    settings: Any = config
    overridden = settings.CPU_NAME or settings.CPU_FEATURES
    return not overridden and bool(binding.get_host_cpu_features().get("avx512vnni", False))


@cache
def usable() -> bool:
    """Return whether events can be faster than dense kernels here: AMX multiplies eight times as fast, and they win."""
    return has_instruction() and not binding.get_host_cpu_features().get("amx-int8", False)


@dataclass(frozen=True, eq=False)
class EventConv:
    """A convolution ready for `run`: see `compile_events`.

    Parameters
    ----------
    weight : ndarray (C_out / 32, taps, C_in, 32), int8
    taps : ndarray (P_out, taps), int64
        The input pixel of each tap of each output pixel, -1 in the padding.
    shape : tuple of int
        (C_out, spatial...).
    pixels : int
        Of the input.
    """

    weight: np.ndarray
    taps: np.ndarray
    shape: Shape
    pixels: int

    def run(self, payload: Tensor, timesteps: int) -> Tensor | None:
        """Return the current (B, *shape), float32, channels-last; None where the dense kernel is faster.

        Parameters
        ----------
        payload : Tensor (B, C, spatial...), uint8, channels-last
            The timesteps of a sample after each other.
        timesteps : int
        """
        # Whole groups of timesteps, each of one sample.
        steps = next((steps for steps in STEPS if timesteps % steps == 0), None)
        x = payload.numpy()
        if steps is None or len(x) == 0:
            return None
        channels, pixels = x.shape[1], prod(x.shape[2:])
        groups = np.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1)).reshape(-1, steps, pixels, channels)
        samples = len(groups)
        if _share_active(groups) * self._product_cost + self._listing_cost > 1:
            return None
        most = channels // QUAD + 1
        payloads = np.empty((samples, pixels, most, steps, QUAD), np.uint8)
        listed = np.empty((samples, pixels, most, QUAD), np.int32)
        quads = np.empty((samples, pixels), np.int64)
        out = np.empty((samples, steps, self.taps.shape[0], self.shape[0]), np.float32)
        _list_active(groups, np.empty(channels, _HISTORY[steps]), payloads, listed, quads)
        _convolve(self.weight, payloads, listed, quads, self.taps, out)
        current = out.reshape(len(x), *self.shape[1:], self.shape[0])
        return torch.from_numpy(current.transpose(0, current.ndim - 1, *range(1, current.ndim - 1)))

    @cached_property
    def _product_cost(self) -> float:
        """What the products of all channels cost, in units of the dense kernel's, which multiplies padding as well."""
        return DENSE_ADVANTAGE * float((self.taps >= 0).mean())

    @cached_property
    def _listing_cost(self) -> float:
        """What listing the payloads costs, in the same units."""
        return LISTING * self.pixels / (self.shape[0] * self.taps.size)


def compile_events(conv: Conv, shape: Shape) -> EventConv | None:
    """Prepare a convolution of payloads (C, spatial...); None where it has no such kernel."""
    channels, inputs, *kernel = conv.weight.shape
    if conv.groups != 1 or channels % BLOCK or not usable():
        return None
    out = conv.output_shape(shape)
    pixels = np.pad(np.arange(prod(shape[1:])).reshape(shape[1:]), conv.padding, constant_values=-1)
    taps = np.stack(
        [
            pixels[
                tuple(
                    slice(i * d, i * d + (n - 1) * s + 1, s)
                    for i, d, n, s in zip(k, conv.dilation, out[1:], conv.stride, strict=True)
                )
            ].reshape(-1)
            for k in np.ndindex(*kernel)
        ],
        axis=-1,
    )
    weight = conv.weight.reshape(channels // BLOCK, BLOCK, inputs, -1).transpose(0, 3, 2, 1)
    return EventConv(np.ascontiguousarray(weight, dtype=np.int8), np.ascontiguousarray(taps), out, prod(shape[1:]))
