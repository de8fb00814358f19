"""Histograms of the ANN's activations: what thresholds are chosen by, at a cost that does not grow with the samples."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from sim.jit import jit
from toolchain.display import Progress, silent
from toolchain.netlist import InputError
from toolchain.network import FloatNetwork, SampleTensor, chunks, each_chunk, iterate

#: Bins per channel. The histogram's error in an activation is at most half a bin, max / 4096.
BINS = 2048
#: Bins while they are counted: up to less than twice the greatest activation.
_FINE = 2 * BINS
#: Bits of the greatest float32, and where bins reach at the least.
_GREATEST, _LEAST_REACH = np.int32(0x7F7FFFFF), 2.0**-100
#: Activations that are counted together, all channels of some positions, which a core's first cache holds; of many
#: channels as many positions at the least.
_TILE, _LEAST_ROWS = 1 << 13, 16


@dataclass(frozen=True, eq=False)
class Histogram:
    """Activations of one unit, per channel.

    Parameters
    ----------
    counts : ndarray (C, BINS)
        Of 32 bits where they were collected: four thousand million activations of a channel are more than anybody has.
    top : ndarray (C,), float64
        Largest activation of the channel; bin i covers ``[i, i + 1) * top / BINS``.
    positions : int
        Of the unit, in every sample.
    """

    counts: np.ndarray
    top: np.ndarray
    positions: int

    @property
    def values(self) -> np.ndarray:
        """Centre of every bin, (C, BINS)."""
        centres: np.ndarray = (np.arange(BINS) + 0.5) / BINS * self.top[:, None]
        return centres

    @property
    def active(self) -> np.ndarray:
        """How many samples' positions a channel was active in, (C,) float64."""
        return np.asarray(self.counts.sum(axis=1) / self.positions)


class Counting:
    """A histogram of one unit in the making: nobody knows yet how far its channels reach.

    A channel's bins reach up to a power of two, which doubles when an activation comes that lies beyond; two bins
    then become one. The quotients of powers of two are exact, so counts do not depend on the order of the samples.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, _FINE), np.uint32)
        self._reach, self._top = np.zeros(channels), np.zeros(channels, np.float32)
        self._lock = Lock()

    def add(self, value: Tensor) -> bool:
        """Count activations (N, C, ...), float32, none negative; return whether all were numbers."""
        flat = value.movedim(1, -1).reshape(-1, value.shape[1]).contiguous().numpy()
        with self._lock:
            return bool(_count(flat, flat.view(np.int32), self._reach, self._top, self._counts))

    def finish(self, positions: int) -> Histogram:
        """Return the histogram, its bins up to each channel's greatest activation."""
        top = self._top.astype(np.float64)
        counts = np.zeros((top.size, BINS), np.uint32)
        least = float(np.finfo(np.float32).tiny)
        # Channel by channel: bins of all of them would be larger than what they are of.
        for own, fine, reach, most in zip(counts, self._counts, self._reach, top, strict=True):
            centres = (np.arange(_FINE) + 0.5) / _FINE * reach
            bins = (centres / max(most, least) * BINS).astype(int)
            # Sums in float64, which holds them exactly.
            own[:] = np.bincount(np.minimum(bins, BINS - 1), fine, BINS)
        return Histogram(counts, top, positions)


@jit
def _count(values: np.ndarray, bits: np.ndarray, reach: np.ndarray, top: np.ndarray, counts: np.ndarray) -> bool:
    """Count positive values of every channel; return whether all were finite.

    Parameters
    ----------
    values : ndarray (rows, C), float32
        Exact zeros are left out, they cost nothing: every threshold maps an activation of zero to no spike without
        error, so zeros do not influence the search.
    bits : ndarray (rows, C), int32
        The same memory: the bits of floats are in the order of their magnitudes, and a loop over whole numbers takes
        many at once.
    reach, top : ndarray (C,), float64 and float32
        Where bins end, 0 before the first activation, and the greatest value; written.
    counts : ndarray (C, bins), uint32
        Added to.
    """
    rows, channels = values.shape
    bins = counts.shape[1]
    step = max(_TILE // channels, _LEAST_ROWS)
    found = np.empty(step, np.int32)
    most = np.empty(channels, np.int32)
    greatest = most.view(np.float32)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        most[:] = 0
        for r in range(start, stop):
            for c in range(channels):
                most[c] = max(most[c], bits[r, c] & np.int32(0x7FFFFFFF))
        for c in range(channels):
            if most[c] > _GREATEST:
                return False
            if most[c] == 0:
                continue
            top[c] = max(top[c], greatest[c])
            own, empty = counts[c], reach[c] == 0
            if empty:
                reach[c] = _LEAST_REACH
            while greatest[c] >= reach[c]:
                reach[c] *= 2
                if not empty:
                    for i in range(bins // 2):
                        own[i] = own[2 * i] + own[2 * i + 1]
                    own[bins // 2 :] = 0
            # Listed first, without a branch: which values are positive is what no processor foresees.
            scale, positive = np.float32(bins / reach[c]), 0
            for r in range(start, stop):
                found[positive] = np.int32(values[r, c] * scale)
                positive += values[r, c] > 0
            for i in range(positive):
                own[found[i]] += 1
    return True


def histogram(value: Tensor) -> Histogram:
    """Count the activations (N, C, ...) of a unit, float32."""
    counting = Counting(value.shape[1])
    counting.add(value)
    return counting.finish(prod(value.shape[2:]))


def collect_histograms(network: FloatNetwork, x: SampleTensor, *, progress: Progress = silent) -> dict[str, Histogram]:
    """Run the ANN and count the activations of every unit that will fire.

    Parameters
    ----------
    network : FloatNetwork
    x : SampleTensor (N, *source shape), float32
        Normalised calibration data.
    progress : Progress

    Returns
    -------
    dict of str to Histogram
        Per activation.

    Raises
    ------
    InputError
        When an activation is NaN or infinite.
    """
    parts = chunks(x.shape[0], network.widest)
    # All chunks count in the same bins: bins of their own would be as large as the weights.
    counting = {u.name: Counting(u.shape[0]) for u in network.activations}

    def counted(part: slice) -> None:
        for name, value in iterate(network, x[part]):
            if not (counting[name].add(value) if name in counting else _finite(value)):
                raise InputError(name, "the network's activations are NaN or infinite", "check the weights")

    with progress("activations of the ANN", len(parts)) as advance:
        for _ in each_chunk(counted, parts):
            advance()
    # One after the other goes: its bins are twice as many.
    return {name: counting.pop(name).finish(prod(network[name].shape[1:])) for name in list(counting)}


def _finite(value: Tensor) -> bool:
    # Of NaN the least and the greatest value are NaN.
    return all(bool(torch.isfinite(end)) for end in torch.aminmax(value))
