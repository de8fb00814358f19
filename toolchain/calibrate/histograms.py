"""Histograms of the ANN's activations: what thresholds are chosen by, at a cost that does not grow with the samples."""

from __future__ import annotations

from collections.abc import Iterator
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


@dataclass(frozen=True, eq=False)
class Histogram:
    """Activations of one unit, per channel.

    Parameters
    ----------
    counts : ndarray (C, BINS), float64
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


@jit
def _count(values: np.ndarray, top: np.ndarray, counts: np.ndarray) -> None:
    """Count positive values (N, C, S), float32, in bins from 0 to `top` (C,): counts (C, BINS), float64."""
    samples, channels, positions = values.shape
    bins = counts.shape[1]
    for n in range(samples):
        for c in range(channels):
            for s in range(positions):
                value = values[n, c, s]
                if value > 0:
                    counts[c, min(int(value / top[c] * np.float32(bins)), bins - 1)] += 1


def count(value: Tensor, top: np.ndarray, counts: np.ndarray) -> None:
    """Count the activations (N, C, ...) of a unit, float32, in bins up to `top` (C,): added to `counts` (C, BINS).

    Exact zeros are left out, they cost nothing: every threshold maps an activation of zero to no spike without error,
    so zeros do not influence the search.
    """
    # A channel that is never active has a top of 0; the least positive number keeps the quotient finite.
    least = np.maximum(top.astype(np.float32), np.finfo(np.float32).tiny)
    _count(value.reshape(*value.shape[:2], -1).contiguous().numpy(), least, counts)


def histogram(value: Tensor) -> Histogram:
    """Count the activations (N, C, ...) of a unit, float32."""
    found = Histogram(np.zeros((value.shape[1], BINS)), _tops(value), prod(value.shape[2:]))
    count(value, found.top, found.counts)
    return found


def _tops(value: Tensor) -> np.ndarray:
    """Return the greatest value of every channel, (C,) float64."""
    return value.transpose(0, 1).flatten(1).amax(1).double().numpy()


def collect_histograms(network: FloatNetwork, x: SampleTensor, *, progress: Progress = silent) -> dict[str, Histogram]:
    """Run the ANN twice: for the largest activation of every unit that will fire, and to count.

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
    names = {u.name for u in network.activations}
    parts = chunks(x.shape[0], network.widest)

    def greatest(part: slice) -> dict[str, np.ndarray]:
        return {name: _tops(value) for name, value in _checked(network, x[part]) if name in names}

    with progress("activations of the ANN", 2 * len(parts)) as advance:
        top: dict[str, np.ndarray] = {}
        for tops in each_chunk(greatest, parts):
            top = {name: np.maximum(top.get(name, value), value) for name, value in tops.items()}
            advance()

        # All chunks count in the same bins: bins of their own would be as large as the weights.
        found = {
            name: Histogram(np.zeros((value.size, BINS)), value, prod(network[name].shape[1:]))
            for name, value in top.items()
        }
        locks = {name: Lock() for name in top}

        def counted(part: slice) -> None:
            for name, value in iterate(network, x[part]):
                if name in names:
                    with locks[name]:
                        count(value, top[name], found[name].counts)

        for _ in each_chunk(counted, parts):
            advance()
    return found


def _checked(network: FloatNetwork, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    for name, value in iterate(network, x):
        # Of NaN the least and the greatest value are NaN.
        if not all(bool(torch.isfinite(end)) for end in torch.aminmax(value)):
            raise InputError(name, "the network's activations are NaN or infinite", "check the weights")
        yield name, value
