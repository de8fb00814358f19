"""Leaky populations as NIR nodes: times are those of one timestep of `DT` seconds, values in units of a weight.

Read with that dt (`nir.leaky`), the nodes give the same integers. What NIR's equations do not say is that decays
truncate, that a current wraps around and a potential is clipped at 24 bits.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np

from toolchain.exchange.lowering import KEEP
from toolchain.exchange.nir.growing import DT, GrowingGraph, in_full, metadata
from toolchain.netlist import CubaLif, Leaky, LeakyReadout, UnsupportedError
from toolchain.netlist.leaky import DECAY_UNITY, WEIGHT_SHIFT


def add_leaky(growing: GrowingGraph, population: Leaky) -> int:
    """Add a LIF, CubaLIF, LI or CubaLI node; return its number.

    Raises
    ------
    UnsupportedError
        When a decay is 0: NIR has no time constant for what never decays.
    """
    shape = population.shape
    current, voltage = (
        in_full(d, shape).astype(np.float64) for d in (population.current_decay, population.voltage_decay)
    )
    if np.any(voltage == 0) or np.any(current == 0):
        raise UnsupportedError(
            population.name, "a current or potential that never decays (0) has no time constant in NIR", KEEP
        )
    memory = bool(np.any(current != DECAY_UNITY))
    per_step = DECAY_UNITY / voltage
    fields: dict[str, Any] = {
        "tau_mem" if memory else "tau": DT * per_step,
        "r": per_step,
        "v_leak": in_full(population.bias, shape) / 2**WEIGHT_SHIFT * per_step,
        "metadata": metadata(population=population.name),
    }
    if memory:
        fields |= {"tau_syn": DT * DECAY_UNITY / current, "w_in": DECAY_UNITY / current}
    if isinstance(population, CubaLif):
        fields["v_threshold"] = in_full(population.threshold, shape).astype(np.float64)
        fields["v_reset"] = np.zeros(shape)
        fields["metadata"] = metadata(population=population.name, reset=population.reset)
        kind: Any = nir.CubaLIF if memory else nir.LIF
    else:
        fields["metadata"] = metadata(population=population.name, scale=population.scale)
        kind = nir.CubaLI if memory else nir.LI
    return growing.add(kind.__name__.lower(), kind(**fields), *growing.deliver(population))


def leaky_notes(population: Leaky) -> list[str]:
    """Say what NIR's equations leave out of a population."""
    notes = [f"one timestep is {DT:g} s; decays that truncate and the limits of 24 bits are not part of NIR"]
    if isinstance(population, CubaLif) and population.reset == "subtract":
        notes.append("reset by subtraction is metadata: NIR resets to a value")
    if isinstance(population, LeakyReadout):
        notes.append("the scale of the readout is metadata")
    return notes
