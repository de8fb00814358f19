"""What the levels of activations cost the outputs, for other bursts and timesteps than those that ran.

A neuron says phi * T + 1 values. What that leaves of each activation's error (eq. 13), weighed by what an error of the
channel moves at the outputs, adds up over the layers: a number that is only good for ratios. It knows neither
uneven bursts nor rounded weights, but both shrink with the threshold as the levels do. A measured error of the outputs
times the root of a ratio is the estimate for another setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from toolchain.calibrate.calibrator import Calibrator
from toolchain.calibrate.thresholds import (
    GRID,
    grid_tables,
    initial_and_drift,
    on_shared_axis,
    squared_errors,
    sum_bins,
)


class Levels:
    """Errors of the outputs and operations that the levels of every activation imply.

    Parameters
    ----------
    calibrator : Calibrator
    """

    def __init__(self, calibrator: Calibrator) -> None:
        self._calibrator = calibrator
        self._shared = calibrator.thresholds.shared(calibrator.network)
        self._estimate = cache(self._compute)

    def _compute(self, name: str, phi: int, timesteps: int) -> tuple[float, float]:
        """Return squared error and operations per sample of one activation."""
        calibrator = self._calibrator
        fan_out = calibrator.fan_out.get(name)
        if fan_out is None:
            return 0.0, 0.0
        data = on_shared_axis(calibrator.histograms[name], self._shared[name])
        initial, drift = initial_and_drift(calibrator.thresholds.init, timesteps)
        tables = grid_tables(phi, timesteps, initial + drift * timesteps)
        errors, spikes = squared_errors(data, GRID / phi, phi, tables[0]), sum_bins(data, tables[1])
        best = np.argmin(errors, axis=1)[:, None]
        error = np.take_along_axis(errors, best, 1)[:, 0] * calibrator.influence[name]
        operations = np.take_along_axis(spikes, best, 1)[:, 0] * fan_out
        return float(error.sum()) / len(calibrator.data), float(operations.sum()) / len(calibrator.data)

    def error(self, phi: Mapping[str, int], timesteps: int) -> float:
        """Return the squared error of the outputs for the longest bursts given per activation, and T."""
        return sum(self._estimate(name, longest, timesteps)[0] for name, longest in phi.items())

    def lengthen(self, phi: Mapping[str, int], error: float, longest: int) -> dict[str, int]:
        """Double the longest bursts of activations, the most useful first, until the error is within one.

        Parameters
        ----------
        phi : mapping of str to int
            Per activation.
        error : float
            Squared error that is wanted.
        longest : int
            No burst becomes longer.

        Returns
        -------
        dict of str to int
            As given where nothing helps.
        """
        timesteps, found = self._calibrator.thresholds.timesteps, dict(phi)

        def worth(name: str) -> float:
            (before, spent), (after, spends) = (
                self._estimate(name, n, timesteps) for n in (found[name], min(2 * found[name], longest))
            )
            return (before - after) / max(spends - spent, 1.0)

        left = self.error(found, timesteps)
        while left > error:
            open_to = [name for name, n in found.items() if n < longest and worth(name) > 0]
            if not open_to:
                break
            best = max(open_to, key=worth)
            left -= self._estimate(best, found[best], timesteps)[0]
            found[best] = min(2 * found[best], longest)
            left += self._estimate(best, found[best], timesteps)[0]
        return found
