"""Thresholds at a price: what a channel's error costs the outputs, against what its spikes cost.

Eq. 13 takes the threshold of least error whatever it spends. Here every channel of the network takes

    argmin over Vth of  influence * error(Vth) + price * operations(Vth)

with the error of ClipFloor and the operations (spikes times fan-out) that it implies. One price serves
all channels: at the optimum the last operation buys the same in each of them. Greater prices give
coarser thresholds; price 0 is eq. 13.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.calibrate.thresholds import Histogram, Thresholds, clip_floor, initial_and_drift
from toolchain.network import Activation, Firing

#: Candidates for Vth / T, the finest average that a spike changes, relative to the largest activation.
LEVELS = np.geomspace(1 / 512, 1.0, 120)


@dataclass(frozen=True, eq=False)
class PricedUnit:
    """Error and operations of one activation at every candidate threshold.

    Parameters
    ----------
    threshold, error, operations : ndarray (candidates, C), float64
        Vth; squared error of the outputs per sample; operations per sample.
    """

    threshold: np.ndarray
    error: np.ndarray
    operations: np.ndarray

    def choose(self, price: float) -> np.ndarray:
        """Return the threshold of every channel at a price per operation, (C,) float64."""
        best = np.argmin(self.error + price * self.operations, axis=0)
        chosen = np.take_along_axis(self.threshold, best[None], axis=0)[0]
        active = chosen > 0
        fallback = chosen[active].max() if active.any() else 1.0
        return np.where(active, chosen, fallback)


def price_unit(
    unit: Activation,
    data: Histogram,
    samples: int,
    influence: np.ndarray,
    synapses: np.ndarray,
    phi: int,
    options: Thresholds,
) -> PricedUnit:
    """Evaluate the candidates of one activation.

    Parameters
    ----------
    unit : Activation
    data : Histogram
    samples : int
        How many samples the histogram counts.
    influence : ndarray (C,), float64
        `toolchain.calibrate.influence`.
    synapses : ndarray `unit.shape`, integer
        Fan-out of every neuron.
    phi : int
    options : Thresholds
        Timesteps, and where the membrane potential starts.
    """
    timesteps = options.timesteps
    initial, drift = initial_and_drift(options.init, timesteps)
    offset = initial + drift * timesteps
    fan_out = synapses.reshape(unit.shape[0], -1).mean(axis=1)
    x, counts = data.values, data.counts / samples
    thresholds, errors, operations = [], [], []
    for level in LEVELS:
        threshold = level * timesteps * data.top
        safe = np.where(threshold > 0, threshold, 1.0)[:, None]
        emitted = clip_floor(x, safe, phi, timesteps, offset)
        thresholds.append(threshold)
        errors.append(((emitted - x) ** 2 * counts).sum(axis=1) * influence)
        operations.append((emitted / safe * counts).sum(axis=1) * timesteps * fan_out)
    return PricedUnit(np.array(thresholds), np.array(errors), np.array(operations))


def fire_at_price(
    units: Mapping[str, PricedUnit], price: float, phi: Mapping[str, int], options: Thresholds
) -> dict[str, Firing]:
    """Return how every activation fires at a price per operation."""
    initial, drift = initial_and_drift(options.init, options.timesteps)
    return {
        name: Firing(phi[name], threshold, np.full(threshold.shape, initial), drift)
        for name, threshold in ((name, unit.choose(price)) for name, unit in units.items())
    }
