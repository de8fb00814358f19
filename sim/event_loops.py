"""Compiled loops over what fires: payloads listed, lists multiplied, and neurons scanned while currents are in cache.

`sim.events` says when they run; the products are those of `sim.event_pixels` and `sim.event_rows`.
"""

from __future__ import annotations

import numpy as np

from sim import scan
from sim.event_pixels import by_pixels
from sim.event_rows import by_rows
from sim.jit import jit
from sim.vnni import LANES, QUAD, by_step, compress_four, compress_three, compress_two, silence

#: Pixels that tell whether few enough channels fire.
PIXELS = 32


@jit
def _share_active(x: np.ndarray) -> float:
    """Return the share of channels that fire in some pixels of `x` (N, steps, P, C), of one sample after the other.

    A few pixels are enough: the answer decides which kernel is faster, never what it computes.
    """
    samples, steps, pixels, channels = x.shape
    looked = min(PIXELS, samples * pixels)
    fires = np.empty(channels, np.uint8)
    count = 0
    for i in range(looked):
        n, p = i % samples, i * pixels // looked
        fires[:] = 0
        for t in range(steps):
            fires |= x[n, t, p]
        count += np.count_nonzero(fires)
    return count / (channels * looked)


@jit
def most_quads(pixels: int, channels: int) -> int:
    """Return how many fours the lists of a sample have room for: all channels, and whole registers behind the last."""
    return pixels * -(-channels // QUAD) + 2 * QUAD


@jit
def _list_active(x: np.ndarray, payloads: np.ndarray, listed: np.ndarray, starts: np.ndarray) -> None:
    """List, pixel after pixel, the channels of `x` (N, 4 to 2 timesteps, P, C), uint8, contiguous, that fire.

    Parameters
    ----------
    payloads : ndarray (N, most_quads(P, C), 4 timesteps, 4), uint8
        Written: the payloads of the listed channels, four of them together, as `sim.vnni` takes them.
    listed : ndarray (N, most_quads(P, C), 4), int32
        Written: which they are, channel c of pixel p as p * C + c.
    starts : ndarray (N, P + 1), int64
        Written: where the fours of each pixel begin, and where all end; what is beyond them means nothing.
    """
    samples, steps, pixels, channels = x.shape
    for n in range(samples):
        source, active, where = x[n].ctypes.data, payloads[n].ctypes.data, listed[n].ctypes.data
        end = 0
        for p in range(pixels):
            starts[n, p] = end
            # Both lists take four bytes a channel.
            count, first = QUAD * end, channels * p
            for c in range(0, channels, LANES):
                places = active + 4 * count, where + 4 * count
                given = source + first + c, x.strides[1], channels - c, first + c
                if steps == 4:
                    count += compress_four(*given, *places)
                elif steps == 3:
                    count += compress_three(*given, *places)
                else:
                    count += compress_two(*given, *places)
            # The last four are filled up.
            silence(first, active + 4 * count, where + 4 * count)
            end = (count + QUAD - 1) // QUAD
        starts[n, pixels] = end
        # Not before all is written: what was stored piece by piece is waited for.
        for quad in range(0, end, QUAD):
            by_step(active + 4 * QUAD * quad)


@jit
def convolve(
    x: np.ndarray, weight: np.ndarray, runs: np.ndarray, rows: np.ndarray, width: int, most: float, out: np.ndarray
) -> bool:
    """Convolve what fires, where it is few enough; return whether it was.

    Parameters
    ----------
    x : ndarray (N, 4 to 2 timesteps, P, C), uint8, contiguous
    weight, runs, rows, width
        Of `EventPixels` or of `EventRows`: runs, or rows.
    most : float
        Share of channels that may fire.
    out : ndarray (N, timesteps, P_out, C_out), float32
        Written.
    """
    samples, _, pixels, channels = x.shape
    if most < 1 and _share_active(x) > most:
        return False
    quads = most_quads(pixels, channels)
    payloads = np.empty((samples, quads, QUAD, QUAD), np.uint8)
    listed = np.empty((samples, quads, QUAD), np.int32)
    starts = np.empty((samples, pixels + 1), np.int64)
    _list_active(x, payloads, listed, starts)
    if runs.shape[0] > 0:
        by_pixels(weight, runs, payloads, listed, starts, out)
    else:
        by_rows(weight, rows, width, payloads, listed, starts, out)
    return True


@jit
def fire(
    x: np.ndarray,
    steps: int,
    weight: np.ndarray,
    runs: np.ndarray,
    rows: np.ndarray,
    width: int,
    most: float,
    part: int,
    skip: np.ndarray,
    skip_weight: np.ndarray,
    theta: np.ndarray,
    inverse: np.ndarray,
    bias: np.ndarray,
    initial: np.ndarray,
    potential: np.ndarray,
    places: np.ndarray,
    resume: bool,
    keep: bool,
    phi: int,
    limit: float,
    burst: np.ndarray,
) -> int:
    """Convolve what fires and scan the neurons, some samples at a time, so that their currents stay in cache.

    Parameters
    ----------
    x : ndarray (N, T, P, C), uint8, contiguous
    steps : int
        Timesteps of a list, a divisor of T.
    weight, runs, rows, width, most
        As of `convolve`.
    part : int
        Samples at a time.
    skip, skip_weight, theta, inverse, bias, initial, potential, places, resume, keep, phi, limit
        As of `sim.scan.fire`, `places` its rows.
    burst : ndarray (N, T, P_out, C_out), uint8
        Written, unless too many fire.

    Returns
    -------
    int
        How often the potential was clipped; -1 where so many payloads fire that dense kernels are faster.
    """
    samples, timesteps, pixels, channels = burst.shape
    each = timesteps // steps
    groups = x.reshape(samples * each, steps, x.shape[2], x.shape[3])
    if _share_active(groups) > most:
        return -1
    current = np.empty((min(part, samples), timesteps, pixels, channels), np.float32)
    clipped = 0
    for start in range(0, samples, part):
        end = min(start + part, samples)
        some = current[: end - start]
        out = some.reshape((end - start) * each, steps, pixels, channels)
        convolve(groups[start * each : end * each], weight, runs, rows, width, 1.0, out)
        clipped += scan.fire(
            some.reshape(end - start, timesteps, pixels * channels),
            skip[start:end],
            skip_weight,
            theta,
            inverse,
            bias,
            initial,
            potential,
            places[start:end],
            resume,
            keep,
            phi,
            limit,
            burst[start:end].reshape(end - start, timesteps, pixels * channels),
        )
    return clipped
