"""Convolution over the neurons that fire, for processors with AVX-512 VNNI.

Many neurons are silent through all timesteps: their ReLU is zero. Per sample and pixel, the input
channels that fire at least once in eight timesteps are listed; an output pixel then multiplies eight
timesteps of the listed payloads only, gathering four weight rows at a time for one VNNI instruction
(uint8 times int8, added in int32). Equal to the dense convolution, and cheaper the more is silent:
`EventConv.run` compares the two costs and declines where dense kernels win.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.core import config as numba_config
from numba.extending import intrinsic
from torch import Tensor

from toolchain.netlist import Conv, Shape

#: Timesteps that one instruction's weights serve, and output channels of a block: 16 accumulators of 16.
STEPS, BLOCK = 8, 32

#: Bytes of a row of weights: one input channel, one block of output channels, each twice. One line of cache.
ROW = 64

#: Products per second of the dense kernels over those of this one, measured (docs/performance.md).
DENSE_ADVANTAGE = 1.6

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_INTS, _FLOATS = ir.VectorType(_I32, 16), ir.VectorType(ir.FloatType(), 16)
_EIGHT_STEPS = ir.VectorType(_I8, 4 * STEPS)
_ROW, _PAIRS = ir.VectorType(_I8, ROW), ir.VectorType(ir.IntType(16), ROW // 2)


def _index(values: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, len(values)), values)


def _unpack(half: int) -> list[int]:
    """Return which words of two registers `vpunpcklwd` (0) or `vpunpckhwd` (1) interleaves, 128 bits at a time."""
    return [8 * lane + 4 * half + i + other for lane in range(4) for i in range(4) for other in (0, ROW // 2)]


def _columns() -> np.ndarray:
    """Return the output channel of each column of a row, such that unpacking puts the channels in order."""
    return np.repeat(np.argsort([word for half in range(2) for word in _unpack(half)[::2]]), 2)


def _at(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 1
    return value


def _put(builder: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 1


def _emit_address(typing: Any, array: Any) -> Any:
    """Return where an array's data begin."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(view.data, _I64)

    return types.int64(array), generate


