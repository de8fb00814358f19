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

#: Bytes of a register, and sums of int32 in it.
REGISTER, WIDTH = 64, 16

#: Output channels of a block, and timesteps that share a load of weights, most first. Their sums take 8 x 2 of the 32
#: registers; the rest holds weights. More timesteps or channels at once would spill sums to memory; two timesteps would
#: hardly be faster than dense kernels.
BLOCK, STEPS = 2 * WIDTH, (8, 4)

#: Channels whose products one instruction adds up.
QUAD = 4

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


accumulate_eight, accumulate_four = (_accumulator(steps) for steps in STEPS)


def _emit_compress(typing: Any, kind: Any, history: Any, start: Any, active: Any, where: Any) -> Any:
    """Append the integers of a register that are not zero, and where they are, to two lists; return how many they are.

    Parameters
    ----------
    kind : integer of as many bytes as there are timesteps
        Its type counts, not its value.
    history : int64
        Address of 64 bytes of such integers.
    start : int64
        The first one's channel.
    active, where : int64
        Addresses to append at: integers of the same type, and int32. Whole registers are written; what follows
        overwrites the rest.
    """
    lanes, element = 512 // kind.bitwidth, ir.IntType(kind.bitwidth)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, history, start, active, where = arguments
        values = _load(builder, ir.VectorType(element, lanes), history)
        fires = builder.icmp_unsigned("!=", values, ir.Constant(values.type, [0] * lanes))
        first = builder.insert_element(
            ir.Constant(ir.VectorType(_I32, lanes), ir.Undefined), builder.trunc(start, _I32), ir.Constant(_I32, 0)
        )
        places = builder.add(_shuffle(builder, first, first, [0] * lanes), ir.Constant(first.type, list(range(lanes))))
        for vector, target, name in ((values, active, f"i{kind.bitwidth}"), (places, where, "i32")):
            of_kind = ir.FunctionType(vector.type, [vector.type, vector.type, fires.type])
            compress = cgutils.get_or_insert_function(
                builder.module, of_kind, f"llvm.x86.avx512.mask.compress.v{lanes}{name}"
            )
            together = builder.call(compress, [vector, ir.Constant(vector.type, [0] * lanes), fires])
            builder.store(together, builder.inttoptr(target, vector.type.as_pointer())).align = 1
        return builder.zext(builder.ctpop(builder.bitcast(fires, ir.IntType(lanes))), _I64)

    return types.int64(kind, types.int64, types.int64, types.int64, types.int64), generate


def _emit_by_step(typing: Any, kind: Any, active: Any, target: Any) -> Any:
    """Bring the payloads of some fours of channels, 64 bytes, from the order of channels into that of timesteps.

    Parameters
    ----------
    kind : integer of as many bytes as there are timesteps
        Its type counts, not its value.
    active, target : int64
        Addresses of (fours, 4, steps) and (fours, steps, 4) bytes, to read and to write.
    """
    steps = kind.bitwidth // 8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, active, target = arguments
        values = _load(builder, ir.VectorType(ir.IntType(8), REGISTER), active)
        order = np.arange(REGISTER).reshape(-1, QUAD, steps).swapaxes(1, 2).ravel()
        turned = _shuffle(builder, values, values, [int(place) for place in order])
        builder.store(turned, builder.inttoptr(target, turned.type.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(kind, types.int64, types.int64), generate


#: For loops compiled by numba: types are not known to Python.
compress: Any = intrinsic(_emit_compress)
by_step: Any = intrinsic(_emit_by_step)


@cache
def has_instruction() -> bool:
    """Return whether numba may compile these here: LLVM ends the process where it may not."""
    # Told to compile for some other processor, numba knows that one's instructions only.
    settings: Any = config
    overridden = settings.CPU_NAME or settings.CPU_FEATURES
    return not overridden and bool(binding.get_host_cpu_features().get("avx512vnni", False))
