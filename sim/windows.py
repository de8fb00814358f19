"""Maxima over the windows of a max-pooling, in plain numpy."""

from __future__ import annotations

import numpy as np

from toolchain.netlist import MaxPool


def max_over_windows(x: np.ndarray, population: MaxPool) -> np.ndarray:
    """Maximum over the windows of `population`; `x` is (N, *input_shape)."""
    axes = len(population.kernel)
    padded = np.pad(x, ((0, 0), (0, 0), *population.padding))
    windows: np.ndarray = np.lib.stride_tricks.sliding_window_view(
        padded,
        population.kernel,
        axis=tuple(range(2, 2 + axes)),  # type: ignore[call-overload]
    )
    index = tuple(slice(None, (n - 1) * s + 1, s) for n, s in zip(population.shape[1:], population.stride, strict=True))
    strided = windows[(slice(None), slice(None), *index)]
    return np.asarray(strided.max(axis=tuple(range(2 + axes, 2 + 2 * axes))))
