"""Shape aliases shared by the netlist's types.

A population's shape has no batch and no time axis: (C, H, W), (C, L) or (features,). Axis 0 is
always the channel axis, the one that per-channel thresholds, biases and scales run along.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
IntArray = NDArray[np.integer]
FloatArray = NDArray[np.floating]


def size(shape: Shape) -> int:
    """Return the number of neurons of a population of this shape."""
    return math.prod(shape)


def per_channel(values: np.ndarray, shape: Shape) -> np.ndarray:
    """View per-channel `values` (C,) so that they broadcast over a population; full arrays pass.

    Parameters
    ----------
    values : ndarray (C,) or `shape`
    shape : tuple of int
        The population's shape, (C, ...).

    Returns
    -------
    ndarray (C, 1, ...) or `shape`
    """
    if values.shape == shape:
        return values
    return values.reshape(shape[0], *(1 for _ in shape[1:]))
