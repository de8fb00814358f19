"""Leaky populations over time: a compiled loop for a CPU, and the same in plain torch for any device and shape.

Arithmetic is that of semantics.md, section 11: integers throughout, sums in 32 bits as Lava has them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sim.jit import jit
from toolchain.netlist import CubaLif, Leaky, Shape, per_channel
from toolchain.netlist.leaky import DECAY_UNITY, STATE_LIMIT, WEIGHT_SHIFT

#: What the loop is told of a population's end of a timestep.
READ, RESET_TO_ZERO, SUBTRACT = 0, 1, 2


def ending(population: Leaky) -> int:
    """Return whether a population is read, or how it resets."""
    if not isinstance(population, CubaLif):
        return READ
    return RESET_TO_ZERO if population.reset == "zero" else SUBTRACT


def constants(population: Leaky) -> list[np.ndarray]:
    """Return what stays of current and potential, the bias and the threshold: int64, as they broadcast over `shape`."""
    shape = population.shape
    threshold = population.threshold if isinstance(population, CubaLif) else np.zeros(shape[0], np.int64)
    return [
        per_channel(values, shape).astype(np.int64)
        for values in (
            DECAY_UNITY - population.current_decay,
            DECAY_UNITY - population.voltage_decay,
            population.bias,
            threshold << WEIGHT_SHIFT,
        )
    ]


def flat_constants(population: Leaky) -> list[np.ndarray]:
    """Return the same for every neuron, channels last: four of (M,)."""
    return [_channels_last(values, population.shape) for values in constants(population)]


def _channels_last(values: np.ndarray, shape: Shape) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(values, shape), 0, -1).reshape(-1))


def leak(population: Leaky, current: Tensor, timesteps: int, state: Tensor | None) -> tuple[Tensor, Tensor, int]:
    """Run a leaky population in plain torch.

    Parameters
    ----------
    population : CubaLif or LeakyReadout
    current : Tensor (T or 1, N, *shape), int64
        In units of a weight.
    timesteps : int
    state : Tensor (N, 2, *shape), int64, or None
        Current and membrane potential to go on from.

    Returns
    -------
    spikes (T, N, *shape) uint8 or, of a readout, potentials int64; state (N, 2, *shape) int64; how often a current
    wrapped around or a potential was clipped
    """
    keep_u, keep_v, bias, threshold = (torch.from_numpy(c).to(current.device) for c in constants(population))
    end = ending(population)
    u, v = (torch.zeros_like(current[0]),) * 2 if state is None else state.unbind(1)
    kind = torch.int64 if end == READ else torch.uint8
    output = torch.empty((timesteps, *current.shape[1:]), dtype=kind, device=current.device)
    limited = 0
    for t in range(timesteps):
        free = _in_32_bits(_kept(u, keep_u) + (current[min(t, len(current) - 1)] << WEIGHT_SHIFT))
        u = torch.where(free > STATE_LIMIT, free - 2 * STATE_LIMIT, free)
        u = torch.where(free <= -STATE_LIMIT, free + 2 * STATE_LIMIT, u)
        unclipped = _in_32_bits(_kept(v, keep_v) + u + bias)
        v = unclipped.clamp(-STATE_LIMIT + 1, STATE_LIMIT - 1)
        limited += int((u != free).sum()) + int((v != unclipped).sum())
        if end == READ:
            output[t] = v
            continue
        spikes = v > threshold
        output[t] = spikes
        v = torch.where(spikes, torch.zeros_like(v) if end == RESET_TO_ZERO else v - threshold, v)
    return output, torch.stack([u, v], 1), limited


def _kept(state: Tensor, keep: Tensor) -> Tensor:
    return torch.div(state * keep, DECAY_UNITY, rounding_mode="trunc")


def _in_32_bits(sums: Tensor) -> Tensor:
    return sums.to(torch.int32).to(torch.int64)


@jit
def scan(
    current: np.ndarray,
    keep_u: np.ndarray,
    keep_v: np.ndarray,
    bias: np.ndarray,
    threshold: np.ndarray,
    end: int,
    state: np.ndarray,
    output: np.ndarray,
) -> int:
    """Run leaky neurons over all timesteps; return how often a current wrapped around or a potential was clipped.

    Parameters
    ----------
    current : ndarray (N, T or 1, M), float
        M neurons, channels last, in units of a weight. With one timestep: held.
    keep_u, keep_v, bias, threshold : ndarray (M,), int64
        What stays of 4096; bias and threshold in 1/64 of a weight.
    end : int
        `READ`, `RESET_TO_ZERO` or `SUBTRACT`.
    state : ndarray (N, 2, M), int64
        Current and membrane potential, updated in place.
    output : ndarray (N, T, M), uint8 or int64
        Spikes, or of a readout the potential; written.
    """
    samples, timesteps, neurons = output.shape
    moving = 0 if current.shape[1] == 1 else 1
    limited = 0
    for n in range(samples):
        for t in range(timesteps):
            arriving, out = current[n, t * moving], output[n, t]
            for c in range(neurons):
                product = state[n, 0, c] * keep_u[c]
                kept = product >> 12 if product >= 0 else -((-product) >> 12)
                free = np.int64(np.int32(kept + (np.int64(arriving[c]) << 6)))
                u = free
                if free > STATE_LIMIT:
                    u = free - 2 * STATE_LIMIT
                elif free <= -STATE_LIMIT:
                    u = free + 2 * STATE_LIMIT
                product = state[n, 1, c] * keep_v[c]
                kept = product >> 12 if product >= 0 else -((-product) >> 12)
                unclipped = np.int64(np.int32(kept + u + bias[c]))
                v = min(max(unclipped, -STATE_LIMIT + 1), STATE_LIMIT - 1)
                limited += (u != free) + (v != unclipped)
                if end == READ:
                    out[c] = v
                else:
                    fires = v > threshold[c]
                    out[c] = fires
                    if fires:
                        v = 0 if end == RESET_TO_ZERO else v - threshold[c]
                state[n, 0, c] = u
                state[n, 1, c] = v
    return limited
