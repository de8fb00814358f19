"""Linear operators: the steps that a connection is made of.

Each operator is a frozen dataclass. Shapes exclude batch and time axes. Weighted operators
(`Conv`, `ConvTranspose`, `Linear`, `Scale`) carry a `weight` array: float in a float network,
integer in a netlist. Structural operators only move, add or repeat values. What each one computes
is defined by `toolchain.netlist.linear`.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.netlist.checks import check_finite, check_positive_ints
from toolchain.netlist.errors import NetlistError
from toolchain.netlist.shapes import Pairs, Shape, size


def _expect_axes(kind: str, shape: Shape, axes: int) -> None:
    if len(shape) != axes:
        raise NetlistError(kind, f"input of shape {shape} found, expected {axes} axes")


def _check_spatial(kind: str, axes: int, **fields: tuple[Any, ...]) -> None:
    for name, values in fields.items():
        if len(values) != axes:
            raise NetlistError(kind, f"{name} {values} found, expected {axes} entries, one per spatial axis")


def _window_output(kind: str, n: int, window: int, stride: int, pad: tuple[int, int]) -> int:
    out = (n + pad[0] + pad[1] - window) // stride + 1
    if out < 1:
        raise NetlistError(kind, f"a window of {window} does not fit an axis of {n} padded by {pad}")
    return out


@dataclass(frozen=True, eq=False)
class Conv:
    """Cross-correlation over one to three spatial axes, as torch.nn.functional.conv1d/conv2d.

    Parameters
    ----------
    weight : ndarray (C_out, C_in // groups, K...)
    stride, dilation : tuple of int, one per spatial axis
    padding : tuple of (before, after), one pair per spatial axis; zeros
    groups : int
    """

    weight: np.ndarray
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int = 1

    def __post_init__(self) -> None:
        kind, axes = "Conv", self.weight.ndim - 2
        if not 1 <= axes <= 3 or self.weight.size == 0:
            raise NetlistError(kind, f"weight of shape {self.weight.shape}, expected (C_out, C_in/groups, K...)")
        check_finite(kind, "weight", self.weight)
        _check_spatial(kind, axes, stride=self.stride, padding=self.padding, dilation=self.dilation)
        check_positive_ints(kind, "stride", self.stride)
        check_positive_ints(kind, "dilation", self.dilation)
        check_positive_ints(kind, "padding", [p for pair in self.padding for p in pair], minimum=0)
        check_positive_ints(kind, "groups", [self.groups])
        if self.weight.shape[0] % self.groups:
            raise NetlistError(kind, f"{self.weight.shape[0]} output channels do not divide into {self.groups} groups")

    def output_shape(self, shape: Shape) -> Shape:
        """Return the output shape for an input of `shape` (C_in, spatial...)."""
        _expect_axes("Conv", shape, self.weight.ndim - 1)
        if shape[0] != self.weight.shape[1] * self.groups:
            raise NetlistError(
                "Conv", f"{shape[0]} input channels found, expected {self.weight.shape[1] * self.groups} by the weight"
            )
        spatial = tuple(
            _window_output("Conv", n, d * (k - 1) + 1, s, p)
            for n, k, s, p, d in zip(
                shape[1:], self.weight.shape[2:], self.stride, self.padding, self.dilation, strict=True
            )
        )
        return (self.weight.shape[0], *spatial)


@dataclass(frozen=True, eq=False)
class ConvTranspose:
    """Transposed convolution, as torch.nn.functional.conv_transpose1d/2d without dilation.

    Parameters
    ----------
    weight : ndarray (C_in, C_out // groups, K...)
    stride : tuple of int, one per spatial axis
    padding : tuple of (before, after), one pair per spatial axis
        Rows cut from the full output; `after` is torch's ``padding - output_padding`` and may
        be negative (rows added), when output_padding exceeds padding.
    groups : int
    """

    weight: np.ndarray
    stride: tuple[int, ...]
    padding: Pairs
    groups: int = 1

    def __post_init__(self) -> None:
        kind, axes = "ConvTranspose", self.weight.ndim - 2
        if not 1 <= axes <= 3 or self.weight.size == 0:
            raise NetlistError(kind, f"weight of shape {self.weight.shape}, expected (C_in, C_out/groups, K...)")
        check_finite(kind, "weight", self.weight)
        _check_spatial(kind, axes, stride=self.stride, padding=self.padding)
        check_positive_ints(kind, "stride", self.stride)
        check_positive_ints(kind, "groups", [self.groups])
        if self.weight.shape[0] % self.groups:
            raise NetlistError(kind, f"{self.weight.shape[0]} input channels do not divide into {self.groups} groups")

    def output_shape(self, shape: Shape) -> Shape:
        """Return the output shape for an input of `shape` (C_in, spatial...)."""
        _expect_axes("ConvTranspose", shape, self.weight.ndim - 1)
        if shape[0] != self.weight.shape[0]:
            raise NetlistError(
                "ConvTranspose", f"{shape[0]} input channels found, expected {self.weight.shape[0]} by the weight"
            )
        spatial = tuple(
            (n - 1) * s + k - p[0] - p[1]
            for n, k, s, p in zip(shape[1:], self.weight.shape[2:], self.stride, self.padding, strict=True)
        )
        if min(spatial) < 1:
            raise NetlistError("ConvTranspose", f"output of shape {spatial} is empty")
        return (self.weight.shape[1] * self.groups, *spatial)


@dataclass(frozen=True, eq=False)
class Linear:
    """Dense matrix product of a flat population.

    Parameters
    ----------
    weight : ndarray (features_out, features_in)
    """

    weight: np.ndarray

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.weight.size == 0:
            raise NetlistError("Linear", f"weight of shape {self.weight.shape}, expected (features_out, features_in)")
        check_finite("Linear", "weight", self.weight)

    def output_shape(self, shape: Shape) -> Shape:
        """Return (features_out,) for an input of shape (features_in,)."""
        if shape != (self.weight.shape[1],):
            raise NetlistError("Linear", f"input of shape {shape} found, expected ({self.weight.shape[1]},)")
        return (self.weight.shape[0],)


@dataclass(frozen=True, eq=False)
class Scale:
    """Multiply each channel by its own weight: the synapses of a residual identity.

    Parameters
    ----------
    weight : ndarray (C,)
    """

    weight: np.ndarray

    def __post_init__(self) -> None:
        if self.weight.ndim != 1 or self.weight.size == 0:
            raise NetlistError("Scale", f"weight of shape {self.weight.shape}, expected (C,)")
        check_finite("Scale", "weight", self.weight)

    def output_shape(self, shape: Shape) -> Shape:
        """Return `shape`; its channels must be as many as the weights."""
        if shape[0] != self.weight.shape[0]:
            raise NetlistError("Scale", f"{shape[0]} channels found, expected {self.weight.shape[0]}")
        return shape


@dataclass(frozen=True, eq=False)
class SumPool:
    """Sum over windows; average pooling is this with 1/k folded into a weight.

    Parameters
    ----------
    kernel, stride : tuple of int, one per spatial axis
    padding : tuple of (before, after), one pair per spatial axis; zeros
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs

    def __post_init__(self) -> None:
        kind, axes = "SumPool", len(self.kernel)
        _check_spatial(kind, axes, stride=self.stride, padding=self.padding)
        check_positive_ints(kind, "kernel", self.kernel)
        check_positive_ints(kind, "stride", self.stride)
        check_positive_ints(kind, "padding", [p for pair in self.padding for p in pair], minimum=0)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the output shape for an input of `shape` (C, spatial...)."""
        _expect_axes("SumPool", shape, len(self.kernel) + 1)
        return (
            shape[0],
            *(
                _window_output("SumPool", n, k, s, p)
                for n, k, s, p in zip(shape[1:], self.kernel, self.stride, self.padding, strict=True)
            ),
        )


@dataclass(frozen=True, eq=False)
class Resample:
    """A linear map along each spatial axis by a small matrix: resampling, reflection, a fixed choice of positions.

    ``y[c, i, j] = sum_hw rows[i, h] * columns[j, w] * x[c, h, w]``. Nearest upsampling has one 1
    per row; bilinear upsampling by a factor f has entries in units of 1/(2f) per axis, and the
    factor 1/(2f) per axis is folded into a weight.

    Parameters
    ----------
    matrices : tuple of ndarray (N_out, N_in), one per spatial axis
        Integer; in a float network float64 where whole numbers would be too large.
    """

    matrices: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        for matrix in self.matrices:
            if matrix.ndim != 2 or matrix.size == 0 or matrix.dtype.kind not in "iuf":
                raise NetlistError("Resample", f"matrix {matrix.shape} {matrix.dtype}, expected numbers (N_out, N_in)")
            check_finite("Resample", "matrix", matrix)

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C, N_out...) for an input of shape (C, N_in...)."""
        if shape[1:] != tuple(m.shape[1] for m in self.matrices):
            expected = tuple(m.shape[1] for m in self.matrices)
            raise NetlistError("Resample", f"spatial axes {shape[1:]} found, expected {expected}")
        return (shape[0], *(m.shape[0] for m in self.matrices))


@dataclass(frozen=True, eq=False)
class Reshape:
    """Give the same values, in C order, another shape (flatten included)."""

    shape: Shape

    def __post_init__(self) -> None:
        check_positive_ints("Reshape", "shape", self.shape)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the new shape; the number of values must agree."""
        if size(shape) != size(self.shape):
            raise NetlistError("Reshape", f"{shape} does not hold as many values as {self.shape}")
        return self.shape


@dataclass(frozen=True, eq=False)
class Permute:
    """Reorder the axes: axis i of the output is axis ``axes[i]`` of the input."""

    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        if sorted(self.axes) != list(range(len(self.axes))):
            raise NetlistError("Permute", f"axes {self.axes} are no permutation")

    def output_shape(self, shape: Shape) -> Shape:
        """Return the reordered shape."""
        _expect_axes("Permute", shape, len(self.axes))
        return tuple(shape[a] for a in self.axes)


@dataclass(frozen=True, eq=False)
class Slice:
    """Take ``start:stop:step`` along one axis."""

    axis: int
    start: int
    stop: int
    step: int = 1

    def __post_init__(self) -> None:
        check_positive_ints("Slice", "axis and start", [self.axis, self.start], minimum=0)
        check_positive_ints("Slice", "step", [self.step])
        if self.stop <= self.start:
            raise NetlistError("Slice", f"{self.start}:{self.stop} is empty")

    def output_shape(self, shape: Shape) -> Shape:
        """Return `shape` with the sliced axis shortened."""
        if self.axis >= len(shape) or self.stop > shape[self.axis]:
            raise NetlistError("Slice", f"{self.start}:{self.stop} on axis {self.axis} is outside {shape}")
        taken = len(range(self.start, self.stop, self.step))
        return (*shape[: self.axis], taken, *shape[self.axis + 1 :])


@dataclass(frozen=True, eq=False)
class Pad:
    """Add zeros around: one (before, after) pair per axis, the channel axis first."""

    padding: Pairs

    def __post_init__(self) -> None:
        check_positive_ints("Pad", "padding", [p for pair in self.padding for p in pair], minimum=0)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the padded shape."""
        _expect_axes("Pad", shape, len(self.padding))
        return tuple(n + before + after for n, (before, after) in zip(shape, self.padding, strict=True))


Weighted = Conv | ConvTranspose | Linear | Scale
Operator = Conv | ConvTranspose | Linear | Scale | SumPool | Resample | Reshape | Permute | Slice | Pad


#: The operator types by kind name, as files spell them.
OPERATOR_KINDS: dict[str, type] = {c.__name__: c for c in typing.get_args(Operator)}


def chain_shapes(operators: tuple[Operator, ...], shape: Shape) -> tuple[Shape, ...]:
    """Return the shape before the first operator and after each one.

    Raises
    ------
    NetlistError
        When an operator does not fit the shape that reaches it.
    """
    shapes = [shape]
    for operator in operators:
        shapes.append(operator.output_shape(shapes[-1]))
    return tuple(shapes)
