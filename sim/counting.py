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
    ran : ndarray (N,), integer
        Timesteps that each sample ran: those after them do not count, a held payload counts as often.
    total, events : ndarray (M,), int32
        Added to: `ran` adds up to less than 2**23, and 255 * 2**23 is below 2**31.
    """
    samples, timesteps, neurons = payload.shape
    if timesteps == 1:
        for n in range(samples):
            times, row = np.int32(ran[n]), payload[n, 0]
            for c in range(neurons):
                value = np.int32(row[c])
                total[c] += abs(value) * times
                events[c] += np.int32(value != 0) * times
        return
    # Sums of 16 bits, twice as many at once as of 32, carried over before they could leave their type.
    sums, counts = np.zeros(TILE, np.uint16), np.zeros(TILE, np.uint16)
    silent = np.zeros(TILE, payload.dtype)
    for start in range(0, neurons, TILE):
        size = min(TILE, neurons - start)
        rows = 0
        for n in range(samples):
            steps = min(timesteps, ran[n])
            # Four timesteps at once: memory, which is what this waits for, delivers four rows side by side.
            for t in range(0, steps, 4):
                one = payload[n, t, start : start + size]
                two = payload[n, t + 1, start : start + size] if t + 1 < steps else silent
                three = payload[n, t + 2, start : start + size] if t + 2 < steps else silent
                four = payload[n, t + 3, start : start + size] if t + 3 < steps else silent
                for i in range(size):
                    sums[i] += _magnitude(one[i]) + _magnitude(two[i]) + _magnitude(three[i]) + _magnitude(four[i])
                    counts[i] += np.uint16(one[i] != 0) + np.uint16(two[i] != 0)
                    counts[i] += np.uint16(three[i] != 0) + np.uint16(four[i] != 0)
                rows += 4
                if rows == CARRY:
                    _carry(sums, counts, total[start : start + size], events[start : start + size])
                    rows = 0
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
