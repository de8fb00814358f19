"""The golden window: radix bursts (semantics, section 10) in plain numpy, one digit and one population at a time.

As plain as `sim.golden`, whose counterpart it is: int64 everywhere, digits as they travel, a potential that is
multiplied by the base and saturates at every timestep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.windows import max_over_windows
from toolchain.netlist import (
    AdaFire,
    Input,
    MaxPool,
    Netlist,
    Population,
    Radix,
    Readout,
    apply_chain,
    per_channel,
)


@dataclass(frozen=True, eq=False)
class WindowRecord:
    """What every population sent, and every readout held, digit by digit: each (K, N, *shape) int64."""

    spikes: dict[str, np.ndarray]
    readouts: dict[str, np.ndarray]
    saturations: dict[str, int]


def run_window(netlist: Netlist, payload: np.ndarray) -> WindowRecord:
    """Take one number per neuron through a radix netlist.

    Parameters
    ----------
    netlist : Netlist
        In radix code.
    payload : ndarray (N, *input shape), integer
        Sent whole, with the last digit.
    """
    radix = netlist.radix
    assert radix is not None
    held = np.zeros((radix.digits, *payload.shape), np.int64)
    held[-1] = payload
    window = WindowRecord({netlist.input.name: held}, {}, {})
    for population in netlist.populations[1:]:
        currents = _currents(netlist, population, window.spikes)
        match population:
            case AdaFire():
                number, clipped = fire(population, currents, radix, netlist.membrane_limit)
                window.spikes[population.name] = _digits(number, radix)
                window.saturations[population.name] = clipped
            case MaxPool():
                window.spikes[population.name] = _maxima(population, currents, radix)
            case Readout():
                window.readouts[population.name] = _sums(population, currents, radix)
    return window


def _currents(netlist: Netlist, population: Population, spikes: dict[str, np.ndarray]) -> np.ndarray:
    """Return the current of every digit, (K, N, *current shape)."""
    assert not isinstance(population, Input)
    digits, samples = spikes[netlist.input.name].shape[:2]
    total = np.zeros((digits, samples, *population.current_shape), np.int64)
    for connection in netlist.inputs(population.name):
        for k in range(digits):
            payload = spikes[connection.source][k]
            total[k] += apply_chain(connection.operators, payload, netlist[connection.source].shape)
    return total


def fire(population: AdaFire, currents: np.ndarray, radix: Radix, limit: int) -> tuple[np.ndarray, int]:
    """Integrate a window of digits and fire once.

    Parameters
    ----------
    population : AdaFire
    currents : ndarray (K, N, *shape), int64
    radix : Radix
    limit : int
        Where the potential saturates.

    Returns
    -------
    number : ndarray (N, *shape), int64
        0 to the greatest number of K digits.
    clipped : int
        How often a potential was clipped.
    """
    potential, clipped = np.zeros_like(currents[0]), 0
    for k, current in enumerate(currents):
        free = radix.base * potential + current
        if k == radix.digits - 1:
            free = free + per_channel(population.bias, population.shape)
            free = free + per_channel(population.initial, population.shape)
        potential = np.clip(free, -limit, limit)
        clipped += int(np.count_nonzero(potential != free))
    theta = per_channel(population.threshold, population.shape)
    return np.clip(potential // theta, 0, radix.base**radix.digits - 1), clipped


def _digits(number: np.ndarray, radix: Radix) -> np.ndarray:
    """Write numbers out, (K, N, *shape), the most significant digit first: by division, the least one first."""
    digits = []
    for _ in range(radix.digits):
        number, digit = np.divmod(number, radix.base)
        digits.append(digit)
    return np.stack(digits[::-1])


def _maxima(population: MaxPool, currents: np.ndarray, radix: Radix) -> np.ndarray:
    """Emit the digits of the greatest number of each window: what its leading digits grow by."""
    total, emitted = np.zeros_like(currents[0]), []
    before = max_over_windows(total, population)
    for current in currents:
        total = radix.base * total + current
        maximum = max_over_windows(total, population)
        emitted.append(maximum - radix.base * before)
        before = maximum
    return np.stack(emitted)


def _sums(population: Readout, currents: np.ndarray, radix: Radix) -> np.ndarray:
    """Return what a readout holds after each digit; its bias comes with the last."""
    total, held = np.zeros_like(currents[0]), []
    for current in currents:
        total = radix.base * total + current
        held.append(total)
    held[-1] = held[-1] + per_channel(population.bias, population.shape)
    return np.stack(held)
