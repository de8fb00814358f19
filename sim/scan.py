"""Compiled loops over neurons: all timesteps of a population in one pass over its currents.

numba, not torch.compile: the loop carries a state over time and must be exact, and numba starts
from its cache in milliseconds (docs/performance.md has the comparison). The functions release the
interpreter lock; threads come from outside (`sim.threads`). Arrays are channels-last.
"""

from __future__ import annotations

import numpy as np

from sim.jit import jit

#: Neurons that go through all timesteps together: potentials and constants stay in first-level cache.
TILE = 1024


@jit
def fire(
    current: np.ndarray,
    skip: np.ndarray,
    skip_weight: np.ndarray,
    theta: np.ndarray,
    inverse: np.ndarray,
    bias: np.ndarray,
    initial: np.ndarray,
    potential: np.ndarray,
    rows: np.ndarray,
    resume: bool,
    keep: bool,
    phi: int,
    limit: float,
    burst: np.ndarray,
) -> int:
    """Integrate, fire and reset over all timesteps; return how often the potential was clipped.

    Parameters
    ----------
    current : ndarray (N, T or 1, M), float32 or float64
        M neurons, channels last. With one timestep: held.
    skip : ndarray (N, T or 1 or 0, M), uint8
        A payload that reaches each neuron through one synapse; with no timestep: none.
    skip_weight, theta, inverse : ndarray (tile,), float
        Synapse, threshold and 1 / threshold, repeated over a whole number of pixels.
    bias, initial : ndarray (tile,) or (M,), float
        Added at every timestep; membrane potential before the first.
    potential : ndarray (R, M), float
        Membrane potential before the first timestep and after the last.
    rows : ndarray (N,), int64
        Where in `potential` that of each sample is; of any length where it is neither read nor written.
    resume : bool
        Whether to start from `potential` instead of `initial`.
    keep : bool
        Whether to write `potential`.
    phi : int
    limit : float
        Where the potential is clipped; 0 for nowhere.
    burst : ndarray (N, T, M), uint8
        Written.

    Notes
    -----
    ``floor(u / theta)`` is ``trunc((u + 0.5) * (1 / theta))``, clipped to 0 .. phi, where
    ``4 * (phi + 1) * theta < 2**p``, p the bits of the significand (24 or 53), and |u| < 2**(p - 1);
    `sim.scan_floats.scan_dtype` sees to both:

    - u + 0.5 is exact: one bit more than u.
    - u is an integer, so u + 0.5 is at least 0.5 away from every multiple of theta, and the true quotient
      (u + 0.5) / theta at least 0.5 / theta away from every integer.
    - 1 / theta and the product are rounded once each, by 2**-p relative: up to phi + 1 the quotient is off by less than
      (phi + 1) * 2**(1 - p) * (1 + 2**-p), which is below 0.5 / theta. It stays between the same two integers.
    - Beyond phi + 1 it stays beyond phi, and below 0 it stays below 0, where the clip hides what it is.

    All sums here are of integers (and the one half) below 2**(p - 1), so none rounds and their order does not matter.
    """
    samples, timesteps, neurons = burst.shape
    tile = theta.shape[0]
    zero, half, top = theta.dtype.type(0), theta.dtype.type(0.5), theta.dtype.type(phi)
    # The clip's limits, likewise plus 0.5.
    low, high = half - theta.dtype.type(limit), half + theta.dtype.type(limit)
    # What is held, or the same for every pixel, is read at the same place again: a stride of zero.
    moving = 0 if current.shape[1] == 1 else 1
    skip_moving = 0 if skip.shape[1] == 1 else 1
    bias_moving = 0 if bias.shape[0] == tile else 1
    initial_moving = 0 if initial.shape[0] == tile else 1
    clipped = 0
    # The membrane potential plus 0.5, which firing and resetting keep: added once, not at every division.
    u = np.empty(tile, theta.dtype)
    for n in range(samples):
        for start in range(0, neurons, tile):
            size = min(tile, neurons - start)
            # Loops, not sums of arrays: numba would write each sum down and copy it.
            before = potential[rows[n], start : start + size] if resume else initial[start * initial_moving :][:size]
            for c in range(size):
                u[c] = before[c] + half
            b = bias[start * bias_moving : start * bias_moving + size]
            for t in range(timesteps):
                i = current[n, t * moving, start : start + size]
                out = burst[n, t, start : start + size]
                if skip.shape[1] > 0:
                    s = skip[n, t * skip_moving, start : start + size]
                    for c in range(size):
                        u[c] += skip_weight[c] * s[c]
                if limit > 0:
                    for c in range(size):
                        free = u[c] + i[c] + b[c]
                        v = min(max(free, low), high)
                        clipped += free != v
                        spikes = np.int32(min(max(v * inverse[c], zero), top))
                        u[c] = v - theta.dtype.type(spikes) * theta[c]
                        out[c] = np.uint8(spikes)
                else:
                    for c in range(size):
                        v = u[c] + i[c] + b[c]
                        spikes = np.int32(min(max(v * inverse[c], zero), top))
                        u[c] = v - theta.dtype.type(spikes) * theta[c]
                        out[c] = np.uint8(spikes)
            if keep:
                after = potential[rows[n], start : start + size]
                for c in range(size):
                    after[c] = u[c] - half
    return clipped


