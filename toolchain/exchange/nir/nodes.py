"""What each synaptic node of NIR does, as operators of ours and a bias."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from toolchain.exchange.nir.file import as_float
from toolchain.netlist import (
    Conv,
    FormatError,
    Linear,
    NetlistError,
    Operator,
    Reshape,
    Scale,
    Shape,
    SumPool,
    UnsupportedError,
)


@dataclass(frozen=True, eq=False)
class LinearNode:
    """What a linear node does.

    Parameters
    ----------
    operators : tuple of Operator
        With weights in float64.
    bias : ndarray or None
        Added to what the operators deliver: (C,) or the full shape, float64.
    """

    operators: tuple[Operator, ...]
    bias: np.ndarray | None = None


#: Node types that compute a linear map.
LINEAR = (nir.Affine, nir.AvgPool2d, nir.Conv1d, nir.Conv2d, nir.Flatten, nir.Linear, nir.Scale, nir.SumPool2d)


def linear_node(where: str, node: Any, shape: Shape) -> LinearNode:
    """Translate a linear node for an input of `shape`.

    Parameters
    ----------
    where : str
        File and node, for messages.
    node : one of `LINEAR`
    shape : tuple of int

    Raises
    ------
    FormatError
        When the node's fields are damaged or do not fit the shape.
    UnsupportedError
        When a netlist cannot express it.
    """
    try:
        match node:
            case nir.Conv1d() | nir.Conv2d():
                found = _convolution(where, node, shape)
            case nir.Affine():
                found = LinearNode((Linear(_matrix(where, node)),), _bias(where, node.bias))
            case nir.Linear():
                found = LinearNode((Linear(_matrix(where, node)),))
            case nir.Scale():
                found = LinearNode(_scale(where, as_float(where, node.scale), shape))
            case nir.SumPool2d():
                found = LinearNode((_pool(where, node),))
            case nir.AvgPool2d():
                pool = _pool(where, node)
                found = LinearNode((pool, Scale(np.full(shape[0], 1 / math.prod(pool.kernel)))))
            case nir.Flatten():
                found = LinearNode((_flatten(where, node, shape),))
            case _:
                raise UnsupportedError(where, f"{type(node).__name__} is no linear node")
        out = shape
        for operator in found.operators:
            out = operator.output_shape(out)
    except NetlistError as error:
        raise FormatError(where, f"{type(node).__name__}: {error.problem}") from None
    if found.bias is not None and found.bias.shape not in ((out[0],), out):
        raise FormatError(where, f"bias of shape {found.bias.shape} found, expected ({out[0]},)")
    return found


def _integers(where: str, what: str, values: Any, axes: int, *, minimum: int) -> tuple[int, ...]:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.size not in (1, axes) or not np.all(array == np.rint(array)):
        raise FormatError(where, f"{what} {values!r:.60} found, expected {axes} integers")
    entries = tuple(int(v) for v in np.broadcast_to(array.reshape(-1), (axes,)))
    if min(entries) < minimum:
        raise FormatError(where, f"{what} {entries} found, expected at least {minimum}")
    return entries


def _convolution(where: str, node: Any, shape: Shape) -> LinearNode:
    weight = as_float(f"{where}/weight", node.weight)
    axes = 1 if isinstance(node, nir.Conv1d) else 2
    if weight.ndim != axes + 2 or len(shape) != axes + 1:
        raise FormatError(
            where, f"weight of shape {weight.shape} on an input of shape {shape} found, expected {axes} spatial axes"
        )
    stride = _integers(where, "stride", node.stride, axes, minimum=1)
    dilation = _integers(where, "dilation", node.dilation, axes, minimum=1)
    (groups,) = _integers(where, "groups", node.groups, 1, minimum=1)
    if isinstance(node.padding, str):
        padding = _named_padding(where, node.padding, weight.shape[2:], stride, dilation)
    else:
        padding = tuple((p, p) for p in _integers(where, "padding", node.padding, axes, minimum=0))
    if node.input_shape is not None:
        spatial = _integers(where, "input_shape", node.input_shape, axes, minimum=1)
        if spatial != shape[1:]:
            raise FormatError(where, f"input_shape {spatial} found, but {shape[1:]} arrives")
    return LinearNode((Conv(weight, stride, padding, dilation, groups),), _bias(where, node.bias))


def _named_padding(
    where: str, name: str, kernel: Shape, stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    if name == "valid":
        return tuple((0, 0) for _ in kernel)
    if name != "same" or any(s != 1 for s in stride):
        raise FormatError(where, f"padding {name!r} with stride {stride} found, expected numbers")
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((t // 2, t - t // 2) for t in total)


def _bias(where: str, bias: Any) -> np.ndarray:
    return as_float(f"{where}/bias", bias)


def _matrix(where: str, node: Any) -> np.ndarray:
    weight = as_float(f"{where}/weight", node.weight)
    if weight.ndim != 2:
        raise UnsupportedError(where, f"weight of shape {weight.shape} found, expected a matrix")
    return weight


def _scale(where: str, scale: np.ndarray, shape: Shape) -> tuple[Operator, ...]:
    """Return a per-channel factor, or a diagonal matrix where neurons differ and the population is flat."""
    if scale.shape not in ((), (1,), shape, (shape[0], *(1 for _ in shape[1:]))):
        raise FormatError(where, f"scale of shape {scale.shape} found, expected {shape}")
    full = np.broadcast_to(scale, shape).reshape(shape[0], -1)
    if not np.all(full == full[:, :1]):
        raise UnsupportedError(where, "its factors differ from neuron to neuron of a channel")
    return (Scale(full[:, 0].copy()),)


def _pool(where: str, node: Any) -> SumPool:
    kernel = _integers(where, "kernel_size", node.kernel_size, 2, minimum=1)
    stride = _integers(where, "stride", node.stride, 2, minimum=1)
    padding = _integers(where, "padding", node.padding, 2, minimum=0)
    return SumPool(kernel, stride, tuple((p, p) for p in padding))


def _flatten(where: str, node: Any, shape: Shape) -> Reshape:
    """Axes are counted without the batch."""
    (first,) = _integers(where, "start_dim", node.start_dim, 1, minimum=-len(shape))
    (last,) = _integers(where, "end_dim", node.end_dim, 1, minimum=-len(shape))
    axes = range(len(shape))
    if first >= len(shape) or last >= len(shape) or axes[first] > axes[last]:
        raise FormatError(where, f"flattens axes {first} to {last} of {shape}, whose axes are 0 to {len(shape) - 1}")
    first, last = axes[first], axes[last]
    return Reshape((*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))
