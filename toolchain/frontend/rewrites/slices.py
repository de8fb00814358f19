"""Slices move towards the source, until a weight before them makes less."""

from __future__ import annotations

from dataclasses import replace

from toolchain.frontend.rewrites.rule import Chain, Zero, neighbours
from toolchain.netlist import Conv, ConvTranspose, Linear, Pad, Permute, Resample, Scale, Shape, Slice, SumPool


@neighbours
def slice_of_a_slice(first: Slice, second: Slice, shape: Shape) -> Chain | None:
    """``Slice -> Slice = Slice`` of one axis: every n-th of every m-th is every (m n)-th."""
    if first.axis != second.axis:
        return None
    taken = len(range(second.start, second.stop, second.step))
    start, step = first.start + second.start * first.step, first.step * second.step
    return (Slice(first.axis, start, start + (taken - 1) * step + 1, step),)


@neighbours
def slice_beside_a_pad(first: Pad, second: Slice, shape: Shape) -> Chain | None:
    """``Pad -> Slice = Slice -> Pad`` along an axis that is not padded."""
    return None if any(first.padding[second.axis]) else (second, first)


@neighbours
def slice_of_a_pad(first: Pad, second: Slice, shape: Shape) -> Chain | Zero | None:
    """``Pad -> Slice = Slice -> Pad`` of what the slice, of step 1, holds; `Zero` where it holds zeros alone."""
    if second.step != 1:
        return None
    axis, n = second.axis, shape[second.axis]
    before, _ = first.padding[axis]
    low, high = max(second.start - before, 0), min(second.stop - before, n)
    if high <= low:
        return Zero()
    around = list(first.padding)
    around[axis] = (max(before - second.start, 0), max(second.stop - before - n, 0))
    return (replace(second, start=low, stop=high), Pad(tuple(around)))


@neighbours
def slice_of_a_scale(first: Scale, second: Slice, shape: Shape) -> Chain:
    """``Scale -> Slice = Slice -> Scale`` of the channels that are kept."""
    return (second, Scale(first.weight[_index(second)]) if second.axis == 0 else first)


@neighbours
def slice_of_a_permutation(first: Permute, second: Slice, shape: Shape) -> Chain:
    """``Permute -> Slice = Slice -> Permute``, along the axis that is moved to the slice's."""
    return (replace(second, axis=first.axes[second.axis]), first)


@neighbours
def slice_of_a_channelwise_sum(first: SumPool | Resample, second: Slice, shape: Shape) -> Chain | None:
    """``SumPool or Resample -> Slice = Slice -> the same`` of channels: each is treated alone."""
    return (second, first) if second.axis == 0 else None


@neighbours
def slice_of_a_matrix(first: Linear, second: Slice, shape: Shape) -> Chain:
    """``Linear -> Slice = Linear`` of the rows that are kept."""
    return (Linear(first.weight[_index(second)]),)


@neighbours
def slice_of_a_convolution(first: Conv, second: Slice, shape: Shape) -> Chain | None:
    """``Conv -> Slice = Conv`` of channels, without groups: the kernels that are kept."""
    if first.groups != 1 or second.axis != 0:
        return None
    return (replace(first, weight=first.weight[_index(second)]),)


@neighbours
def slice_of_a_grouped_convolution(first: Conv, second: Slice, shape: Shape) -> Chain | None:
    """``Conv -> Slice = Slice -> Conv`` of whole groups in a row: their inputs, their kernels."""
    per_in, per_out = first.weight.shape[1], first.weight.shape[0] // first.groups
    if second.axis != 0 or second.step != 1 or second.start % per_out or second.stop % per_out:
        return None
    low, high = second.start // per_out, second.stop // per_out
    part = replace(first, weight=first.weight[_index(second)], groups=high - low)
    return (Slice(0, low * per_in, high * per_in), part)


@neighbours
def slice_of_a_transposed_convolution(first: ConvTranspose, second: Slice, shape: Shape) -> Chain | None:
    """``ConvTranspose -> Slice = ConvTranspose`` of channels, without groups: the kernels that are kept."""
    if first.groups != 1 or second.axis != 0:
        return None
    return (replace(first, weight=first.weight[:, _index(second)]),)


def _index(cut: Slice) -> slice:
    return slice(cut.start, cut.stop, cut.step)
