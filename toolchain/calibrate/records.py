"""What the next sample may hold that no calibration sample did: an activation greater than any before.

A channel that was active in as much as m samples is known by these. If samples come in no order, the next one in which
it is active sets a new record with probability 1 / (m + 1), whatever the distribution. How great it
is cannot be read off a channel that was hardly active, but its layer tells: the greatest activations of all channels
are what a channel reaches when its time comes. Thresholds that only know the calibration samples clip there: of a
channel that speaks up for one kind of picture and was calibrated on others, nearly everything.
"""

from __future__ import annotations

import numpy as np

from toolchain.calibrate.histograms import Histogram


def record_error(data: Histogram, limit: np.ndarray) -> np.ndarray:
    """Return the squared error that is to be expected of one more sample's record where activations are clipped.

    Parameters
    ----------
    data : Histogram
        Of the calibration samples. A record is any of the channels' greatest activations, each as likely.
    limit : ndarray (C, M), float64
        What activations are clipped at, phi * Vth.

    Returns
    -------
    ndarray (C, M), float64
        ``mean over records of max(record - limit, 0)**2 / (m + 1)``.
    """
    ordered = np.sort(data.top)
    # Number, sum and sum of squares of the records from each one on, and of none beyond the last.
    number, first, second = (
        np.append(np.cumsum(powers[::-1])[::-1], 0.0) for powers in (np.ones_like(ordered), ordered, ordered**2)
    )
    beyond = np.searchsorted(ordered, limit, side="right")
    # What is left of a difference of equal sums is rounding.
    squares = np.maximum(second[beyond] - 2 * limit * first[beyond] + limit**2 * number[beyond], 0.0)
    return np.asarray(squares / ordered.size / (data.active[:, None] + 1))
