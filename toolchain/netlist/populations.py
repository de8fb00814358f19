"""Populations: the arrays of neurons that connections join."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from toolchain.netlist.checks import (
    check_channelwise,
    check_finite,
    check_integers,
    check_name,
    check_positive_ints,
    check_scale,
    check_shape,
)
from toolchain.netlist.errors import InputError, NetlistError
from toolchain.netlist.leaky import CubaLif, LeakyReadout
from toolchain.netlist.operators import SumPool
from toolchain.netlist.shapes import Pairs, Shape

#: Widest burst that the netlist carries: a payload travels as an unsigned byte.
MAX_PHI = 255


@dataclass(frozen=True, eq=False)
class Input:
    """Source of the quantised payload q = clip(round((x - mean) / std / scale)).

    Parameters
    ----------
    name : str
    shape : tuple of int
        (C, H, W), (C, L) or (features,).
    bits : int
        Payload width, 1 to 8 bits; at least 2 where signed. One bit is a binary spike.
    signed : bool
        True: -(2**(bits-1) - 1) .. 2**(bits-1) - 1. False: 0 .. 2**bits - 1.
    scale : float
        Real value of one payload unit.
    mean, std : ndarray (C,), float64
        Normalisation of pictures (in [0, 1]) before the payload is rounded; the units of several inputs, side by side.
    coding : {"direct", "frames"}
        The same payload at every timestep, or one frame per timestep.
    """

    emits: ClassVar[bool] = True

    name: str
    shape: Shape
    bits: int
    signed: bool
    scale: float
    mean: np.ndarray
    std: np.ndarray
    coding: Literal["direct", "frames"] = "direct"

    def __post_init__(self) -> None:
        check_name("Input", self.name)
        check_shape(self.name, self.shape)
        check_positive_ints(self.name, "bits", [self.bits], minimum=2 if self.signed else 1)
        if self.bits > 8:
            raise NetlistError(self.name, f"payload of {self.bits} bits found, expected at most 8")
        check_finite(self.name, "mean", self.mean)
        check_channelwise(self.name, "mean", self.mean, self.shape, full=False)
        check_scale(self.name, "std", self.std, self.shape)
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise NetlistError(self.name, f"scale {self.scale} found, expected a positive number")
        if self.coding not in ("direct", "frames"):
            raise NetlistError(self.name, f"coding {self.coding!r} found, expected 'direct' or 'frames'")

    @property
    def payload_range(self) -> tuple[int, int]:
        """Least and greatest payload."""
        if self.signed:
            top = 2 ** (self.bits - 1) - 1
            return -top, top
        return 0, 2**self.bits - 1

    @property
    def payload_dtype(self) -> np.dtype:
        """The dtype that carries the payload: int8 or uint8."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Quantise normalised data to payloads, rounding half to even (semantics, section 3).

        Parameters
        ----------
        x : ndarray (..., *shape), float

        Returns
        -------
        ndarray (..., *shape), int8 or uint8

        Raises
        ------
        InputError
            When the shape is wrong or a value is NaN or infinite.
        """
        if x.shape[x.ndim - len(self.shape) :] != self.shape:
            raise InputError(self.name, f"data of shape {x.shape} found, expected (..., {self.shape}) to end in it")
        if not np.all(np.isfinite(x)):
            raise InputError(self.name, "data holds NaN or infinite values", "clean the data first")
        low, high = self.payload_range
        return np.clip(np.rint(x / self.scale), low, high).astype(self.payload_dtype)

    def clips(self, x: np.ndarray) -> int:
        """Count the values of normalised data that `encode` clips to the payload's range."""
        low, high = self.payload_range
        payload = np.rint(x / self.scale)
        return int(np.count_nonzero((payload < low) | (payload > high)))


