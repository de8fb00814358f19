"""How the arguments of ATen operations are read: constants arrive as float64 tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from toolchain.frontend.expression import Refusal
from toolchain.frontend.operations import is_value
from toolchain.netlist import Pairs


def per_axis(value: int | Sequence[int], n: int) -> tuple[int, ...]:
    """Return one number per spatial axis: ATen takes one for all, too."""
    values = [value] * n if isinstance(value, int) else list(value)
    return tuple(values * n if len(values) == 1 else values)


def per_side(value: int | Sequence[int], n: int) -> Pairs:
    """Return symmetric padding as (before, after) per spatial axis."""
    return tuple((p, p) for p in per_axis(value, n))


def fixed(tensor: Any) -> np.ndarray:
    """Return a weight as an array; raise when it is computed from the input."""
    if is_value(tensor):
        raise Refusal("has weights that depend on the input", "use fixed weights")
    array: np.ndarray = tensor.numpy()
    return array


def stay_floating(dtype: torch.dtype | None) -> None:
    """Raise when a result is to have a type that holds no real numbers, or hardly any (float8)."""
    if dtype is not None and (not dtype.is_floating_point or dtype.itemsize < 2):
        raise Refusal(f"casts activations to {dtype}", "keep them floating point")


def optional_fixed(tensor: Any) -> np.ndarray | None:
    """Return an optional weight as an array."""
    return None if tensor is None else fixed(tensor)
