"""Pads move towards the target, until a weight behind them reads less."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from toolchain.frontend.rewrites.rule import Chain, neighbours
from toolchain.netlist import (
    Conv,
    ConvTranspose,
    Linear,
    Pad,
    Pairs,
    Permute,
    Resample,
    Reshape,
    Shape,
    SumPool,
)


@neighbours
def pad_of_a_pad(first: Pad, second: Pad, shape: Shape) -> Chain:
    """``Pad -> Pad = Pad``."""
    return (Pad(_sum(first.padding, second.padding)),)


@neighbours
def pad_before_a_permutation(first: Pad, second: Permute, shape: Shape) -> Chain:
    """``Pad -> Permute = Permute -> Pad`` of the permuted axes."""
    return (second, Pad(tuple(first.padding[a] for a in second.axes)))


@neighbours
def pad_before_a_reshape(first: Pad, second: Reshape, shape: Shape) -> Chain | None:
    """``Pad -> Reshape = Reshape -> Pad`` where padded channels fill whole channels of the new shape."""
    if not _only_channels(first):
        return None
    old, new = prod(shape[1:]), prod(second.shape[1:])
    before, after = (n * old for n in first.padding[0])
    if before % new or after % new:
        return None
    inside = (shape[0] * old // new, *second.shape[1:])
    return (Reshape(inside), _channel_pad(before // new, after // new, len(inside)))


@neighbours
def pad_before_a_matrix(first: Pad, second: Linear, shape: Shape) -> Chain:
    """``Pad -> Linear = Linear`` without the columns that read zeros."""
    return (Linear(second.weight[:, _inside(first, shape)]),)


@neighbours
def pad_before_windows(first: Pad, second: SumPool, shape: Shape) -> Chain:
    """``Pad -> SumPool = SumPool -> Pad``: space becomes the windows' padding, channels are padded behind them."""
    return (replace(second, padding=_sum(first.padding[1:], second.padding)), _channels_of(first))


@neighbours
def pad_before_a_resampling(first: Pad, second: Resample, shape: Shape) -> Chain | None:
    """``Pad -> Resample = Resample -> Pad`` of channels alone."""
    return (second, _channels_of(first)) if _only_channels(first) else None


@neighbours
def pad_before_a_convolution(first: Pad, second: Conv, shape: Shape) -> Chain | None:
    """``Pad -> Conv = Conv`` without groups: space becomes its padding, kernels that read zeros go."""
    if second.groups != 1:
        return None
    padding = _sum(first.padding[1:], second.padding)
    return (replace(second, weight=second.weight[:, _inside(first, shape)], padding=padding),)


@neighbours
def pad_before_whole_groups(first: Pad, second: Conv, shape: Shape) -> Chain | None:
    """``Pad -> Conv = Conv -> Pad`` of whole groups: those that read zeros write zeros."""
    per_in, per_out = second.weight.shape[1], second.weight.shape[0] // second.groups
    before, after = first.padding[0]
    if before % per_in or after % per_in:
        return None
    low, count = before // per_in, shape[0] // per_in
    part = replace(
        second,
        weight=second.weight[low * per_out : (low + count) * per_out],
        padding=_sum(first.padding[1:], second.padding),
        groups=count,
    )
    behind = _channel_pad(low * per_out, (second.groups - low - count) * per_out, len(shape))
    return (part, behind)


@neighbours
def spatial_pad_before_groups(first: Pad, second: Conv, shape: Shape) -> Chain | None:
    """``Pad -> Conv = Pad -> Conv`` where the pad cuts through groups: space becomes the convolution's padding."""
    if _only_channels(first):
        return None
    return (_channels_of(first), replace(second, padding=_sum(first.padding[1:], second.padding)))


@neighbours
def pad_before_a_transposed_convolution(first: Pad, second: ConvTranspose, shape: Shape) -> Chain | None:
    """``Pad -> ConvTranspose = ConvTranspose`` of channels alone, without groups: kernels that read zeros go."""
    if second.groups != 1 or not _only_channels(first):
        return None
    return (replace(second, weight=second.weight[_inside(first, shape)]),)


def _only_channels(pad: Pad) -> bool:
    return not any(n for pair in pad.padding[1:] for n in pair)


def _channels_of(pad: Pad) -> Pad:
    """Return the pad of channels alone."""
    return _channel_pad(*pad.padding[0], len(pad.padding))


def _channel_pad(before: int, after: int, axes: int) -> Pad:
    return Pad(((before, after), *((0, 0),) * (axes - 1)))


def _inside(pad: Pad, shape: Shape) -> slice:
    """Return which of the padded channels are those of `shape`."""
    before, _ = pad.padding[0]
    return slice(before, before + shape[0])


def _sum(padding: Pairs, other: Pairs) -> Pairs:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(padding, other, strict=True))
