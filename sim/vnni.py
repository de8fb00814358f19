"""Registers of AVX-512 in numba's loops: what numba has no name for, written in LLVM's language.

All products of the event kernel go through one instruction of VNNI, `vpdpbusd`: in each of 16 lanes it adds four
products of uint8 by int8 to an int32. numba does not find it in loops, which take six to eight times as long
(docs/performance.md); nor does it find the instruction that moves the lanes that count together. Its low-level
extension interface takes both.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

#: Bytes of a register.
REGISTER = 64

#: Timesteps that share a load of weights, most first. The sums of each take four of the 32 registers; the rest holds
#: weights. Eight timesteps would leave room for half as many output channels, whose weights cost as much to transpose.
STEPS = (4, 3, 2)

#: Channels whose products one instruction adds up.
QUAD = 4

#: Channels whose payloads of four timesteps fill a register.
LANES = REGISTER // QUAD

#: Output channels of a block, widest first: four whole registers of sums, or four halves.
BLOCKS = (REGISTER, REGISTER // 2)

_I32, I64 = ir.IntType(32), ir.IntType(64)


def _shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, order: list[int]) -> ir.Value:
    """Return a vector of the elements of `a` and, counting on, of `b` in some order."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(order)), order))


def _interleaved(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, size: int) -> list[ir.Value]:
    """Take elements of `size` bytes from two registers in turn, within 16 bytes: of the lower eight, of the upper.

    Each is one instruction, of one cycle (`vpunpcklbw` and its kin). Bytes moved across such lanes take twice that.
    """
    width = a.type.count
    orders: tuple[list[int], list[int]] = [], []
    for lane in range(0, width, 16):
        for half, order in enumerate(orders):
            for start in range(lane + 8 * half, lane + 8 * half + 8, size):
                order += [*range(start, start + size), *range(width + start, width + start + size)]
    return [_shuffle(builder, a, b, order) for order in orders]