@dataclass(frozen=True, eq=False)
class AdaFire:
    """Adaptive-firing neurons: integrate-and-fire with bursts of up to phi spikes per timestep.

    At every timestep, in integers (semantics, section 2; at phi = 1 eqs. 5-7 of the appendix of
    Wang et al., AAAI 2025)::

        u <- saturate(u + I + bias)
        n <- clip(floor(u / threshold), 0, phi)
        u <- u - n * threshold

    Parameters
    ----------
    name : str
    shape : tuple of int
    phi : int
        Longest burst, 1 to 255.
    threshold : ndarray (C,), int64, at least 1
    bias : ndarray (C,) or `shape`, int64
        Added at every timestep.
    initial : ndarray (C,) or `shape`, int64
        Membrane potential before the first timestep.
    scale : ndarray (C,), float64
        Real value of one unit of membrane potential; a burst n stands for
        ``n * threshold * scale``. Not used by any executor.
    """

    emits: ClassVar[bool] = True

    name: str
    shape: Shape
    phi: int
    threshold: np.ndarray
    bias: np.ndarray
    initial: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        check_name("AdaFire", self.name)
        check_shape(self.name, self.shape)
        check_positive_ints(self.name, "phi", [self.phi])
        if self.phi > MAX_PHI:
            raise NetlistError(self.name, f"phi {self.phi} found, expected at most {MAX_PHI}")
        check_integers(self.name, "threshold", self.threshold, minimum=1)
        check_integers(self.name, "bias", self.bias)
        check_integers(self.name, "initial", self.initial)
        check_channelwise(self.name, "threshold", self.threshold, self.shape, full=False)
        check_channelwise(self.name, "bias", self.bias, self.shape, full=True)
        check_channelwise(self.name, "initial", self.initial, self.shape, full=True)
        check_scale(self.name, "scale", self.scale, self.shape)

    @property
    def current_shape(self) -> Shape:
        """Shape of the current that connections deliver."""
        return self.shape

    @property
    def payload_range(self) -> tuple[int, int]:
        """Least and greatest payload: no spike, a burst of phi."""
        return 0, self.phi


@dataclass(frozen=True, eq=False)
class MaxPool:
    """Spiking max-pooling: emits the growth of the maximum of the summed payloads.

    ``n(t) = max_window cum(t) - max_window cum(t - 1)`` (semantics, section 6).

    Parameters
    ----------
    name : str
    input_shape : tuple of int
        Shape of the payload that reaches the windows, (C, spatial...).
    kernel, stride : tuple of int, one per spatial axis
    padding : tuple of (before, after), one pair per spatial axis; zeros, which never win
    max_payload : int
        Greatest payload of the populations that feed it; its own never exceeds it.
    """

    emits: ClassVar[bool] = True

    name: str
    input_shape: Shape
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    max_payload: int

    def __post_init__(self) -> None:
        check_name("MaxPool", self.name)
        check_shape(self.name, self.input_shape)
        check_positive_ints(self.name, "max_payload", [self.max_payload])
        if self.max_payload > MAX_PHI:
            raise NetlistError(self.name, f"max_payload {self.max_payload} found, expected at most {MAX_PHI}")
        if any(p >= k for k, pair in zip(self.kernel, self.padding, strict=False) for p in pair):
            raise NetlistError(self.name, f"padding {self.padding} reaches a whole window of {self.kernel}")
        check_shape(self.name, self.shape)

    @property
    def window(self) -> SumPool:
        """The window geometry, as the sum pooling over the same windows."""
        return SumPool(self.kernel, self.stride, self.padding)

    @property
    def shape(self) -> Shape:
        """Shape of the emitted payload."""
        return self.window.output_shape(self.input_shape)

    @property
    def current_shape(self) -> Shape:
        """Shape of the payload that connections deliver."""
        return self.input_shape

    @property
    def payload_range(self) -> tuple[int, int]:
        """Least and greatest payload."""
        return 0, self.max_payload


@dataclass(frozen=True, eq=False)
class Readout:
    """Output that accumulates its current over time and never fires.

    Parameters
    ----------
    name : str
    shape : tuple of int
        (classes,) or, for maps, (C, H, W).
    bias : ndarray (C,) or `shape`, int64
        Added at every timestep.
    scale : ndarray (C,), float64
        Summed logits at timestep t = running sum * scale; divided by t they estimate the ANN's.
    """

    emits: ClassVar[bool] = False

    name: str
    shape: Shape
    bias: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        check_name("Readout", self.name)
        check_shape(self.name, self.shape)
        check_integers(self.name, "bias", self.bias)
        check_channelwise(self.name, "bias", self.bias, self.shape, full=True)
        check_scale(self.name, "scale", self.scale, self.shape)

    @property
    def current_shape(self) -> Shape:
        """Shape of the current that connections deliver."""
        return self.shape


#: What emits spikes or bursts, what is read out, and any of them.
Spiking = AdaFire | CubaLif | MaxPool
AnyReadout = Readout | LeakyReadout
Population = Input | AdaFire | CubaLif | MaxPool | Readout | LeakyReadout


#: The population types by kind name, as files spell them.
POPULATION_KINDS: dict[str, type] = {c.__name__: c for c in typing.get_args(Population)}


def can_limit(population: Population) -> bool:
    """Return whether a population has a potential that is clipped, or a current that wraps around: what is counted."""
    return isinstance(population, AdaFire | CubaLif | LeakyReadout)
