"""Thresholds at a cost per operation: what a channel's error does to the outputs, against what its spikes cost.

Eq. 13 takes the threshold of least error whatever it spends. Here every channel of the network takes

    argmin over Vth of  influence * error(Vth) + operation_cost * operations(Vth)

with the error of ClipFloor and the operations (spikes times fan-out) that it implies. One cost per operation serves
all channels: at the optimum the last operation buys the same in each of them. Greater costs give
coarser thresholds; at cost 0 only the error counts, as in eq. 13.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.calibrate.histograms import Histogram
from toolchain.calibrate.thresholds import (
    Thresholds,
    active_or_greatest,
    initial_and_drift,
    level_tables,
    on_shared_axis,
    squared_errors,
    sum_bins,
    sum_shared,
)
from toolchain.network import Firing

#: Candidates for Vth / T, the finest average that a spike changes, relative to the largest activation. Geometric, for
#: the operations go with 1 / Vth: from one spike per run to 512 levels, in steps of 5 %.
LEVELS = np.geomspace(1 / 512, 1.0, 120)


@dataclass(frozen=True, eq=False)
class UnitCosts:
    """Error and operations of one activation at every candidate threshold.

    Parameters
    ----------
    threshold, error, operations : ndarray (candidates, C), float64
        Vth; squared error of the outputs per sample; operations per sample.
    shared : ndarray (C,), int64
        Channels of the same number have one threshold.
    """

    threshold: np.ndarray
    error: np.ndarray
    operations: np.ndarray
    shared: np.ndarray

    def _pick(self, values: np.ndarray, operation_cost: float) -> np.ndarray:
        """Return what `values` (candidates, C) are at the best candidate of every channel, (C,)."""
        best = np.argmin(sum_shared(self.error + operation_cost * self.operations, self.shared), axis=0)
        return np.take_along_axis(values, best[None], axis=0)[0]

    def choose(self, operation_cost: float) -> np.ndarray:
        """Return the threshold of every channel at a cost per operation, (C,) float64, all positive."""
        return active_or_greatest(self._pick(self.threshold, operation_cost))

    def spent(self, operation_cost: float) -> float:
        """Return the operations per sample that these thresholds imply."""
        return float(self._pick(self.operations, operation_cost).sum())


def unit_costs(
    data: Histogram,
    samples: int,
    influence: np.ndarray,
    fan_out: np.ndarray,
    phi: int,
    options: Thresholds,
    shared: np.ndarray,
) -> UnitCosts:
    """Evaluate the candidates of one activation.

    Parameters
    ----------
    data : Histogram
    samples : int
        How many samples the histogram counts.
    influence : ndarray (C,), float64
        `toolchain.calibrate.influence`.
    fan_out : ndarray (C,), float64
        Mean number of synapses that a neuron of the channel drives.
    phi : int
    options : Thresholds
        Timesteps, and where the membrane potential starts.
    shared : ndarray (C,), int64
        Channels of the same number have one threshold.
    """
    timesteps = options.timesteps
    data = on_shared_axis(data, shared)
    initial, drift = initial_and_drift(options.init, timesteps)
    offset = initial + drift * timesteps
    errors, count = level_tables(LEVELS * timesteps, phi, timesteps, offset)
    return UnitCosts(
        LEVELS[:, None] * timesteps * data.top,
        squared_errors(data, LEVELS * timesteps, phi, errors).T * influence / samples,
        sum_bins(data, options.spikes(count)).T * fan_out / samples,
        shared,
    )


def fire_at_cost(
    units: Mapping[str, UnitCosts], operation_cost: float, phi: Mapping[str, int], options: Thresholds
) -> dict[str, Firing]:
    """Return how every activation fires at a cost per operation.

    Parameters
    ----------
    units : mapping of str to UnitCosts
        Per activation.
    operation_cost : float
        In squared error of the outputs.
    phi : mapping of str to int
        Longest burst of each.
    options : Thresholds
    """
    return {name: options.firing(phi[name], unit.choose(operation_cost), unit.shared) for name, unit in units.items()}
