"""What the next sample may hold that no calibration sample did: an activation greater than any before.

If samples come in no order, the next of them sets a new record of a channel with probability 1 / (N + 1), whatever the
distribution: beside the N that were seen, a record counts as one more. How great it is cannot be read off a
channel that was hardly active, but its layer tells: the greatest activations of all channels are what a channel reaches
when its time comes. Thresholds that only know the N samples clip there: of a channel that speaks up for one
kind of picture and was calibrated on others, nearly everything.
"""

from __future__ import annotations

import numpy as np


def record_error(tops: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Return the squared error that is to be expected of one record where activations are clipped.

    Parameters
    ----------
    tops : ndarray (C,), float64
        Greatest activation of every channel of the layer on the calibration samples: a record is any of them.
    limit : ndarray (...), float64
        What activations are clipped at, phi * Vth.

    Returns
    -------
    ndarray (...), float64
        Mean over the records of ``max(record - limit, 0)**2``.

    Examples
    --------
    >>> record_error(np.array([1.0, 3.0]), np.array([0.0, 2.0, 3.0]))
    array([5. , 0.5, 0. ])
    """
    ordered = np.sort(tops)
    # Number, sum and sum of squares of the records from each one on, and of none beyond the last.
    number, first, second = (
        np.append(np.cumsum(powers[::-1])[::-1], 0.0) for powers in (np.ones_like(ordered), ordered, ordered**2)
    )
    beyond = np.searchsorted(ordered, limit, side="right")
    # What is left of a difference of equal sums is rounding.
    squares = second[beyond] - 2 * limit * first[beyond] + limit**2 * number[beyond]
    return np.asarray(np.maximum(squares, 0.0) / tops.size)
