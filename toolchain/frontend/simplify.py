"""Rewriting of operator chains: fewer operators, the same linear map.

Scales (normalisation, averages) fold into a neighbouring weight, slices move towards the source and
pads towards the target until a weight absorbs them, so that a concatenation becomes connections that
read slices of the next layer's weights. Every rule is an identity of linear maps; the tests compare
both sides on random chains.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from toolchain.netlist import (
    Conv,
    ConvTranspose,
    Linear,
    Operator,
    Pad,
    Permute,
    Resample,
    Reshape,
    Scale,
    Shape,
    Slice,
    SumPool,
    Weighted,
    apply,
    chain_shapes,
    per_channel,
)

Chain = tuple[Operator, ...]


def simplify(operators: Chain, shape: Shape) -> Chain | None:
    """Rewrite a chain until no rule applies.

    Parameters
    ----------
    operators : tuple of Operator
    shape : tuple of int
        Shape of the source.

    Returns
    -------
    tuple of Operator, or None
        An equal chain; None when it is zero (a slice of nothing but padding).
    """
    chain = operators
    while True:
        shapes = chain_shapes(chain, shape)
        for i, operator in enumerate(chain):
            if _is_identity(operator, shapes[i]):
                replacement: Chain = ()
                span = 1
            elif isinstance(operator, Scale) and (folded := _fold_scale(chain, i, shapes)) is not None:
                replacement, i, span = folded, 0, len(chain)
            elif i + 1 < len(chain) and (pair := _merge(operator, chain[i + 1], shapes[i])) is not None:
                if _vanishes in pair:
                    return None
                replacement, span = pair, 2
            else:
                continue
            chain = (*chain[:i], *replacement, *chain[i + span :])
            break
        else:
            return chain


#: Stands for the zero map in the result of a rule.
_vanishes = Slice(0, 0, 1)


def _is_identity(operator: Operator, shape: Shape) -> bool:
    match operator:
        case Pad(padding):
            return not any(n for pair in padding for n in pair)
        case Slice(axis, start, stop, step):
            return (start, stop, step) == (0, shape[axis], 1)
        case Reshape(new):
            return new == shape
        case Permute(axes):
            return axes == tuple(range(len(axes)))
        case SumPool(kernel, stride, padding):
            return {*kernel, *stride} == {1} and not any(n for pair in padding for n in pair)
    return False


# Scales ------------------------------------------------------------------------------------------


def _fold_scale(chain: Chain, i: int, shapes: tuple[Shape, ...]) -> Chain | None:
    """Fold the scale at `i` into a weight before it, or else after it; None where it cannot travel."""
    rest = (*chain[:i], *chain[i + 1 :])
    weight = _scale_weight(chain[i])
    for j in range(i - 1, -1, -1):
        if isinstance(chain[j], Weighted):
            return (*rest[:j], _scaled_output(chain[j], weight), *rest[j + 1 :])
        carried = _carry_back(chain[j], weight, shapes[j])
        if carried is None:
            break
        weight = carried
    weight = _scale_weight(chain[i])
    for j in range(i + 1, len(chain)):
        if isinstance(chain[j], Weighted):
            return (*rest[: j - 1], _scaled_input(chain[j], weight), *rest[j:])
        carried = _carry_forward(chain[j], weight, shapes[j])
        if carried is None:
            break
        weight = carried
    return None


def _scale_weight(operator: Operator) -> np.ndarray:
    if not isinstance(operator, Scale):
        raise TypeError(f"{type(operator).__name__} is no Scale")
    return operator.weight


def _scaled_output(operator: Operator, w: np.ndarray) -> Operator:
    """Return ``Scale(w)`` after the weighted operator, as one operator."""
    match operator:
        case Conv(weight) | Linear(weight) | Scale(weight):
            return replace(operator, weight=weight * w.reshape(-1, *(1,) * (weight.ndim - 1)))
        case ConvTranspose(weight, _, _, groups):
            blocks = weight.reshape(groups, -1, *weight.shape[1:])
            scaled = blocks * w.reshape(groups, 1, weight.shape[1], *(1,) * (weight.ndim - 2))
            return replace(operator, weight=scaled.reshape(weight.shape))
    raise TypeError(f"{type(operator).__name__} has no weight")


def _scaled_input(operator: Operator, w: np.ndarray) -> Operator:
    """Return the weighted operator after ``Scale(w)``, as one operator."""
    match operator:
        case Conv(weight, _, _, _, groups):
            blocks = weight.reshape(groups, -1, *weight.shape[1:])
            scaled = blocks * w.reshape(groups, 1, weight.shape[1], *(1,) * (weight.ndim - 2))
            return replace(operator, weight=scaled.reshape(weight.shape))
        case ConvTranspose(weight) | Scale(weight):
            return replace(operator, weight=weight * w.reshape(-1, *(1,) * (weight.ndim - 1)))
        case Linear(weight):
            return replace(operator, weight=weight * w)
    raise TypeError(f"{type(operator).__name__} has no weight")


def _per_channel_or_none(values: np.ndarray) -> np.ndarray | None:
    channels: np.ndarray = values.reshape(values.shape[0], -1)[:, 0]
    return (
        channels if np.array_equal(values, np.broadcast_to(per_channel(channels, values.shape), values.shape)) else None
    )


def _carry_forward(operator: Operator, w: np.ndarray, shape: Shape) -> np.ndarray | None:
    """Return v such that ``operator . Scale(w) = Scale(v) . operator``; `shape` enters the operator."""
    out = operator.output_shape(shape)
    if np.all(w == w[0]):
        return np.full(out[0], w[0])
    match operator:
        case SumPool() | Resample():
            return w
        case Slice(axis, start, stop, step):
            return w[start:stop:step] if axis == 0 else w
        case Pad(padding):
            return np.pad(w, padding[0], constant_values=1.0)
        case Reshape() | Permute():
            return _per_channel_or_none(apply(operator, np.broadcast_to(per_channel(w, shape), shape), shape))
    return None


def _carry_back(operator: Operator, w: np.ndarray, shape: Shape) -> np.ndarray | None:
    """Return v such that ``Scale(w) . operator = operator . Scale(v)``; `shape` enters the operator."""
    out = operator.output_shape(shape)
    if np.all(w == w[0]):
        return np.full(shape[0], w[0])
    match operator:
        case SumPool() | Resample():
            return w
        case Slice(axis, start, stop, step):
            if axis:
                return w
            v = np.ones(shape[0])
            v[start:stop:step] = w
            return v
        case Pad(padding):
            before, _ = padding[0]
            return w[before : before + shape[0]]
        case Reshape():
            return _per_channel_or_none(np.broadcast_to(per_channel(w, out), out).reshape(shape))
        case Permute(axes):
            return _per_channel_or_none(np.broadcast_to(per_channel(w, out), out).transpose(np.argsort(axes)))
    return None


# Slices, pads, reshapes, permutes ----------------------------------------------------------------


def _merge(first: Operator, second: Operator, shape: Shape) -> Chain | None:
    """Return a replacement for two neighbours, or None; `shape` enters the first."""
    if isinstance(second, Slice):
        return _slice_after(first, second, shape)
    if isinstance(first, Pad):
        return _pad_before(first.padding, second, shape)
    if isinstance(first, Scale) and not isinstance(second, Weighted):
        # A scale that no weight took: as late as possible, where channels are the target's.
        carried = _carry_forward(second, first.weight, shape)
        return None if carried is None else (second, Scale(carried))
    match first, second:
        case Reshape(), Reshape():
            return (second,)
        case Permute(inner), Permute(outer):
            return (Permute(tuple(inner[a] for a in outer)),)
        case Linear(inner_weight), Linear(outer_weight):
            return (Linear(outer_weight @ inner_weight),)
        case Conv(), Conv():
            return _composed(first, second)
    return None


def _composed(first: Conv, second: Conv) -> Chain | None:
    """Join two convolutions without anything between, one of them pointwise.

    Nothing on a chip would hold the values between them: one set of synapses has fewer paths.
    """
    if first.groups != 1 or second.groups != 1:
        return None
    if _is_pointwise(first) and set(first.stride) == {1}:
        mixed = np.tensordot(second.weight, first.weight.reshape(first.weight.shape[:2]), axes=(1, 0))
        return (replace(second, weight=np.moveaxis(mixed, -1, 1)),)
    if _is_pointwise(second):
        mixed = np.tensordot(second.weight.reshape(second.weight.shape[:2]), first.weight, axes=(1, 0))
        stride = tuple(a * b for a, b in zip(first.stride, second.stride, strict=True))
        return (replace(first, weight=mixed, stride=stride),)
    return None


def _is_pointwise(conv: Conv) -> bool:
    return set(conv.weight.shape[2:]) == {1} and not any(n for pair in conv.padding for n in pair)


def _slice_after(first: Operator, cut: Slice, shape: Shape) -> Chain | None:
    """Move a slice towards the source."""
    index = slice(cut.start, cut.stop, cut.step)
    match first:
        case Slice(axis, start, _, step) if axis == cut.axis:
            taken = len(range(cut.start, cut.stop, cut.step))
            begin, stride = start + cut.start * step, step * cut.step
            return (Slice(axis, begin, begin + (taken - 1) * stride + 1, stride),)
        case Pad(padding):
            return _slice_padded(padding, cut, shape)
        case Scale(weight):
            return (cut, Scale(weight[index]) if cut.axis == 0 else first)
        case Permute(axes):
            # The slice is taken before the permutation, along the axis that the permutation moves there.
            return (replace(cut, axis=axes[cut.axis]), first)
        case SumPool() | Resample() if cut.axis == 0:
            return (cut, first)
        case Linear(weight):
            return (Linear(weight[index]),)
        case Conv(weight, groups=1) if cut.axis == 0:
            return (replace(first, weight=weight[index]),)
        case ConvTranspose(weight, groups=1) if cut.axis == 0:
            return (replace(first, weight=weight[:, index]),)
        case Conv(weight, groups=groups) if cut.axis == 0 and cut.step == 1:
            per_group = weight.shape[0] // groups
            if cut.start % per_group or cut.stop % per_group:
                return None
            low, high = cut.start // per_group, cut.stop // per_group
            read = Slice(0, low * weight.shape[1], high * weight.shape[1])
            return (read, replace(first, weight=weight[index], groups=high - low))
    return None


def _slice_padded(padding: tuple[tuple[int, int], ...], cut: Slice, shape: Shape) -> Chain | None:
    before, _ = padding[cut.axis]
    if not before and not padding[cut.axis][1]:
        return (cut, Pad(padding))
    if cut.step != 1:
        return None
    low, high = max(cut.start - before, 0), min(cut.stop - before, shape[cut.axis])
    if high <= low:
        return (_vanishes,)
    around = list(padding)
    around[cut.axis] = (max(before - cut.start, 0), max(cut.stop - before - shape[cut.axis], 0))
    return (replace(cut, start=low, stop=high), Pad(tuple(around)))


def _pad_before(padding: tuple[tuple[int, int], ...], second: Operator, shape: Shape) -> Chain | None:
    """Move a pad towards the target."""
    (before, after), spatial = padding[0], padding[1:]
    channels = slice(before, before + shape[0])
    only_channels = not any(n for pair in spatial for n in pair)
    match second:
        case Pad(outer):
            return (Pad(tuple((a + c, b + d) for (a, b), (c, d) in zip(padding, outer, strict=True))),)
        case Permute(axes):
            return (second, Pad(tuple(padding[a] for a in axes)))
        case Linear(weight):
            return (Linear(weight[:, channels]),)
        case Reshape(new) if only_channels:
            old_block, new_block = prod(shape[1:]), prod(new[1:])
            if (before * old_block) % new_block or (after * old_block) % new_block:
                return None
            inside = (shape[0] * old_block // new_block, *new[1:])
            around = ((before * old_block // new_block, after * old_block // new_block), *((0, 0),) * (len(new) - 1))
            return (Reshape(inside), Pad(around)) if inside[0] else None
        case SumPool(padding=inner):
            merged = tuple((a + c, b + d) for (a, b), (c, d) in zip(spatial, inner, strict=True))
            return (replace(second, padding=merged), _channel_pad(before, after, len(spatial)))
        case Resample() if only_channels:
            return (second, _channel_pad(before, after, len(spatial)))
        case ConvTranspose(weight, groups=1) if only_channels:
            return (replace(second, weight=weight[channels]),)
        case Conv(weight, padding=inner, groups=groups):
            return _pad_before_conv(second, weight, groups, padding, inner, shape)
    return None


def _channel_pad(before: int, after: int, axes: int) -> Pad:
    return Pad(((before, after), *((0, 0),) * axes))


def _pad_before_conv(
    conv: Conv,
    weight: np.ndarray,
    groups: int,
    padding: tuple[tuple[int, int], ...],
    inner: tuple[tuple[int, int], ...],
    shape: Shape,
) -> Chain | None:
    (before, after), spatial = padding[0], padding[1:]
    merged = tuple((a + c, b + d) for (a, b), (c, d) in zip(spatial, inner, strict=True))
    if groups == 1:
        return (replace(conv, weight=weight[:, before : before + shape[0]], padding=merged),)
    per_in, per_out = weight.shape[1], weight.shape[0] // groups
    if before % per_in == 0 and after % per_in == 0:
        low, count = before // per_in, shape[0] // per_in
        part = replace(conv, weight=weight[low * per_out : (low + count) * per_out], padding=merged, groups=count)
        return (part, _channel_pad(low * per_out, (groups - low - count) * per_out, len(spatial)))
    if any(n for pair in spatial for n in pair):
        return (_channel_pad(before, after, len(spatial)), replace(conv, padding=merged))
    return None