@jit
def fire_once(
    current: np.ndarray,
    skip: np.ndarray,
    skip_weight: np.ndarray,
    inverse: np.ndarray,
    offset: np.ndarray,
    phi: int,
    burst: np.ndarray,
) -> None:
    """Fire for a single timestep, after which no potential is kept: `fire` without what a state costs.

    Parameters
    ----------
    current : ndarray (N, M), float32 or float64
        M neurons, channels last.
    skip : ndarray (N, M), uint8, or (N, 0)
        A payload that reaches each neuron through one synapse; empty for none.
    skip_weight, inverse : ndarray (tile,), float
        Synapse and 1 / threshold, repeated over a whole number of pixels.
    offset : ndarray (tile,) or (M,), float
        Bias, potential before the timestep, and the half of the notes of `fire`, which hold here too.
    phi : int
    burst : ndarray (N, M), uint8
        Written.
    """
    samples, neurons = burst.shape
    tile = inverse.shape[0]
    zero, top = inverse.dtype.type(0), inverse.dtype.type(phi)
    moving = 0 if offset.shape[0] == tile else 1
    for n in range(samples):
        for start in range(0, neurons, tile):
            size = min(tile, neurons - start)
            i, out = current[n, start : start + size], burst[n, start : start + size]
            o = offset[start * moving : start * moving + size]
            if skip.shape[1] > 0:
                s = skip[n, start : start + size]
                for c in range(size):
                    v = i[c] + o[c] + skip_weight[c] * s[c]
                    out[c] = np.uint8(np.int32(min(max(v * inverse[c], zero), top)))
            else:
                for c in range(size):
                    v = i[c] + o[c]
                    out[c] = np.uint8(np.int32(min(max(v * inverse[c], zero), top)))


@jit
def sum_windows(
    x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], before: tuple[int, int], out: np.ndarray
) -> None:
    """Sum over windows of one or two spatial axes; positions outside count as zero.

    Parameters
    ----------
    x : ndarray (B, H, W, C), integer
    kernel, stride, before : pairs
        `before` is the padding in front of each axis.
    out : ndarray (B, H_out, W_out, C)
        Written; its type must hold the sums.
    """
    samples, height, width, channels = out.shape
    for n in range(samples):
        for h in range(height):
            for w in range(width):
                row = out[n, h, w]
                row[:] = 0
                for i in range(
                    max(0, h * stride[0] - before[0]), min(x.shape[1], h * stride[0] - before[0] + kernel[0])
                ):
                    for j in range(
                        max(0, w * stride[1] - before[1]), min(x.shape[2], w * stride[1] - before[1] + kernel[1])
                    ):
                        source = x[n, i, j]
                        for c in range(channels):
                            row[c] += source[c]


@jit
def grow_maxima(
    x: np.ndarray,
    total: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    before: tuple[int, int],
    out: np.ndarray,
) -> None:
    """Spiking max-pooling: how much the maximum of the summed payloads grows at each timestep.

    Parameters
    ----------
    x : ndarray (N, T or 1, H, W, C), integer or float
        With one timestep: held.
    total : ndarray (N, H, W, C), int32
        Summed payload; updated in place.
    kernel, stride, before : pairs
        `before` is the padding in front of each axis.
    out : ndarray (N, T, H_out, W_out, C), uint8
        Written.

    Notes
    -----
    No sum shrinks, so the maximum does not either, and it grows by at most the largest payload of the timestep: a
    byte. Padding counts as zero, which no sum is below.
    """
    samples, timesteps, height, width, channels = out.shape
    moving = 0 if x.shape[1] == 1 else 1
    highest = np.zeros((height, width, channels), np.int32)
    maximum = np.empty(channels, np.int32)
    for n in range(samples):
        # Timestep -1 adds nothing: it finds the maxima to grow from, those of a previous call.
        for t in range(-1, timesteps):
            if t >= 0:
                for i in range(x.shape[2]):
                    for j in range(x.shape[3]):
                        payload, sums = x[n, t * moving, i, j], total[n, i, j]
                        for c in range(channels):
                            sums[c] += np.int32(payload[c])
            for h in range(height):
                for w in range(width):
                    maximum[:] = 0
                    for i in range(
                        max(0, h * stride[0] - before[0]), min(x.shape[2], h * stride[0] - before[0] + kernel[0])
                    ):
                        for j in range(
                            max(0, w * stride[1] - before[1]), min(x.shape[3], w * stride[1] - before[1] + kernel[1])
                        ):
                            sums = total[n, i, j]
                            for c in range(channels):
                                maximum[c] = max(maximum[c], sums[c])
                    last = highest[h, w]
                    if t >= 0:
                        row = out[n, t, h, w]
                        for c in range(channels):
                            row[c] = np.uint8(maximum[c] - last[c])
                    last[:] = maximum
