"""Compiled loops that add up payloads neuron by neuron; arrays are channels-last, as in `sim.scan`."""

from __future__ import annotations

import numpy as np

from sim.jit import jit

#: Neurons whose sums stay in first-level cache, and payloads whose sum 16 bits hold.
TILE, CARRY = 4096, 2**16 // 256


@jit
def count(payload: np.ndarray, ran: np.ndarray, total: np.ndarray, events: np.ndarray) -> None:
    """Add up |payload| and the number of non-zero payloads of each neuron.

    Parameters
    ----------
    payload : ndarray (N, T or 1, M), int8 or uint8
        With one timestep: held.
    ran : ndarray (N,), int64
        How many timesteps of each sample count.
    total, events : ndarray (M,), int64
        Added to.
    """
    samples, timesteps, neurons = payload.shape
    # The rows that count, each as often as it does.
    rows = np.empty(ran.sum(), np.int64)
    end = 0
    for n in range(samples):
        for t in range(ran[n]):
            rows[end] = n * timesteps + min(t, timesteps - 1)
            end += 1
    flat = payload.reshape(samples * timesteps, neurons)
    # Sums of 16 bits, four times as many at once as of 64, carried over before they could leave their type.
    sums, counts = np.zeros(TILE, np.uint16), np.zeros(TILE, np.uint16)
    silent = np.zeros(TILE, payload.dtype)
    for start in range(0, neurons, TILE):
        size = min(TILE, neurons - start)
        added = 0
        # Four rows at once: memory, which is what this waits for, delivers them side by side.
        for k in range(0, end, 4):
            one = flat[rows[k], start : start + size]
            two = flat[rows[k + 1], start : start + size] if k + 1 < end else silent
            three = flat[rows[k + 2], start : start + size] if k + 2 < end else silent
            four = flat[rows[k + 3], start : start + size] if k + 3 < end else silent
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
        total[c] += np.int64(sums[c])
        events[c] += np.int64(counts[c])
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
    total, events : ndarray (M,), int64
        Added to.
    """
    for b in range(number.shape[0]):
        row = number[b]
        for c in range(row.shape[0]):
            total[c] += sums[row[c]]
            events[c] += counts[row[c]]
