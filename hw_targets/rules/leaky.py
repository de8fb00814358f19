"""Rules on leaky neurons: whether a chip has them, how they decay and reset, and what their fields hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hw_targets.fields import fit_bias, largest_sum
from hw_targets.rules.report import Violation
from hw_targets.target import Target
from toolchain.netlist import CubaLif, Leaky, LeakyReadout, Netlist, TargetError, total_current_bound
from toolchain.netlist.leaky import WEIGHT_SHIFT


def _leaky(netlist: Netlist) -> Iterator[Leaky]:
    return (p for p in netlist.populations if isinstance(p, CubaLif | LeakyReadout))


def leaky_neurons(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require neurons that leak where there are some, with decays and resets that the target has."""
    for population in _leaky(netlist):
        name = population.name
        if target.leaky is False:
            yield Violation("leaky_neurons", name, "none", "leaky neurons", "train integrate-and-fire neurons")
            continue
        if target.decay_shifts:
            for values in (population.current_decay, population.voltage_decay):
                wrong = values[(values & (values - 1)) != 0]
                if wrong.size:
                    fix = "train with time constants whose decay is a power of two"
                    yield Violation("leaky_neurons", name, "4096 / 2**k", f"a decay of {int(wrong[0])}", fix)
        if not isinstance(population, CubaLif):
            continue
        resets = {"zero": target.reset_to_zero, "subtract": target.reset_by_subtraction}
        if resets[population.reset] is False:
            other = next((f"reset {kind!r}" for kind, has in resets.items() if has), "none")
            yield Violation("leaky_neurons", name, other, f"reset {population.reset!r}", f"train with {other}")


def leaky_fields(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that thresholds and biases of leaky neurons are what the target's fields hold.

    A chip with weight exponents counts potentials in 1/64 of a weight, as Loihi does; another in weights.
    """
    fine = bool(target.weight_exponent)
    for population in _leaky(netlist):
        if isinstance(population, CubaLif) and target.threshold_mantissa_bits is not None:
            top, most = 2**target.threshold_mantissa_bits - 1, int(population.threshold.max())
            if most > top:
                yield Violation("leaky_fields", population.name, top, most, "use fewer `weight_bits`")
        bias = population.bias
        if target.biases is False or target.bias_mantissa_bits is None or not np.any(bias):
            continue
        try:
            fitted = fit_bias(target, bias) if fine else fit_bias(target, bias >> WEIGHT_SHIFT) << WEIGHT_SHIFT
        except TargetError as error:
            most = int(np.abs(bias).max())
            yield Violation("leaky_fields", population.name, error.problem, most, "use fewer `weight_bits`")
            continue
        wrong = np.flatnonzero(fitted.ravel() != bias.ravel())
        if wrong.size:
            held, found = int(fitted.ravel()[wrong[0]]), int(bias.ravel()[wrong[0]])
            fix = f"round biases to what it holds ({wrong.size} values), in 1/64 of a weight"
            yield Violation("leaky_fields", population.name, held, found, fix)


def leaky_currents(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that a timestep's synapses into a leaky neuron fit the accumulator, in units of a weight."""
    limit = largest_sum(target, 0 if target.unit_exponents is None else target.unit_exponents[1])
    if limit is None:
        return
    for population in _leaky(netlist):
        most = total_current_bound(netlist, population.name).magnitude
        if most > limit:
            fix = "use fewer `weight_bits`, or fewer inputs per neuron"
            yield Violation("leaky_currents", population.name, limit, most, fix)