def in_lanes(weight: np.ndarray) -> np.ndarray:
    """Order the output channels (..., block) so that `_interleaved`, twice, brings them into their places."""
    block = weight.shape[-1]
    return weight.reshape(*weight.shape[:-1], 4, block // 16, 4).swapaxes(-3, -2).reshape(weight.shape)


def aligned(weight: np.ndarray) -> np.ndarray:
    """Copy weights to int8 that begin at a multiple of a register: one row, one line of cache."""
    memory = np.empty(weight.size + REGISTER, np.int8)
    result = memory[-memory.ctypes.data % REGISTER :][: weight.size].reshape(weight.shape)
    result[...] = weight
    return result


def address(builder: ir.IRBuilder, base: ir.Value, index: ir.Value | int, size: int) -> ir.Value:
    """Return the address of an element of `size` bytes."""
    index = ir.Constant(I64, index) if isinstance(index, int) else index
    return builder.add(base, builder.mul(index, ir.Constant(I64, size)))


def load(builder: ir.IRBuilder, kind: ir.Type, address: ir.Value) -> ir.Value:
    """Return what lies at an address."""
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    # LLVM would else take a vector to lie at a multiple of its size.
    value.align = 1
    return value


def _same(builder: ir.IRBuilder, value: ir.Value, kind: ir.VectorType) -> ir.Value:
    """Return a vector with one value in every element."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    return _shuffle(builder, one, one, [0] * kind.count)


def instruction(builder: ir.IRBuilder, kind: ir.VectorType) -> ir.Value:
    """Return `vpdpbusd` of registers of int32."""
    takes = ir.FunctionType(kind, [kind] * 3)
    return cgutils.get_or_insert_function(builder.module, takes, f"llvm.x86.avx512.vpdpbusd.{32 * kind.count}")


def weights_of_quad(
    builder: ir.IRBuilder, listed: ir.Value, quad: ir.Value, weights: ir.Value, block: int
) -> list[ir.Value]:
    """Return four registers of the weights of a block by four listed channels, those of an output side by side."""
    four = address(builder, listed, quad, 4 * QUAD)
    inputs = [builder.zext(load(builder, _I32, address(builder, four, i, 4)), I64) for i in range(QUAD)]
    kind = ir.VectorType(ir.IntType(8), block)
    rows = [load(builder, kind, address(builder, weights, channel, block)) for channel in inputs]
    first, last = (_interleaved(builder, rows[i], rows[i + 1], 1) for i in (0, 2))
    return [q for one, two in zip(first, last, strict=True) for q in _interleaved(builder, one, two, 2)]


def payloads_of_quad(
    builder: ir.IRBuilder, payloads: ir.Value, quad: ir.Value, steps: int, kind: ir.VectorType
) -> list[ir.Value]:
    """Return the four payloads of each timestep, the same in every element of a register."""
    four = address(builder, payloads, quad, QUAD * QUAD)
    return [_same(builder, load(builder, _I32, address(builder, four, t, QUAD)), kind) for t in range(steps)]


def _emit_accumulate(steps: int, block: int, taps: Any, count: Any, target: Any, stride: Any) -> Any:
    """Add up the products of one output pixel and one block of output channels over some timesteps.

    Parameters
    ----------
    steps, block : int
        Known when this is compiled: of `STEPS` and `BLOCKS`.
    taps : int64
        Address of `count` rows of four int64, one for each run of input pixels that the output pixel sees: address of
        their listed payloads; address of their listed channels; number of their quads; address of the weights (block)
        of channel 0, as `in_lanes` has them.
    target : int64
        Address of `block` float32 to write, `stride` bytes from one timestep to the next.

    Notes
    -----
    The sums are exact: four products of uint8 by int8 stay below 2**17, `vpdpbusd` adds them in 32 bits without
    saturation, and the bound of the connection's partial sums (2**24, asked for by `sim.currents`) keeps every sum
    within int32 and makes the last conversion to float32 exact.
    """
    width = block // 4
    sums_type, floats = ir.VectorType(_I32, width), ir.VectorType(ir.FloatType(), width)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        taps, count, target, stride = arguments
        vpdpbusd = instruction(builder, sums_type)
        # LLVM keeps these in registers, since no index into them is left to the running program.
        sums = [[cgutils.alloca_once(builder, sums_type, zfill=True) for _ in range(4)] for _ in range(steps)]
        with cgutils.for_range(builder, count) as tap:
            row = address(builder, taps, tap.index, 32)
            payloads, listed, quads, weights = (load(builder, I64, address(builder, row, i, 8)) for i in range(4))
            with cgutils.for_range(builder, quads) as quad:
                weighted = weights_of_quad(builder, listed, quad.index, weights, block)
                for t, same in enumerate(payloads_of_quad(builder, payloads, quad.index, steps, sums_type)):
                    for total, weight in zip(sums[t], weighted, strict=True):
                        products = [builder.load(total), same, builder.bitcast(weight, sums_type)]
                        builder.store(builder.call(vpdpbusd, products), total)
        for t in range(steps):
            for quarter, total in enumerate(sums[t]):
                step = builder.add(target, builder.mul(stride, ir.Constant(I64, t)))
                place = address(builder, step, quarter, 4 * width)
                result = builder.sitofp(builder.load(total), floats)
                builder.store(result, builder.inttoptr(place, floats.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


def _accumulator(steps: int, block: int) -> Any:
    def emit(typing: Any, taps: Any, count: Any, target: Any, stride: Any) -> Any:
        return _emit_accumulate(steps, block, taps, count, target, stride)

    return intrinsic(emit)


(four_wide, four_narrow), (three_wide, three_narrow), (two_wide, two_narrow) = (
    tuple(_accumulator(steps, block) for block in BLOCKS) for steps in STEPS
)


def _emit_compress(steps: int, source: Any, stride: Any, channels: Any, first: Any, active: Any, where: Any) -> Any:
    """Append those of 16 channels that fire, and which they are, to two lists; return how many they are.

    Parameters
    ----------
    steps : int
        Known when this is compiled: of `STEPS`.
    source : int64
        Address of the first channel's payload, a byte, `stride` bytes from one timestep to the next.
    channels : int64
        How many channels there are from it on: what lies beyond them is not read, and does not fire.
    first : int64
        The first one's number.
    active, where : int64
        Addresses to append at: payloads (4 timesteps, of which `steps` are given, the rest zero), and int32. Whole
        registers are written; what follows overwrites the rest.
    """
    lanes = ir.VectorType(_I32, LANES)
    payloads = ir.VectorType(ir.IntType(8), LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, stride, channels, first, active, where = arguments
        counting = ir.Constant(lanes, list(range(LANES)))
        there = builder.icmp_signed("<", counting, _same(builder, builder.trunc(channels, _I32), lanes))
        of_kind = ir.FunctionType(payloads, [payloads.as_pointer(), _I32, there.type, payloads])
        masked = cgutils.get_or_insert_function(builder.module, of_kind, f"llvm.masked.load.v{LANES}i8.p0")
        # The payloads of a channel as bytes of one integer, lowest first: to fire at all is to differ from zero.
        # Processors with the instruction store integers lowest byte first: the same bytes in memory are the timesteps.
        history = ir.Constant(lanes, [0] * LANES)
        for t in range(steps):
            row = builder.add(source, builder.mul(stride, ir.Constant(I64, t)))
            pointer = builder.inttoptr(row, payloads.as_pointer())
            payload = builder.call(masked, [pointer, ir.Constant(_I32, 1), there, ir.Constant(payloads, [0] * LANES)])
            shift = ir.Constant(lanes, [8 * t] * LANES)
            history = builder.or_(history, builder.shl(builder.zext(payload, lanes), shift))
        fires = builder.icmp_unsigned("!=", history, ir.Constant(lanes, [0] * LANES))
        kind = ir.FunctionType(lanes, [lanes, lanes, fires.type])
        compress = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.mask.compress.v{LANES}i32")
        for vector, target in (
            (history, active),
            (builder.add(counting, _same(builder, builder.trunc(first, _I32), lanes)), where),
        ):
            together = builder.call(compress, [vector, ir.Constant(lanes, [0] * LANES), fires])
            builder.store(together, builder.inttoptr(target, lanes.as_pointer())).align = 1
        return builder.zext(builder.ctpop(builder.bitcast(fires, ir.IntType(LANES))), I64)

    return types.int64(*[types.int64] * 6), generate


def _compressor(steps: int) -> Any:
    def emit(typing: Any, source: Any, stride: Any, channels: Any, first: Any, active: Any, where: Any) -> Any:
        return _emit_compress(steps, source, stride, channels, first, active, where)

    return intrinsic(emit)


compress_four, compress_three, compress_two = (_compressor(steps) for steps in STEPS)


def _emit_silence(typing: Any, first: Any, active: Any, where: Any) -> Any:
    """Append four channels that do not fire: payloads of zero, by the weights of channel `first`; addresses, int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, active, where = arguments
        four = ir.VectorType(_I32, QUAD)
        for value, target in ((ir.Constant(_I32, 0), active), (builder.trunc(first, _I32), where)):
            builder.store(_same(builder, value, four), builder.inttoptr(target, four.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _emit_by_step(typing: Any, payloads: Any) -> Any:
    """Bring the payloads of four fours of channels, 64 bytes, from the order of channels into that of timesteps.

    Parameters
    ----------
    payloads : int64
        Address of (4, 4 channels, 4 timesteps) bytes; (4, 4 timesteps, 4 channels) are written there.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (payloads,) = arguments
        values = load(builder, ir.VectorType(ir.IntType(8), REGISTER), payloads)
        order = np.arange(REGISTER).reshape(-1, QUAD, QUAD).swapaxes(1, 2).ravel()
        turned = _shuffle(builder, values, values, [int(place) for place in order])
        builder.store(turned, builder.inttoptr(payloads, turned.type.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(types.int64), generate


#: For loops compiled by numba: types are not known to Python.
silence: Any = intrinsic(_emit_silence)
by_step: Any = intrinsic(_emit_by_step)


@cache
def has_instruction() -> bool:
    """Return whether numba may compile these here: LLVM ends the process where it may not."""
    # Told to compile for some other processor, numba knows that one's instructions only.
    settings: Any = config
    overridden = settings.CPU_NAME or settings.CPU_FEATURES
    return not overridden and bool(binding.get_host_cpu_features().get("avx512vnni", False))
