"""The golden step of leaky populations: the arithmetic of semantics.md, section 11 in plain numpy, int64.

Lava computes in 32 bits. Where a sum leaves them (far beyond the 24 bits of a state) it wraps there as well, and
so it does here.
"""

from __future__ import annotations

import numpy as np

from toolchain.netlist import CubaLif, Leaky, per_channel
from toolchain.netlist.leaky import DECAY_UNITY, STATE_LIMIT, WEIGHT_SHIFT


def decayed(state: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """Return ``state * (4096 - decay) / 4096``, truncated toward zero.

    Examples
    --------
    >>> decayed(np.array([100, -100, 7]), np.array(410))
    array([ 89, -89,   6])
    """
    product = state * (DECAY_UNITY - decay)
    truncated: np.ndarray = np.sign(product) * (np.abs(product) // DECAY_UNITY)
    return truncated


def _in_32_bits(sums: np.ndarray) -> np.ndarray:
    return sums.astype(np.int32).astype(np.int64)


def leak(
    population: Leaky, current: np.ndarray, u: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, int]]:
    """Advance a leaky population by one timestep.

    Parameters
    ----------
    population : CubaLif or LeakyReadout
    current : ndarray (N, *shape), int64
        What arrives, in units of a weight.
    u, v : ndarray (N, *shape), int64
        Current and membrane potential, in 1/64 of a weight.

    Returns
    -------
    spikes : ndarray (N, *shape), int64
        Always 0 of a readout.
    state : (ndarray, ndarray, int)
        Current and potential after the timestep, and how often the one wrapped around or the other was clipped.
    """
    shape = population.shape
    free = _in_32_bits(decayed(u, per_channel(population.current_decay, shape)) + (current << WEIGHT_SHIFT))
    # Once, as Lava does: a sum beyond three times the limit stays beyond it.
    u = np.where(free > STATE_LIMIT, free - 2 * STATE_LIMIT, free)
    u = np.where(free <= -STATE_LIMIT, free + 2 * STATE_LIMIT, u)
    kept = decayed(v, per_channel(population.voltage_decay, shape))
    unclipped = _in_32_bits(kept + u + per_channel(population.bias, shape))
    v = np.clip(unclipped, -STATE_LIMIT + 1, STATE_LIMIT - 1)
    limited = int(np.count_nonzero(u != free)) + int(np.count_nonzero(v != unclipped))
    if not isinstance(population, CubaLif):
        return np.zeros_like(v), (u, v, limited)
    threshold = per_channel(population.threshold, shape) << WEIGHT_SHIFT
    spikes = (v > threshold).astype(np.int64)
    after = np.where(spikes == 1, 0 if population.reset == "zero" else v - threshold, v)
    return spikes, (u, after, limited)
