"""Sums of payloads: over the timesteps of a run, and over samples. Loops, for torch's own are ten times as slow."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sim.jit import jit

#: Sums that are kept in a core's first cache while all summands go by.
_TILE = 4096


@jit
def _over_steps(payload: np.ndarray, total: np.ndarray) -> None:
    """Sum payloads (N, T, S) over the second axis: (N, S) float32."""
    samples, steps, size = payload.shape
    for n in range(samples):
        for start in range(0, size, _TILE):
            stop = min(start + _TILE, size)
            for s in range(start, stop):
                total[n, s] = payload[n, 0, s]
            for t in range(1, steps):
                for s in range(start, stop):
                    total[n, s] += np.float32(payload[n, t, s])


@jit
def _over_samples(payload: np.ndarray, total: np.ndarray) -> None:
    """Add payloads (M, S) up over the first axis: (S,) int32."""
    rows, size = payload.shape
    for start in range(0, size, _TILE):
        stop = min(start + _TILE, size)
        for m in range(rows):
            for s in range(start, stop):
                total[s] += np.int32(payload[m, s])


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
