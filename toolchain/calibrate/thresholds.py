"""Thresholds: minimise the squared error between ClipFloor and the ANN's activation, per channel.

Eq. 13 of the appendix (Wang et al., AAAI 2025; after Li et al. 2021) with bursts: T timesteps of up to
phi spikes give phi * T + 1 levels, so

    ClipFloor(x) = Vth / T * clip(floor(x * T / Vth + u0), 0, phi * T)

with u0 = 0.5 where the membrane starts (or drifts) by half a threshold. The search runs over a grid of
thresholds relative to the channel's largest activation / phi. Activations enter as histograms, so
that the cost does not grow with the number of samples, and one more with them, that none of the samples held
(`toolchain.calibrate.records`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from sim.threads import one_thread
from toolchain.calibrate.histograms import BINS, Histogram
from toolchain.calibrate.records import record_error
from toolchain.netlist import Radix
from toolchain.network import Firing, FloatNetwork, shared_amplitudes

#: Candidate thresholds relative to max / phi, the least that still reaches the largest activation. Greater ones, in
#: steps of 19 %, leave room for records, whatever part of its layer's range a channel used; levels get coarser.
GRID = np.concatenate([np.linspace(0.01, 1.0, 100), np.geomspace(1.0, 4096.0, 49)[1:]])

Init = Literal["half", "zero", "spread"]
ThresholdMethod = Literal["mse", "max", "percentile"]


def initial_and_drift(init: Init, timesteps: int) -> tuple[float, float]:
    """Return the initial membrane potential and the drift per timestep, in thresholds.

    `half` starts at half a threshold, `zero` at none; `spread` adds half a threshold in T equal
    parts (the paper's released code). Semantics, section 2.
    """
    return {"half": (0.5, 0.0), "zero": (0.0, 0.0), "spread": (0.0, 0.5 / timesteps)}[init]


def clip_floor(x: np.ndarray, threshold: np.ndarray, phi: int, timesteps: int, offset: float) -> np.ndarray:
    """Average activation that a neuron with a constant input `x` emits over a run (eq. 12 with bursts).

    Parameters
    ----------
    x : ndarray, float64
        Real inputs, activations of the ANN.
    threshold : ndarray, float64
        Vth, positive; broadcasts with `x`.
    phi, timesteps : int
    offset : float
        What the membrane potential starts with, or drifts by over the run, in thresholds.

    Examples
    --------
    >>> clip_floor(np.array([0.0, 0.49, 0.5, 9.0]), np.array(1.0), phi=2, timesteps=2, offset=0.0)
    array([0. , 0. , 0.5, 2. ])
    """
    levels = np.clip(np.floor(x * timesteps / threshold + offset), 0, phi * timesteps)
    return np.asarray(levels * threshold / timesteps)


def search_threshold(data: Histogram, phi: int, timesteps: int, offset: float) -> np.ndarray:
    """Choose the threshold of every channel (eq. 13).

    Parameters
    ----------
    data : Histogram
    phi, timesteps : int
    offset : float
        What the membrane potential starts with, or drifts by over the run, in thresholds.

    Returns
    -------
    ndarray (C,), float64
        0 for a channel that is never active.
    """
    errors = squared_errors(data, GRID / phi, phi, grid_tables(phi, timesteps, offset)[0])
    return np.asarray(GRID[np.argmin(errors, axis=1)] * data.top / phi)


def squared_errors(data: Histogram, thresholds: np.ndarray, phi: int, table: np.ndarray) -> np.ndarray:
    """Sum up the squared errors of a histogram's activations, and of a record, (C, M) float64.

    Parameters
    ----------
    data : Histogram
    thresholds : ndarray (M,), float64
        Candidates for Vth, relative to the largest activation of a channel.
    phi : int
    table : ndarray (BINS, M), float64
        Their squared errors, as `level_tables` gives them.
    """
    top = data.top[:, None]
    # A channel that never fired takes the layer's greatest threshold (`active_or_greatest`), which no record exceeds.
    records = np.where(top > 0, record_error(data, phi * thresholds * top), 0.0)
    return np.asarray(sum_bins(data, table) * top**2 + records)


def level_tables(thresholds: np.ndarray, phi: int, timesteps: int, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Say what ClipFloor makes of every bin of a histogram at every candidate threshold.

    Both are relative to the largest activation of a channel, and so the same for all channels.

    Parameters
    ----------
    thresholds : ndarray (M,), float64
        Candidates for Vth.
    phi, timesteps : int
    offset : float
        What the membrane potential starts with, or drifts by over the run, in thresholds.

    Returns
    -------
    errors, count : ndarray (BINS, M), float64
        Squared errors; how often the neuron fires over a run.
    """
    x = (np.arange(BINS) + 0.5)[:, None] / BINS
    emitted = clip_floor(x, thresholds, phi, timesteps, offset)
    return (emitted - x) ** 2, emitted / thresholds * timesteps


@lru_cache(maxsize=4)
def grid_tables(phi: int, timesteps: int, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Return `level_tables` of the grid: many units in a row ask for the same. Not to be written to."""
    return level_tables(GRID / phi, phi, timesteps, offset)


@one_thread()
def sum_bins(data: Histogram, table: np.ndarray) -> np.ndarray:
    """Sum up over a histogram's bins what a table (BINS, M) says of each of them, (C, M) float64."""
    counts, table = (np.ascontiguousarray(numbers, np.float64) for numbers in (data.counts, table))
    return (torch.from_numpy(counts) @ torch.from_numpy(table)).numpy()


def percentile_threshold(data: Histogram, phi: int, percentile: float) -> np.ndarray:
    """Choose the threshold so that a burst of phi at every timestep stands for this percentile.

    Parameters
    ----------
    data : Histogram
    phi : int
    percentile : float
        Of the positive activations of each channel; 100 is the maximum.

    Returns
    -------
    ndarray (C,), float64
        Upper edge of the bin where the percentile lies, over phi; 0 for a channel that is never active.
    """
    cumulative = np.cumsum(data.counts, axis=1)
    share = cumulative / np.maximum(cumulative[:, -1:], 1)
    index = np.argmax(share >= percentile / 100, axis=1)
    return np.asarray((index + 1) / BINS * data.top / phi)


@dataclass(frozen=True)
class Thresholds:
    """How thresholds are chosen.

    Parameters
    ----------
    timesteps : int
    init : {"half", "zero", "spread"}
    method : {"mse", "max", "percentile"}
        Eq. 13, the largest activation, or `percentile` of the activations.
    percentile : float
        For `method` "percentile".
    per_layer : bool
        One threshold for all channels of a layer.
    radix : Radix or None
        Base and digits of the numbers that neurons send, in one timestep as calibration counts; None for rates.
    """

    timesteps: int
    init: Init = "half"
    method: ThresholdMethod = "mse"
    percentile: float = 99.9
    per_layer: bool = False
    radix: Radix | None = None

    def spikes(self, count: np.ndarray) -> np.ndarray:
        """Return the spikes that say how often neurons fire over a run: as many, or the digits of the number.

        Parameters
        ----------
        count : ndarray (...), float64
            Whole numbers, but for rounding.
        """
        return count if self.radix is None else self.radix.digit_sums[np.rint(count).astype(np.int64)]

    def firing(self, phi: int, threshold: np.ndarray, shared: np.ndarray) -> Firing:
        """Return how a unit with these thresholds (C,) fires: its initial potential and drift by `init`."""
        initial, drift = initial_and_drift(self.init, self.timesteps)
        return Firing(phi, threshold, np.full(threshold.shape, initial), drift, shared=shared)

    def shared(self, network: FloatNetwork) -> dict[str, np.ndarray]:
        """Return, per activation, which channels have one threshold: those of the same number, (C,) int64."""
        if self.per_layer:
            return {u.name: np.zeros(u.shape[0], np.int64) for u in network.activations}
        return shared_amplitudes(network)


def on_shared_axis(data: Histogram, shared: np.ndarray) -> Histogram:
    """Count the channels of the same number (C,) on the axis of the most active of them: as they have one threshold."""
    _, group = np.unique(shared, return_inverse=True)
    if group.max() + 1 == group.size:
        return data
    top = np.zeros(group.max() + 1)
    np.maximum.at(top, group, data.top)
    index = (data.values / np.maximum(top, np.finfo(float).tiny)[group, None] * BINS).astype(int)
    counts = np.zeros_like(data.counts)
    np.add.at(counts, (np.arange(group.size)[:, None], np.minimum(index, BINS - 1)), data.counts)
    return Histogram(counts, top[group], data.positions)


def sum_shared(values: np.ndarray, shared: np.ndarray | None) -> np.ndarray:
    """Sum up values (candidates, C) over the channels of the same number, for each of them; None: each has its own."""
    if shared is None:
        return values
    _, group = np.unique(shared, return_inverse=True)
    sums = np.zeros((group.max() + 1, len(values)))
    np.add.at(sums, group, values.T)
    return np.asarray(sums[group].T)


def choose_threshold(data: Histogram, phi: int, options: Thresholds, shared: np.ndarray | None = None) -> np.ndarray:
    """Choose the thresholds of one unit, (C,) float64, all positive.

    Parameters
    ----------
    data : Histogram
    phi : int
        Longest burst.
    options : Thresholds
    shared : ndarray (C,), int64, optional
        Channels of the same number have one threshold; by default each has its own.
    """
    if shared is not None:
        joint = on_shared_axis(data, shared)
        data = Histogram(sum_shared(joint.counts.T, shared).T, joint.top, joint.positions)
    # What the start of the membrane potential adds to the count of a run: half a spike, or none.
    initial, drift = initial_and_drift(options.init, options.timesteps)
    offset = initial + drift * options.timesteps
    match options.method:
        case "mse":
            threshold = search_threshold(data, phi, options.timesteps, offset)
        case "max":
            threshold = percentile_threshold(data, phi, 100.0)
        case "percentile":
            threshold = percentile_threshold(data, phi, options.percentile)
    return active_or_greatest(threshold)


def active_or_greatest(threshold: np.ndarray) -> np.ndarray:
    """Give channels that are never active on the calibration data, threshold 0, the layer's greatest threshold.

    They stay silent for as much input as any of their neighbours. A layer that is silent as a whole takes 1.
    """
    active = threshold > 0
    fallback = threshold[active].max() if active.any() else 1.0
    return np.where(active, threshold, fallback)


def fire_with(
    network: FloatNetwork, histograms: Mapping[str, Histogram], phi: Mapping[str, int], options: Thresholds
) -> dict[str, Firing]:
    """Choose how every activation fires: thresholds for the given phi, initial potential by `init`.

    Parameters
    ----------
    network : FloatNetwork
    histograms : mapping of str to Histogram
        Per activation (`collect_histograms`).
    phi : mapping of str to int
        Longest burst of each.
    options : Thresholds
    """
    return {
        name: options.firing(phi[name], choose_threshold(histograms[name], phi[name], options, shared), shared)
        for name, shared in options.shared(network).items()
    }
