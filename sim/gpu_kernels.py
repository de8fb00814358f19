"""Triton kernels for a GPU: a layer from its payloads to its bursts, sums of windows, sums of payloads.

`fire` does what `sim.columns` and `sim.steps.fire` do in turn: a block of neurons keeps its membrane potentials in
registers over all timesteps, and neither columns nor currents are ever written. Triton comes with torch's builds for
CUDA; this is the only file that needs it. Arrays are channels-last.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _constant(pointer, pixel, channel, inside, channels, moving: tl.constexpr):
    """Load a constant per channel, (1, N), or per neuron, (M, N)."""
    if moving:
        value = tl.load(pointer + pixel[:, None] * channels + channel[None, :], mask=inside, other=0)
    else:
        value = tl.load(pointer + channel[None, :], mask=(channel < channels)[None, :], other=0)
    return value


@triton.jit
def _product(
    payload,
    weight,
    top,
    left,
    there,
    channel,
    channels,
    height,
    width,
    dilation_h,
    dilation_w,
    inner: tl.constexpr,
    kernel_h: tl.constexpr,
    kernel_w: tl.constexpr,
    columns: tl.constexpr,
    padded: tl.constexpr,
    shifted: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
):
    """Multiply what a block of pixels sees, (M, columns) gathered from `payload`, by the weights of its channels."""
    total = tl.zeros((block_m, block_n), tl.int32)
    length: tl.constexpr = kernel_h * kernel_w * inner
    within = tl.arange(0, block_k)
    for start in range(0, length, block_k):
        column = start + within
        if inner % block_k == 0:
            # A block of columns lies within one tap.
            tap = start // inner
            row, pixel = top + tap // kernel_w * dilation_h, left + tap % kernel_w * dilation_w
            place = (row * width + pixel) * inner
            mask = there[:, None]
            if padded:
                mask = (there & (row >= 0) & (row < height) & (pixel >= 0) & (pixel < width))[:, None]
            # Triton does not see for itself that a block begins where 16 bytes can be read at once.
            read = payload[:, None] + (place[:, None] + (tl.multiple_of(start % inner, block_k) + within)[None, :])
        else:
            tap = column // inner
            row = top[:, None] + (tap // kernel_w * dilation_h)[None, :]
            pixel = left[:, None] + (tap % kernel_w * dilation_w)[None, :]
            mask = there[:, None] & (column < length)[None, :]
            if padded:
                mask = mask & (row >= 0) & (row < height) & (pixel >= 0) & (pixel < width)
            read = payload[:, None] + ((row * width + pixel) * inner + (column % inner)[None, :])
        seen = tl.load(read, mask=mask, other=0)
        if shifted:
            seen = seen ^ -128
        weights = tl.load(
            weight + channel[None, :] * columns + column[:, None],
            mask=(channel < channels)[None, :] & (column < length)[:, None],
            other=0,
        )
        total = tl.dot(seen, weights, total, out_dtype=tl.int32)
    return total


@triton.jit(do_not_specialize=["samples", "timesteps", "phi"])
def fire(
    payload,
    weight,
    shift,
    current,
    skip,
    skip_weight,
    theta,
    inverse,
    bias,
    initial,
    limits,
    state,
    clipped,
    burst,
    samples,
    timesteps,
    phi,
    channels,
    height,
    width,
    out_height,
    out_width,
    stride_h,
    stride_w,
    before_h,
    before_w,
    dilation_h,
    dilation_w,
    inner: tl.constexpr,
    kernel_h: tl.constexpr,
    kernel_w: tl.constexpr,
    columns: tl.constexpr,
    padded: tl.constexpr,
    current_held: tl.constexpr,
    skip_held: tl.constexpr,
    bias_moves: tl.constexpr,
    initial_moves: tl.constexpr,
    resume: tl.constexpr,
    keep: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
):
    """Integrate, fire and reset over all timesteps; exact as `sim.scan.fire`, whose notes say why.

    Pointers that are None are not there. `payload` (T, samples, height, width, inner) int8 is multiplied by `weight`
    (channels, columns) int8, into sums of int32; `current` (T or 1, samples, pixels, channels) float and `skip`, of the
    same shape, bytes, are added: what is held has one timestep. `burst` (T, samples, pixels, channels) is written, and
    `state` (samples, pixels, channels) where it is kept.
    """
    kind: tl.constexpr = theta.dtype.element_ty
    pixels = out_height * out_width
    rows = samples * pixels
    within = tl.arange(0, block_m)
    row = tl.program_id(0) * block_m + within
    channel = tl.program_id(1) * block_n + tl.arange(0, block_n)
    there = row < rows
    inside = there[:, None] & (channel < channels)[None, :]
    pixel = row % pixels
    # Where a block begins is one number of 64 bits; within it 32 do, and half the registers.
    begin = tl.program_id(0).to(tl.int64) * (block_m * channels)
    place = within[:, None] * channels + channel[None, :]
    step = rows.to(tl.int64) * channels

    top = (pixel // out_width) * stride_h - before_h
    left = (pixel % out_width) * stride_w - before_w
    size = height * width * inner
    first = (row // pixels).to(tl.int64) * size

    # The membrane potential plus 0.5.
    if resume:
        u = tl.load(state + begin + place, mask=inside, other=0) + 0.5
    else:
        u = _constant(initial, pixel, channel, inside, channels, initial_moves) + 0.5
        u = u + tl.zeros((block_m, block_n), kind)
    if limits is not None:
        changed = tl.zeros((), tl.int64)
    for t in range(timesteps):
        if payload is not None:
            sums = _product(
                payload + (first + t * (samples.to(tl.int64) * size)),
                weight,
                top,
                left,
                there,
                channel,
                channels,
                height,
                width,
                dilation_h,
                dilation_w,
                inner,
                kernel_h,
                kernel_w,
                columns,
                padded,
                shift is not None,
                block_m,
                block_n,
                block_k,
            )
            if shift is not None:
                # Before a float holds the sum: alone it may be greater than the float's integers.
                sums = sums + tl.load(shift + channel, mask=channel < channels, other=0)[None, :]
            u = u + sums.to(kind)
        at = begin + t * step
        if current is not None:
            u = u + tl.load(current + (begin if current_held else at) + place, mask=inside, other=0)
        if skip is not None:
            factor = _constant(skip_weight, pixel, channel, inside, channels, False)
            u = u + factor * tl.load(skip + (begin if skip_held else at) + place, mask=inside, other=0).to(kind)
        # Constants are read at every timestep: from cache, while registers are what there is least of.
        u = u + _constant(bias, pixel, channel, inside, channels, bias_moves)
        if limits is not None:
            free = u
            u = tl.minimum(tl.maximum(free, tl.load(limits)), tl.load(limits + 1))
            changed += tl.sum((inside & (free != u)).to(tl.int32))
        quotient = u * _constant(inverse, pixel, channel, inside, channels, False)
        count = tl.minimum(tl.maximum(quotient, 0.0), phi.to(kind)).to(tl.int32)
        u = u - count.to(kind) * _constant(theta, pixel, channel, inside, channels, False)
        tl.store(burst + at + place, count.to(tl.uint8), mask=inside)
    if keep:
        tl.store(state + begin + place, u - 0.5, mask=inside)
    if limits is not None:
        tl.atomic_add(clipped, changed)


@triton.jit(do_not_specialize=["samples"])
def sum_windows(
    payload,
    total,
    samples,
    height,
    width,
    out_height,
    out_width,
    channels,
    stride_h,
    stride_w,
    before_h,
    before_w,
    kernel_h: tl.constexpr,
    kernel_w: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
):
    """Sum bytes `payload` (samples, height, width, channels) over windows into `total`, bytes that hold the sums."""
    row = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    channel = tl.program_id(1) * block_n + tl.arange(0, block_n)
    pixels = out_height * out_width
    inside = (row < samples.to(tl.int64) * pixels)[:, None] & (channel < channels)[None, :]
    top = (row % pixels // out_width * stride_h - before_h).to(tl.int32)
    left = (row % out_width * stride_w - before_w).to(tl.int32)
    first = row // pixels * (height * width)
    sums = tl.zeros((block_m, block_n), tl.int32)
    for tap in range(kernel_h * kernel_w):
        i, j = top + tap // kernel_w, left + tap % kernel_w
        there = inside & ((i >= 0) & (i < height) & (j >= 0) & (j < width))[:, None]
        place = (first + (i * width + j))[:, None] * channels + channel[None, :]
        sums += tl.load(payload + place, mask=there, other=0).to(tl.int32)
    tl.store(total + row[:, None] * channels + channel[None, :], sums.to(total.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def count(payload, times, total, rows, neurons, block_m: tl.constexpr, block_n: tl.constexpr, blocks: tl.constexpr):
    """Add up |payload| and events of bytes `payload` (rows, neurons), row r `times[r]` times, to `total` (2, neurons).

    `times` is int32 and `total` int64; a program takes as many `blocks` of rows as keep its sums within int32.
    """
    neuron = tl.program_id(0) * block_n + tl.arange(0, block_n)
    there = neuron < neurons
    sums, events = tl.zeros((block_m, block_n), tl.int32), tl.zeros((block_m, block_n), tl.int32)
    for index in range(blocks):
        row = (tl.program_id(1) * blocks + index) * block_m + tl.arange(0, block_m)
        place = row.to(tl.int64)[:, None] * neurons + neuron[None, :]
        values = tl.load(payload + place, mask=(row < rows)[:, None] & there[None, :], other=0).to(tl.int32)
        often = tl.load(times + row, mask=row < rows, other=0)[:, None]
        sums += tl.abs(values) * often
        events += (values != 0).to(tl.int32) * often
    tl.atomic_add(total + neuron, tl.sum(sums, 0).to(tl.int64), mask=there)
    tl.atomic_add(total + neurons + neuron, tl.sum(events, 0).to(tl.int64), mask=there)
