"""The inputs of a network that takes several: side by side, they are the one input that its netlist has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import isfinite, prod

import numpy as np

from toolchain.netlist.shapes import Shape


@dataclass(frozen=True)
class Part:
    """One of several inputs.

    Parameters
    ----------
    name : str
        As the network calls it.
    shape : tuple of int
        Of a sample, (C, ...).
    unit : float
        What is 1 in the netlist's input: 8 bits serve numbers of any size.

    Raises
    ------
    ValueError
        When the name is empty, an extent or the unit not positive.
    """

    name: str
    shape: Shape
    unit: float = 1.0

    def __post_init__(self) -> None:
        if not self.name or not self.shape or any(n < 1 for n in self.shape):
            raise ValueError(f"a part {self.name!r} of shape {self.shape} found")
        if not (isfinite(self.unit) and self.unit > 0):
            raise ValueError(f"unit {self.unit} found, expected a positive number")

    def __str__(self) -> str:
        return f"{self.name} {self.shape}"


def is_along_channels(parts: Sequence[Part]) -> bool:
    """Return whether parts are joined along their first axis, all others being of one size; else they are flattened."""
    return len({part.shape[1:] for part in parts}) == 1


def joined_shape(parts: Sequence[Part]) -> Shape:
    """Return the shape of parts side by side: (sum of C, ...), or (sum of sizes,) where they are flattened."""
    rest = parts[0].shape[1:] if is_along_channels(parts) else ()
    return (places(parts)[-1].stop, *rest)


def places(parts: Sequence[Part]) -> list[slice]:
    """Return where each part lies along the first axis of what they are joined to."""
    along = is_along_channels(parts)
    ends = accumulate((part.shape[0] if along else prod(part.shape) for part in parts), initial=0)
    return [slice(start, stop) for start, stop in pairwise(ends)]


def units(parts: Sequence[Part]) -> np.ndarray:
    """Return the unit of every channel of what parts are joined to, (C,) float64."""
    return np.repeat([part.unit for part in parts], [place.stop - place.start for place in places(parts)])
