"""Leaky populations: current-based integrate-and-fire neurons as Loihi has them, and a readout of the same kind.

The arithmetic is that of Lava's `PyLifModelBitAcc` (semantics, section 11): its widths and shifts are the
constants here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from toolchain.netlist.checks import check_channelwise, check_integers, check_name, check_scale, check_shape
from toolchain.netlist.errors import NetlistError
from toolchain.netlist.shapes import Shape

#: A decay of this takes everything at every timestep: decays are in 1/4096.
DECAY_UNITY = 4096
#: A unit of weight, or of threshold, is 2**6 units of current and of membrane potential.
WEIGHT_SHIFT = 6
#: Current and membrane potential have 24 bits: one wraps around, the other is clipped, at this magnitude (less one).
STATE_LIMIT = 2**23
#: Widest threshold, 17 bits.
MAX_THRESHOLD = 2**17 - 1


def _check_decay(where: str, what: str, values: np.ndarray, shape: Shape) -> None:
    check_integers(where, what, values)
    check_channelwise(where, what, values, shape, full=True)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > DECAY_UNITY:
        raise NetlistError(where, f"{what} {low if low < 0 else high} found, expected 0 to {DECAY_UNITY} (in 1/4096)")


def _check_bias(where: str, bias: np.ndarray, shape: Shape) -> None:
    check_integers(where, "bias", bias)
    check_channelwise(where, "bias", bias, shape, full=True)
    reach = max(-int(bias.min()), int(bias.max()))
    if reach >= STATE_LIMIT:
        raise NetlistError(where, f"bias reaches {reach}, expected less than 2**23 (in 1/64 of a weight)")


@dataclass(frozen=True, eq=False)
class CubaLif:
    """Current-based leaky integrate-and-fire neurons, bit for bit those of Loihi and of Lava's LIF.

    At every timestep, in integers (semantics, section 11)::

        u <- wrap(trunc(u * (4096 - current_decay) / 4096) + 64 * I)
        v <- clip(trunc(v * (4096 - voltage_decay) / 4096) + u + bias)
        s <- v > 64 * threshold
        v <- 0 where s  (or v - 64 * threshold, with `reset` "subtract")

    Parameters
    ----------
    name : str
    shape : tuple of int
    threshold : ndarray (C,) or `shape`, int64, 1 to 2**17 - 1
        In units of a weight.
    current_decay, voltage_decay : ndarray (C,) or `shape`, int64, 0 to 4096
        What goes per timestep, in 1/4096 (netx: iDecay, vDecay). At 4096 nothing stays.
    bias : ndarray (C,) or `shape`, int64
        Added to the membrane potential at every timestep, in 1/64 of a weight.
    reset : {"zero", "subtract"}
        Loihi's own neurons reset to zero; subtraction needs a programmable one.
    """

    emits: ClassVar[bool] = True

    name: str
    shape: Shape
    threshold: np.ndarray
    current_decay: np.ndarray
    voltage_decay: np.ndarray
    bias: np.ndarray
    reset: Literal["zero", "subtract"] = "zero"

    def __post_init__(self) -> None:
        check_name("CubaLif", self.name)
        check_shape(self.name, self.shape)
        check_integers(self.name, "threshold", self.threshold, minimum=1)
        check_channelwise(self.name, "threshold", self.threshold, self.shape, full=True)
        if int(self.threshold.max()) > MAX_THRESHOLD:
            raise NetlistError(
                self.name, f"threshold {int(self.threshold.max())} found, expected at most {MAX_THRESHOLD} (17 bits)"
            )
        _check_decay(self.name, "current_decay", self.current_decay, self.shape)
        _check_decay(self.name, "voltage_decay", self.voltage_decay, self.shape)
        _check_bias(self.name, self.bias, self.shape)
        if self.reset not in ("zero", "subtract"):
            raise NetlistError(self.name, f"reset {self.reset!r} found, expected 'zero' or 'subtract'")

    @property
    def current_shape(self) -> Shape:
        """Shape of the current that connections deliver."""
        return self.shape

    @property
    def payload_range(self) -> tuple[int, int]:
        """Least and greatest payload: no spike, a spike."""
        return 0, 1


@dataclass(frozen=True, eq=False)
class LeakyReadout:
    """Output whose membrane potential is read: a `CubaLif` that never fires.

    Parameters
    ----------
    name : str
    shape : tuple of int
        (classes,) or, for maps, (C, H, W).
    current_decay, voltage_decay : ndarray (C,) or `shape`, int64, 0 to 4096
        As those of `CubaLif`.
    bias : ndarray (C,) or `shape`, int64
        Added at every timestep, in 1/64 of a weight.
    scale : ndarray (C,), float64
        Logits at timestep t = membrane potential * scale.
    """

    emits: ClassVar[bool] = False

    name: str
    shape: Shape
    current_decay: np.ndarray
    voltage_decay: np.ndarray
    bias: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        check_name("LeakyReadout", self.name)
        check_shape(self.name, self.shape)
        _check_decay(self.name, "current_decay", self.current_decay, self.shape)
        _check_decay(self.name, "voltage_decay", self.voltage_decay, self.shape)
        _check_bias(self.name, self.bias, self.shape)
        check_scale(self.name, "scale", self.scale, self.shape)

    @property
    def current_shape(self) -> Shape:
        """Shape of the current that connections deliver."""
        return self.shape


#: What has a current and a membrane potential that decay.
Leaky = CubaLif | LeakyReadout
