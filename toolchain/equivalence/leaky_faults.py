"""Faults of leaky neurons: the arithmetic of semantics.md, section 11, with one thing done differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from toolchain.netlist import CubaLif, Leaky, per_channel
from toolchain.netlist.leaky import DECAY_UNITY, STATE_LIMIT, WEIGHT_SHIFT


@dataclass(frozen=True)
class LeakyStep:
    """How a leaky neuron is updated; the defaults are the semantics'.

    Parameters
    ----------
    at_threshold : bool
        Whether it fires from the threshold on, not above it.
    reset : {"zero", "subtract", "none"} or None
        None for the population's own.
    down : bool
        Whether decays round down instead of toward zero.
    current_off, voltage_off : int
        Added to the decays.
    wraps, clips : bool
        Whether the current wraps around, and the potential is clipped, at 24 bits.
    old_current : bool
        Whether the potential takes the current of the timestep before.
    bias : int
        Factor on the bias.
    """

    at_threshold: bool = False
    reset: Literal["zero", "subtract", "none"] | None = None
    down: bool = False
    current_off: int = 0
    voltage_off: int = 0
    wraps: bool = True
    clips: bool = True
    old_current: bool = False
    bias: int = 1


#: The semantics' own.
RIGHT = LeakyStep()


def leaky_faults(population: Leaky) -> Mapping[str, LeakyStep]:
    """List the faults to try on a leaky population."""
    found = {
        "decay: rounds down instead of toward zero": LeakyStep(down=True),
        "decay of the current: one more than the file's (ds_offset)": LeakyStep(current_off=1),
        "decay of the current: one less than the file's (ds_offset)": LeakyStep(current_off=-1),
        "decay of the potential: one more": LeakyStep(voltage_off=1),
        "decay of the potential: one less": LeakyStep(voltage_off=-1),
        "current: arrives at the potential one timestep later": LeakyStep(old_current=True),
        "current: clipped by nothing and wraps around nowhere": LeakyStep(wraps=False),
        "saturation: none": LeakyStep(clips=False),
        "bias: not added": LeakyStep(bias=0),
    }
    if isinstance(population, CubaLif):
        other: Literal["zero", "subtract"] = "subtract" if population.reset == "zero" else "zero"
        found |= {
            "threshold compare: fires at v >= theta instead of v > theta": LeakyStep(at_threshold=True),
            f"reset: {other} instead of {population.reset}": LeakyStep(reset=other),
            "reset: none": LeakyStep(reset="none"),
        }
    return found


def run_leaky(population: Leaky, current: np.ndarray, step: LeakyStep, *, carried: bool) -> np.ndarray:
    """Return what a leaky population sends, or its potential, on currents (T, N, *shape) int64.

    With `carried`, samples are one stream: each goes on where the one before ended.
    """
    shape, (timesteps, samples) = population.shape, current.shape[:2]
    top = DECAY_UNITY
    du = np.clip(per_channel(population.current_decay, shape).astype(np.int64) + step.current_off, 0, top)
    dv = np.clip(per_channel(population.voltage_decay, shape).astype(np.int64) + step.voltage_off, 0, top)
    bias = per_channel(population.bias, shape) * step.bias
    output = np.zeros(current.shape, np.int64)
    groups = [slice(i, i + 1) for i in range(samples)] if carried else [slice(0, samples)]
    u = v = np.zeros((groups[0].stop, *shape), np.int64)
    for number, group in enumerate(groups):
        if number == 0 or not carried:
            u = v = np.zeros((group.stop - group.start, *shape), np.int64)
        for t in range(timesteps):
            before = u
            u = _decayed(u, du, down=step.down) + (current[t, group] << WEIGHT_SHIFT)
            if step.wraps:
                u = np.where(u > STATE_LIMIT, u - 2 * STATE_LIMIT, u)
                u = np.where(u <= -STATE_LIMIT, u + 2 * STATE_LIMIT, u)
            v = _decayed(v, dv, down=step.down) + (before if step.old_current else u) + bias
            if step.clips:
                v = np.clip(v, -STATE_LIMIT + 1, STATE_LIMIT - 1)
            if not isinstance(population, CubaLif):
                output[t, group] = v
                continue
            threshold = per_channel(population.threshold, shape) << WEIGHT_SHIFT
            spikes = v >= threshold if step.at_threshold else v > threshold
            output[t, group] = spikes
            match step.reset or population.reset:
                case "zero":
                    v = np.where(spikes, 0, v)
                case "subtract":
                    v = v - spikes * threshold
    return output


def _decayed(state: np.ndarray, decay: np.ndarray, *, down: bool) -> np.ndarray:
    product = state * (DECAY_UNITY - decay)
    return product // DECAY_UNITY if down else np.sign(product) * (np.abs(product) // DECAY_UNITY)
