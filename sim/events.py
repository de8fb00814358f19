"""Convolution over the neurons that fire, for processors with AVX-512 VNNI.

Many neurons are silent through all timesteps: their ReLU is zero. Per sample and pixel, the input channels that fire
at least once in eight timesteps are listed; an output pixel then multiplies eight timesteps of the listed payloads
only. What is left out is zero times a weight, and sums of integers do not depend on their order: the result is that
of the dense convolution. It costs less the more is silent; `EventConv.run` declines where dense kernels win.

All products go through one instruction of VNNI, `vpdpbusd`: in each of 16 lanes it adds four products of uint8 by
int8 to an int32. numba has no name for it and does not find it in loops, which take six to eight times as long
(docs/performance.md); so the innermost loop, `_accumulate`, is written in LLVM's language through numba's low-level
extension interface. All else is ordinary numba.
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

#: Timesteps that share a load of weights, and output channels of a block. Their sums take 8 x 2 of the 32 registers;
#: the rest holds weights. More timesteps or channels at once would spill sums to memory.
STEPS, BLOCK = 8, 2 * WIDTH

#: Channels whose products one instruction adds up.
QUAD = 4

#: Products per second of the dense kernels over those of this one, measured (docs/performance.md).
DENSE_ADVANTAGE = 1.6

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


def _emit_accumulate(typing: Any, taps: Any, count: Any, target: Any, stride: Any) -> Any:
    """Add up the products of one output pixel and one block of output channels over eight timesteps.

    Parameters
    ----------
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
        # LLVM keeps these 16 in registers, since no index into them is left to the running program.
        sums = [[cgutils.alloca_once(builder, _SUMS, zfill=True) for _ in range(2)] for _ in range(STEPS)]
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
                bytes_of_quad = _address(builder, payloads, quad.index, QUAD * STEPS)
                for t in range(STEPS):
                    # ... and the four payloads of one timestep, the same in every lane.
                    payload = _load(builder, _I32, _address(builder, bytes_of_quad, t, QUAD))
                    one = builder.insert_element(ir.Constant(_SUMS, ir.Undefined), payload, ir.Constant(_I32, 0))
                    same = _shuffle(builder, one, one, [0] * WIDTH)
                    for total, weight in zip(sums[t], quadruples, strict=True):
                        products = [builder.load(total), same, builder.bitcast(weight, _SUMS)]
                        builder.store(builder.call(vpdpbusd, products), total)
        for t in range(STEPS):
            for half, total in enumerate(sums[t]):
                step = builder.add(target, builder.mul(stride, ir.Constant(_I64, t)))
                place = _address(builder, step, half, 4 * WIDTH)
                result = builder.sitofp(builder.load(total), _FLOATS)
                builder.store(result, builder.inttoptr(place, _FLOATS.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


_accumulate: Any = intrinsic(_emit_accumulate)


@jit
def _share_active(x: np.ndarray) -> float:
    """Return the share of channels that fire in some pixels of the first sample of `x` (N, 8, P, C).

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
def _list_active(x: np.ndarray, payloads: np.ndarray, listed: np.ndarray, quads: np.ndarray) -> None:
    """List, per sample and pixel, the channels of `x` (N, 8, P, C), uint8, that fire.

    Parameters
    ----------
    payloads : ndarray (N, P, C // 4 + 1, 8, 4), uint8
        Written: the payloads of the listed channels, four of them together, as `_accumulate` takes them.
    listed : ndarray (N, P, C // 4 + 1, 4), int32
        Written: which channels they are.
    quads : ndarray (N, P), int64
        Written: how many fours there are; beyond them nothing is written.
    """
    samples, steps, pixels, channels = x.shape
    # The eight payloads of a channel as bytes of one integer, lowest first: to fire at all is to differ from zero.
    # Processors with the instruction store integers lowest byte first, so the same bytes in memory are the timesteps.
    history = np.empty(channels, np.uint64)
    active = np.zeros(QUAD * payloads.shape[2], np.uint64)
    by_step = active.view(np.uint8).reshape(-1, QUAD, STEPS)
    where = np.zeros(active.size, np.int32)
    for n in range(samples):
        for p in range(pixels):
            history[:] = 0
            for t in range(steps):
                row = x[n, t, p]
                for c in range(channels):
                    history[c] |= np.uint64(row[c]) << np.uint64(8 * t)
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
                for t in range(STEPS):
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
    out : ndarray (N, 8, P_out, C_out), float32
        Written.
    """
    blocks, positions, _, _ = weight.shape
    samples, _, pixels, _ = out.shape
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
                _accumulate(rows.ctypes.data, count, target, out.strides[1])


@cache
def has_instruction() -> bool:
    """Return whether numba may compile `_accumulate` here: LLVM ends the process where it may not."""
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
    """

    weight: np.ndarray
    taps: np.ndarray
    shape: Shape

    def run(self, payload: Tensor) -> Tensor | None:
        """Return the current (B, *shape), float32, channels-last; None where the dense kernel is faster.

        Parameters
        ----------
        payload : Tensor (B, C, spatial...), uint8, channels-last
            Eight timesteps of a sample after each other.
        """
        x = np.ascontiguousarray(payload.movedim(1, -1).flatten(1, -2).numpy())
        samples, pixels, channels = x.shape[0] // STEPS, x.shape[1], x.shape[2]
        groups = x.reshape(samples, STEPS, pixels, channels)
        # Products of both kernels in units of the dense one's, which multiplies silence and padding as well.
        if samples == 0 or _share_active(groups) * self._inside * DENSE_ADVANTAGE > 1:
            return None
        most = channels // QUAD + 1
        payloads = np.empty((samples, pixels, most, STEPS, QUAD), np.uint8)
        listed = np.empty((samples, pixels, most, QUAD), np.int32)
        quads = np.empty((samples, pixels), np.int64)
        out = np.empty((samples, STEPS, self.taps.shape[0], self.shape[0]), np.float32)
        _list_active(groups, payloads, listed, quads)
        _convolve(self.weight, payloads, listed, quads, self.taps, out)
        return torch.from_numpy(out).reshape(x.shape[0], *self.shape[1:], self.shape[0]).movedim(-1, 1)

    @cached_property
    def _inside(self) -> float:
        """Share of the taps that are not in the padding."""
        return float((self.taps >= 0).mean())


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
    return EventConv(np.ascontiguousarray(weight, dtype=np.int8), np.ascontiguousarray(taps), out)
