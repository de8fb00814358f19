"""Sums of payloads: over the timesteps of a run, and over samples. Loops, for torch's own are ten times as slow."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sim.jit import jit

#: Sums that are kept in a core's first cache while all summands go by.
_TILE = 4096


@jit
def _add(summands: np.ndarray, sums: np.ndarray) -> None:
    """Add bytes to the first of some sums, int32: from zero on, which the compiler needs to take many at once."""
    for s in range(summands.size):
        sums[s] += summands[s]


@jit
def _over_steps(payload: np.ndarray, total: np.ndarray) -> None:
    """Sum payloads (N, T, S) over the second axis: (N, S) float32."""
    samples, steps, size = payload.shape
    sums = np.empty(_TILE, np.int32)
    for n in range(samples):
        for start in range(0, size, _TILE):
            into = total[n, start : start + _TILE]
            sums[:] = 0
            for t in range(steps):
                _add(payload[n, t, start : start + _TILE], sums)
            for s in range(into.size):
                into[s] = sums[s]


@jit
def _over_samples(payload: np.ndarray, total: np.ndarray) -> None:
    """Add payloads (M, S) up over the first axis: (S,) int32."""
    rows, size = payload.shape
    for start in range(0, size, _TILE):
        sums = total[start : start + _TILE]
        for m in range(rows):
            _add(payload[m, start : start + _TILE], sums)


def sum_over_steps(payload: Tensor) -> Tensor:
    """Sum payloads (N, T, C, ...), a byte each, over a run: (N, C, ...) float32, whose 24 bits hold any such sum."""
    if payload.shape[1] == 1:
        return payload[:, 0].float()
    last = payload.movedim(2, -1).contiguous()
    total = torch.empty((len(last), *last.shape[2:]))
    _over_steps(last.flatten(2).numpy(), total.view(len(total), -1).numpy())
    return total.movedim(-1, 1)


def sum_over_samples(emitted: Tensor) -> np.ndarray:
    """Sum what is emitted (N, T, C, ...), bytes or int64, over samples and timesteps: (C, ...) int64."""
    if emitted.dtype is torch.int64:
        return emitted.sum((0, 1)).numpy()
    last = emitted.movedim(2, -1).contiguous()
    # 32 bits hold 255 times all timesteps that there may be, of thousands of samples.
    total = np.zeros(last.shape[2:], np.int32)
    _over_samples(last.flatten(2).flatten(0, 1).numpy(), total.reshape(-1))
    return np.moveaxis(total.astype(np.int64), -1, 0)