def _emit_histories(typing: Any, source: Any, stride: Any, target: Any) -> Any:
    """Gather eight timesteps of sixteen channels, channel by channel.

    source : address of uint8; `stride` bytes from one timestep to the next; target : address of 16 uint64.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, stride, target = arguments

        def joined(parts: list[Any]) -> Any:
            if len(parts) == 1:
                return parts[0]
            left, right = joined(parts[: len(parts) // 2]), joined(parts[len(parts) // 2 :])
            return builder.shuffle_vector(left, right, _index(list(range(2 * left.type.count))))

        rows = [
            _at(builder, builder.add(source, builder.mul(stride, ir.Constant(_I64, t))), ir.VectorType(_I8, 16))
            for t in range(STEPS)
        ]
        halves = joined(rows[:4]), joined(rows[4:])
        for i in range(2):
            order = _index([16 * t + c for c in range(8 * i, 8 * i + 8) for t in range(STEPS)])
            _put(builder, builder.shuffle_vector(*halves, order), builder.add(target, ir.Constant(_I64, 64 * i)))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _emit_interleave(typing: Any, source: Any, target: Any) -> Any:
    """Turn four channels of eight timesteps into eight timesteps of four channels, bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        order = _index([channel * STEPS + t for t in range(STEPS) for channel in range(4)])
        rows = _at(builder, arguments[0], _EIGHT_STEPS)
        _put(builder, builder.shuffle_vector(rows, ir.Constant(_EIGHT_STEPS, ir.Undefined), order), arguments[1])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _emit_accumulate(typing: Any, taps: Any, count: Any, target: Any, stride: Any) -> Any:
    """Add up the products of one output pixel and one block of channels over eight timesteps.

    taps : address of `count` rows of four int64: addresses of the listed payloads and of the
    byte offsets of their weight rows, number of quads, address of the tap's weights.
    target : address of float32; `stride` bytes from one timestep to the next.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        taps, count, target, stride = arguments
        product = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_INTS, [_INTS] * 3), "llvm.x86.avx512.vpdpbusd.512"
        )
        sums = [[cgutils.alloca_once(builder, _INTS) for _ in range(2)] for _ in range(STEPS)]
        for pair in sums:
            for half in pair:
                builder.store(ir.Constant(_INTS, [0] * 16), half)

        def plus(address: Any, offset: int) -> Any:
            return builder.add(address, ir.Constant(_I64, offset))

        def times(value: Any, factor: int) -> Any:
            return builder.mul(value, ir.Constant(_I64, factor))

        nothing = ir.Constant(_INTS, ir.Undefined)
        with cgutils.for_range(builder, count, intp=_I64) as tap:
            entry = builder.add(taps, times(tap.index, 32))
            payload, offsets, quads, weights = (_at(builder, plus(entry, 8 * i), _I64) for i in range(4))
            with cgutils.for_range(builder, quads, intp=_I64) as quad:
                four = builder.add(offsets, times(quad.index, 16))
                rows = [
                    _at(builder, builder.add(weights, builder.zext(_at(builder, plus(four, 4 * i), _I32), _I64)), _ROW)
                    for i in range(4)
                ]
                # A row holds every weight twice: two rows blend into pairs of bytes, two pairs unpack into quadruples.
                odd = ir.Constant(ir.VectorType(ir.IntType(1), ROW), [i % 2 for i in range(ROW)])
                pairs = [builder.bitcast(builder.select(odd, rows[i + 1], rows[i]), _PAIRS) for i in (0, 2)]
                quadruples = [
                    builder.bitcast(builder.shuffle_vector(*pairs, _index(_unpack(half))), _INTS) for half in range(2)
                ]
                bytes_of = builder.add(payload, times(quad.index, 4 * STEPS))
                for t in range(STEPS):
                    one = builder.insert_element(
                        nothing, _at(builder, plus(bytes_of, 4 * t), _I32), ir.Constant(_I32, 0)
                    )
                    same = builder.shuffle_vector(one, nothing, _index([0] * 16))
                    for half in range(2):
                        total = builder.call(product, [builder.load(sums[t][half]), same, quadruples[half]])
                        builder.store(total, sums[t][half])
        for t in range(STEPS):
            for half in range(2):
                place = plus(builder.add(target, times(stride, t)), 64 * half)
                _put(builder, builder.sitofp(builder.load(sums[t][half]), _FLOATS), place)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


def _emit_compress(typing: Any, history: Any, first: Any, payload: Any, offset: Any) -> Any:
    """Append those of eight channels that fire, and the offsets of their weight rows; return how many.

    history : address of eight channels, eight timesteps each.
    first : offset of the first channel's row; payload, offset : addresses to write to.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        history, first, payload, offset = arguments
        eight, mask = ir.VectorType(_I64, 8), ir.VectorType(ir.IntType(1), 8)
        values = _at(builder, history, eight)
        fires = builder.icmp_unsigned("!=", values, ir.Constant(eight, [0] * 8))
        narrow = ir.VectorType(_I32, 8)
        nothing = ir.Constant(narrow, ir.Undefined)
        one = builder.insert_element(nothing, builder.trunc(first, _I32), ir.Constant(_I32, 0))
        same = builder.shuffle_vector(one, nothing, _index([0] * 8))
        rows = builder.add(same, _index([ROW * i for i in range(8)]))
        for value, name, address in ((values, "v8i64", payload), (rows, "v8i32", offset)):
            pointer = value.type.element.as_pointer()
            kind = ir.FunctionType(ir.VoidType(), [value.type, pointer, mask])
            store = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.compressstore.{name}")
            builder.call(store, [value, builder.inttoptr(address, pointer), fires])
        return builder.zext(builder.ctpop(builder.bitcast(fires, _I8)), _I64)

    return types.int64(types.int64, types.int64, types.int64, types.int64), generate


_address: Any = intrinsic(_emit_address)
_compress: Any = intrinsic(_emit_compress)
_histories: Any = intrinsic(_emit_histories)
_interleave: Any = intrinsic(_emit_interleave)
_accumulate: Any = intrinsic(_emit_accumulate)


@njit(nogil=True, cache=True)
def _share_active(x: np.ndarray) -> float:
    """Return the share of channels that fire in some pixels of the first sample of `x` (N, 8, P, C)."""
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


