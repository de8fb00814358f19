"""The layers of a netx file, whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.files import Guarded
from toolchain.netlist import Conv, FormatError, Linear, Operator, Reshape, Shape, UnsupportedError
from toolchain.netlist.shapes import size

#: More layers than this are refused.
MAX_LAYERS = 4096


def read_text(group: Guarded, name: str) -> str:
    """Read one text, whether it stands alone or in an array."""
    found = group.texts(name)
    if found.size != 1:
        raise FormatError(group.at(name), f"{found.size} texts found, expected one")
    return str(found.ravel()[0])


def read_integers(group: Guarded, name: str) -> np.ndarray:
    """Read integers into int64, also where a float type carries them."""
    values = np.asarray(group.value(name))
    if values.dtype.kind not in "iufb":
        raise FormatError(group.at(name), "expected integers")
    if not np.all(np.isfinite(values)) or np.any(values != np.rint(values)) or np.any(np.abs(values) > 2**52):
        raise FormatError(group.at(name), "expected integers, found other numbers")
    return values.astype(np.int64)


def read_integer(group: Guarded, name: str) -> int:
    """Read one integer, likewise."""
    values = read_integers(group, name)
    if values.size != 1:
        raise FormatError(group.at(name), f"{values.size} numbers found, expected one")
    return int(values.ravel()[0])


def read_shape(group: Guarded, name: str) -> Shape:
    """Read a shape, flat or not."""
    return tuple(int(n) for n in read_integers(group, name).ravel())


@dataclass(frozen=True)
class FileLayer:
    """A layer with a connection, or the last one's average; and whether the one before is flattened first."""

    group: Guarded
    kind: str
    flatten: bool


class NetxFile:
    """The layers of a file, in order: what ours and slayer's have in common."""

    def __init__(self, file: Guarded) -> None:
        self.file = file
        self.layers: list[FileLayer] = []
        self.input_shape: Shape | None = None
        self.input_neurons: Guarded | None = None
        root = file.child("layer")
        count = len(root.names())
        if not 1 <= count <= MAX_LAYERS:
            raise FormatError(root.where, f"{count} layers found, expected 1 to {MAX_LAYERS}")
        flatten = False
        for index in range(count):
            group = root.child(str(index))
            kind = read_text(group, "type")
            match kind:
                case "input" if index == 0:
                    self.input_shape = read_shape(group, "shape")
                    self.input_neurons = group if "neuron" in group else None
                case "flatten":
                    flatten = True
                case "average" | "conv" | "dense" | "dense_rec" | "pool":
                    self.layers.append(FileLayer(group, kind, flatten))
                    flatten = False
                case _:
                    raise UnsupportedError(group.where, f"a layer of type {kind!r:.40} has no counterpart")
        if not self.layers:
            raise FormatError(root.where, "there is no layer of neurons")

    def flattening(self, layer: FileLayer, before: Shape) -> tuple[Operator, ...]:
        """Return what flattens a population of shape `before` in front of a layer, if anything does."""
        return (Reshape((size(before),)),) if layer.flatten and len(before) > 1 else ()

    def matrix(self, layer: FileLayer, name: str = "weight") -> np.ndarray:
        """Return a dense layer's weights as rows, one per neuron."""
        group, rows = layer.group, size(self.shape_of(layer))
        if group.is_group(name):
            raise UnsupportedError(group.at(name), "complex weights: only resonate-and-fire neurons have them")
        weight = read_integers(group, name)
        if weight.ndim > 2 or weight.size == 0 or weight.size % rows:
            raise FormatError(group.at(name), f"weights of shape {weight.shape} found, expected {rows} rows")
        return weight.reshape(rows, -1)

    def operators(self, layer: FileLayer, before: Shape) -> tuple[Operator, ...]:
        """Return what a conv or dense layer does to a population of shape `before`."""
        group = layer.group
        if layer.kind == "dense":
            return (*self.flattening(layer, before), Linear(self.matrix(layer)))
        if layer.kind != "conv":
            raise UnsupportedError(group.where, f"a layer of type {layer.kind!r} among layers of ours")
        weight = read_integers(group, "weight")
        if "delay" in group and np.any(np.asarray(group.value("delay")) >= 1):
            raise UnsupportedError(group.at("delay"), "delays of a convolution: lava-dl has no meaning for them")
        if weight.ndim == 5:
            # slayer's kernels have a time axis of one step.
            weight = weight[..., 0]
        if weight.ndim != 4:
            raise FormatError(group.at("weight"), f"{weight.ndim} axes found, expected (C_out, C_in, H, W)")
        stride, padding, dilation = (self._pair(group, name) for name in ("stride", "padding", "dilation"))
        return (Conv(weight, stride, tuple((p, p) for p in padding), dilation, read_integer(group, "groups")),)

    def _pair(self, group: Guarded, name: str) -> tuple[int, int]:
        values = read_shape(group, name)
        if len(values) not in (1, 2):
            raise FormatError(group.at(name), f"{len(values)} numbers found, expected one or two")
        return (values[0], values[-1])

    def shape_of(self, layer: FileLayer) -> Shape:
        """Return a layer's shape; slayer writes flat ones as (features, 1, 1)."""
        shape = read_shape(layer.group, "shape")
        return (size(shape),) if layer.kind in ("dense", "dense_rec") else shape
