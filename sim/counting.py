"""Compiled loops that add up payloads neuron by neuron; arrays are channels-last, as in `sim.scan`."""

from __future__ import annotations

import numpy as np

from sim.jit import jit

#: Neurons whose sums stay in first-level cache, and payloads whose sum 16 bits hold.
TILE, CARRY = 4096, 2**16 // 256


@jit
def count(payload: np.ndarray, rows: np.ndarray, total: np.ndarray, events: np.ndarray) -> None:
    """Add up |payload| and the number of non-zero payloads of each neuron.

    Parameters
    ----------
    payload : ndarray (R, M), int8 or uint8
    rows : ndarray (K,), int64
        Those that count, each as often as it is named.
    total, events : ndarray (M,), int32
        Added to: K is below 2**23, and 255 * 2**23 is below 2**31.
    """
    # Sums of 16 bits, twice as many at once as of 32, carried over before they could leave their type.
    sums, counts = np.zeros(TILE, np.uint16), np.zeros(TILE, np.uint16)
    silent = np.zeros(TILE, payload.dtype)
    neurons = payload.shape[1]
    for start in range(0, neurons, TILE):
        size = min(TILE, neurons - start)
        added = 0
        # Four rows at once: memory, which is what this waits for, delivers them side by side.
        for k in range(0, len(rows), 4):
            one = payload[rows[k], start : start + size]
            two = payload[rows[k + 1], start : start + size] if k + 1 < len(rows) else silent
            three = payload[rows[k + 2], start : start + size] if k + 2 < len(rows) else silent
            four = payload[rows[k + 3], start : start + size] if k + 3 < len(rows) else silent
            for i in range(size):
                sums[i] += _magnitude(one[i]) + _magnitude(two[i]) + _magnitude(three[i]) + _magnitude(four[i])
                counts[i] += np.uint16(one[i] != 0) + np.uint16(two[i] != 0)
                counts[i] += np.uint16(three[i] != 0) + np.uint16(four[i] != 0)
            added += 4
            if added == CARRY:
                _carry(sums, counts, total[start : start + size], events[start : start + size])
                added = 0
        _carry(sums, counts, total[start : start + size], events[start : start + size])


@jit
def _magnitude(payload: int) -> np.uint16:
    return np.uint16(abs(np.int16(payload)))


@jit
def _carry(sums: np.ndarray, counts: np.ndarray, total: np.ndarray, events: np.ndarray) -> None:
    for c in range(total.shape[0]):
        total[c] += np.int32(sums[c])
        events[c] += np.int32(counts[c])
        sums[c], counts[c] = 0, 0


@jit
def count_digits(
    number: np.ndarray, sums: np.ndarray, counts: np.ndarray, total: np.ndarray, events: np.ndarray
) -> None:
    """Add up the digits of numbers, and how many are not zero, of each neuron.

    Parameters
    ----------
    number : ndarray (B, M), uint8
    sums, counts : ndarray (numbers,), int32
        Of the digits of each number.
    total, events : ndarray (M,), int32
        Added to: B is below 2**23, and 255 * 2**23 below 2**31.
    """
    for b in range(number.shape[0]):
        row = number[b]
        for c in range(row.shape[0]):
            total[c] += sums[row[c]]
            events[c] += counts[row[c]]