@njit(nogil=True, cache=True)
def _list_active(x: np.ndarray, listed: np.ndarray, offsets: np.ndarray, quads: np.ndarray) -> None:
    """List, per sample and pixel, the channels of `x` (N, 8, P, C), contiguous, that fire, in quads.

    Parameters
    ----------
    listed : ndarray (N, P, 8 * (C + 4)), uint8
        Written: payloads, quad by quad, eight timesteps of four channels each.
    offsets : ndarray (N, P, C + 4), int32
        Written: where the weight rows of the channels begin, in bytes.
    quads : ndarray (N, P), int64
        Written: how many there are.
    """
    samples, steps, pixels, channels = x.shape
    # A multiple of eight, the rest of which never fires.
    history = np.zeros(-(-channels // 8) * 8, np.uint64)
    active = np.empty(history.size + 8, np.uint64)
    where, at = _address(active), _address(history)
    to, offset = _address(listed), _address(offsets)
    for n in range(samples):
        for p in range(pixels):
            here = _address(x) + (n * steps * pixels + p) * channels
            for c in range(0, channels - 15, 16):
                _histories(here + c, pixels * channels, at + 8 * c)
            for c in range(channels - channels % 16, channels):
                history[c] = 0
                for t in range(steps):
                    history[c] |= np.uint64(x[n, t, p, c]) << np.uint64(8 * t)
            place = offset + 4 * (n * pixels + p) * offsets.shape[2]
            count = 0
            for c in range(0, channels, 8):
                count += _compress(at + 8 * c, c * ROW, where + 8 * count, place + 4 * count)
            while count % 4:
                active[count] = 0
                offsets[n, p, count] = 0
                count += 1
            quads[n, p] = count // 4
            for quad in range(count // 4):
                _interleave(where + 32 * quad, to + (n * pixels + p) * listed.shape[2] + 32 * quad)


@njit(nogil=True, cache=True)
def _convolve(
    weight: np.ndarray,
    listed: np.ndarray,
    offsets: np.ndarray,
    quads: np.ndarray,
    taps: np.ndarray,
    out: np.ndarray,
) -> None:
    """Convolve the listed payloads.

    Parameters
    ----------
    weight : ndarray (blocks, taps, C, 64), int8
        As in `EventConv`.
    listed, offsets, quads
        From `_list_active`.
    taps : ndarray (P_out, KH * KW), int64
        The input pixel of each tap of each output pixel, -1 in the padding.
    out : ndarray (N, 8, P_out, C_out), float32
        Written.
    """
    blocks, positions, channels, _ = weight.shape
    samples, steps, pixels, width = out.shape
    rows = np.empty((positions, 4), np.int64)
    here, payload, offset = _address(rows), _address(listed), _address(offsets)
    weights, target = _address(weight), _address(out)
    # Blocks first: the weights of one stay in cache for all samples.
    for block in range(blocks):
        for n in range(samples):
            for p in range(pixels):
                count = 0
                for k in range(positions):
                    q = taps[p, k]
                    if q >= 0:
                        q += n * quads.shape[1]
                        rows[count, 0] = payload + q * listed.shape[2]
                        rows[count, 1] = offset + q * offsets.shape[2] * 4
                        rows[count, 2] = quads.flat[q]
                        rows[count, 3] = weights + (block * positions + k) * channels * ROW
                        count += 1
                start = (n * steps * pixels + p) * width + block * BLOCK
                _accumulate(here, count, target + 4 * start, 4 * pixels * width)


@cache
def usable() -> bool:
    """Return whether this processor, and numba as configured, have the instruction; AMX is faster without."""
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    numba: Any = numba_config
    if numba.CPU_NAME or numba.CPU_FEATURES or found.get("amx_int8", False):
        return False
    return bool(found.get("avx512_vnni", False)) and bool(binding.get_host_cpu_features().get("avx512vnni", False))


@dataclass(frozen=True, eq=False)
class EventConv:
    """A convolution ready for `run`: see `compile_events`.

    Parameters
    ----------
    weight : ndarray (C_out / 32, taps, C_in, 64), int8
        Rows of 64 bytes on lines of cache, laid out as `_columns` says.
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
        if samples == 0 or _share_active(groups) * self._inside * DENSE_ADVANTAGE > 1:
            return None
        listed = np.empty((samples, pixels, STEPS * (channels + 4)), np.uint8)
        offsets = np.empty((samples, pixels, channels + 4), np.int32)
        quads = np.empty((samples, pixels), np.int64)
        out = np.empty((samples, STEPS, self.taps.shape[0], self.shape[0]), np.float32)
        _list_active(groups, listed, offsets, quads)
        _convolve(self.weight, listed, offsets, quads, self.taps, out)
        return torch.from_numpy(out).reshape(x.shape[0], *self.shape[1:], self.shape[0]).movedim(-1, 1)

    @cached_property
    def _inside(self) -> float:
        """Share of the taps that are not in the padding, which the dense kernel multiplies as well."""
        return float((self.taps >= 0).mean())


def compile_events(conv: Conv, shape: Shape) -> EventConv | None:
    """Prepare a convolution of payloads (C, spatial...); None where it has no such kernel."""
    channels = conv.weight.shape[0]
    if conv.groups != 1 or channels % BLOCK or not usable():
        return None
    out = conv.output_shape(shape)
    kernel = conv.weight.shape[2:]
    pixels = np.arange(int(np.prod(shape[1:]))).reshape(shape[1:])
    padded = np.pad(pixels, conv.padding, constant_values=-1)
    taps = np.stack(
        [
            padded[
                tuple(
                    slice(i * d, i * d + (n - 1) * s + 1, s)
                    for i, d, n, s in zip(k, conv.dilation, out[1:], conv.stride, strict=True)
                )
            ].reshape(-1)
            for k in np.ndindex(*kernel)
        ],
        axis=-1,
    )
    weight = conv.weight.reshape(channels // BLOCK, BLOCK, conv.weight.shape[1], -1).transpose(0, 3, 2, 1)
    rows = _on_lines(weight.shape[:-1])
    rows[:] = weight[..., _columns()]
    return EventConv(rows, np.ascontiguousarray(taps), out)


def _on_lines(shape: Shape) -> np.ndarray:
    """Return an empty int8 array (*shape, 64) that begins at a line of cache."""
    length = int(np.prod(shape)) * ROW
    space = np.empty(length + ROW, np.int8)
    start = -space.ctypes.data % ROW
    return space[start : start + length].reshape(*shape, ROW)
