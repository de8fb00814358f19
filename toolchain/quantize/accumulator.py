"""What arrives in one timestep must fit the target's accumulator, which wraps around where a membrane saturates.

The bound is that of the design rule (`hw_targets.rules`): every source at its longest burst, whatever the data say. It
shrinks with the weights' units, and so a netlist that was made for a target is one that the target holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hw_targets.fields import largest_sum, unit
from hw_targets.target import Target
from toolchain.netlist import AdaFire, Connection, Population, Radix, Readout, bound_total_current, with_payloads_up_to


def accumulator_use(
    population: AdaFire | Readout,
    connections: Sequence[Connection],
    sources: Mapping[str, Population],
    target: Target | None,
    radix: Radix | None,
) -> np.ndarray:
    """Return the greatest sum of one timestep, as a share of what the accumulator holds, (C,) float64.

    Parameters
    ----------
    population : AdaFire or Readout
    connections : sequence of Connection
        Into it, in integers.
    sources : mapping of str to Population
        Of the connections; in radix code with whole numbers as payloads.
    target : Target or None
    radix : Radix or None
        Base of the digits that are sent; None for rates.

    Returns
    -------
    ndarray (C,), float64
        0 where no accumulator is known. So it is where spikes carry no payload: bursts are unrolled there, and sums are
        others (`hw_targets.unroll`).
    """
    held = None if target is None or target.binary else largest_sum(target, unit(population, target))
    if held is None:
        return np.zeros(population.shape[0])
    sent = {
        c.source: sources[c.source] if radix is None else with_payloads_up_to(sources[c.source], radix.base - 1)
        for c in connections
    }
    bound = bound_total_current(population, [(c, sent[c.source]) for c in connections])
    greatest = np.maximum(-bound.low, bound.high).reshape(population.shape[0], -1).max(axis=1)
    return np.asarray(greatest / held)
