"""Values that are the same all over a channel: what scales and biases are kept as."""

from __future__ import annotations

import numpy as np

from toolchain.netlist import Shape, per_channel


def widened(channels: np.ndarray, shape: Shape) -> np.ndarray:
    """View one value per channel (C,) as a whole array of `shape`, (C, ...)."""
    return np.broadcast_to(per_channel(channels, shape), shape)


def channel_values(values: np.ndarray) -> np.ndarray | None:
    """Return the one value per channel (C,) of `values` (C, ...); None where a channel holds several.

    The inverse of `widened`.
    """
    channels: np.ndarray = values.reshape(values.shape[0], -1)[:, 0].copy()
    return channels if np.array_equal(values, widened(channels, values.shape)) else None
