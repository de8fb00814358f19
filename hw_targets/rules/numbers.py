"""Rules on the widths of numbers: payloads, weights, thresholds, biases, potentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np

from hw_targets.fields import fit_bias, fit_threshold, fitted_thresholds, largest_sum, unit, unit_of
from hw_targets.rules.report import Violation
from hw_targets.target import Target
from toolchain.netlist import (
    AdaFire,
    ConvTranspose,
    CubaLif,
    LeakyReadout,
    Netlist,
    Operator,
    Readout,
    TargetError,
    Weighted,
    membrane_bound,
    total_current_bound,
)

#: Narrowest weights of a netlist.
LEAST_WEIGHT_BITS = 2


def signed_bits(low: int, high: int) -> int:
    """Return the bits of a two's complement number that holds `low` to `high`."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def bits_for_headroom(netlist: Netlist, magnitude: int, limit: int, growth: int = 0) -> int:
    """Return how many weight bits bring sums of `magnitude` under a limit; below 2 none do.

    Sums halve with each bit. So do thresholds, and where these then need a finer unit the limit
    halves too: at most `growth` times, when the population's unit is as fine as it gets.
    """
    for bits in range(netlist.weight_bits - 1, LEAST_WEIGHT_BITS - 1, -1):
        fewer = netlist.weight_bits - bits
        if -(-magnitude // 2**fewer) <= limit >> min(fewer, growth):
            return bits
    return 0


def unit_growth(population: AdaFire | Readout, target: Target) -> int:
    """Return how many times a population's unit could still double on the target."""
    return (target.unit_exponents or (0, 0))[1] - unit(population, target)


def payload_width(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that a burst fits the payload of one spike."""
    if target.max_payload is None:
        return
    for population in netlist.spiking:
        most = population.payload_range[1]
        if most > target.max_payload:
            fix = f"lower `phi` to {target.max_payload}, or `unroll` bursts"
            yield Violation("payload_width", population.name, target.max_payload, most, fix)


def burst_length(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that a neuron can emit a whole burst in one update, where a spike could carry it."""
    for population in netlist.spiking:
        most = population.payload_range[1]
        if target.phi is not None and most > target.phi and (target.max_payload or most) >= most:
            fix = f"lower `phi` to {target.phi}" + (", or `unroll` bursts" if target.phi == 1 else "")
            yield Violation("burst_length", population.name, target.phi, most, fix)


def input_payload(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that the input's payload fits a spike, sign included."""
    source = netlist.input
    low, high = source.payload_range
    if target.max_payload is not None and high > target.max_payload:
        fix = "`unroll`: the input becomes one binary spike per bit" if target.binary else "use fewer input bits"
        yield Violation("input_payload", source.name, target.max_payload, high, fix)
    if low < 0 and target.signed_input is False:
        fix = "`unroll`, or use data that is never negative"
        yield Violation("input_payload", source.name, 0, low, fix)


def weight_width(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that every weight fits the widest signed format."""
    if target.weight_bits is None:
        return
    limit = max(target.weight_bits)
    for connection in netlist.connections:
        # The unit of leaky neurons is fixed: their weights may use the exponent that stored weights have.
        scaled = target.weight_exponent and isinstance(netlist[connection.target], CubaLif | LeakyReadout)
        for operator in connection.operators:
            if isinstance(operator, Weighted):
                weight = operator.weight >> common_shift(operator.weight) if scaled else operator.weight
                bits = signed_bits(int(weight.min()), int(weight.max()))
                if bits > limit:
                    yield Violation(
                        "weight_width",
                        connection.name,
                        limit,
                        bits,
                        f"use `weight_bits` of {limit}",
                    )


def common_shift(weight: np.ndarray) -> int:
    """Return how many bits at the bottom no weight uses."""
    every = int(np.bitwise_or.reduce(np.abs(weight.astype(np.int64)), axis=None))
    return (every & -every).bit_length() - 1 if every else 0


def weight_products(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that weights in a row, which become one synapse, are powers of two but for one factor."""
    del target
    for connection in netlist.connections:
        weighted = [o for o in connection.operators if isinstance(o, Weighted)]
        free = [o for o in weighted if not _powers_of_two(o.weight)]
        if len(free) > 1:
            fix = "merge the linear layers, or put an activation between them"
            yield Violation("weight_products", connection.name, 1, len(free), fix)


def _powers_of_two(weight: np.ndarray) -> bool:
    magnitude = np.abs(weight.astype(np.int64))
    return bool(np.all(magnitude & (magnitude - 1) == 0))


def weight_values(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that a neuron needs no more different weights than it can have."""
    limit = target.weight_values_per_neuron
    if limit is None:
        return
    for population in netlist.populations[1:]:
        most = sum(
            max(_distinct(o) for o in c.operators if isinstance(o, Weighted))
            for c in netlist.inputs(population.name)
            if any(isinstance(o, Weighted) for o in c.operators)
        )
        if most > limit:
            fix = f"train weights of at most {limit} values per neuron: no quantiser of adafire does"
            yield Violation("weight_values", population.name, limit, most, fix)


def _distinct(operator: Operator) -> int:
    if not isinstance(operator, Weighted):
        return 0
    weight = operator.weight
    rows = np.moveaxis(weight, 1, 0) if isinstance(operator, ConvTranspose) else weight
    return max(int(np.unique(row[row != 0]).size) for row in rows.reshape(rows.shape[0], -1))


def threshold_field(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that thresholds are exactly what the target's field holds."""
    for population in netlist.populations:
        if isinstance(population, AdaFire) and unit_of(target, population.threshold) is None:
            yield from _rounded("threshold_field", population, population.threshold, target, fit_threshold)


def bias_field(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that biases are exactly what the target's field holds."""
    for population in netlist.populations:
        if isinstance(population, AdaFire | Readout):
            fit = partial(fit_bias, threshold=fitted_thresholds(population, target))
            yield from _rounded("bias_field", population, population.bias, target, fit)


def roomier(netlist: Netlist, population: AdaFire | Readout, target: Target) -> str | None:
    """Return the advice to convert for the target, where its thresholds would leave more bits above them."""
    if isinstance(population, Readout) or netlist.provenance.target in (target.name, target.chip):
        return None
    try:
        fitted = unit_of(target, fit_threshold(target, population.threshold))
    except TargetError:
        return None
    if fitted is None or fitted >= unit(population, target):
        return None
    return f"convert with `target` {target.name}: thresholds in coarser steps leave potentials more bits"


def _rounded(
    rule: str,
    population: AdaFire | Readout,
    values: np.ndarray,
    target: Target,
    fit: Callable[[Target, np.ndarray], np.ndarray],
) -> Iterator[Violation]:
    try:
        fitted = fit(target, values)
    except TargetError as error:
        most = int(np.abs(values).max())
        yield Violation(rule, population.name, error.problem, most, error.fix or "use fewer weight bits")
        return
    wrong = np.flatnonzero(fitted.ravel() != values.ravel())
    if wrong.size:
        i = wrong[np.argmax(np.abs((fitted - values).ravel()[wrong]))]
        fix = f"convert with `target` {target.name}, which rounds to what it holds ({wrong.size} values)"
        yield Violation(rule, population.name, int(fitted.ravel()[i]), int(values.ravel()[i]), fix)


@lru_cache(maxsize=256)
def greatest_potential(netlist: Netlist, name: str) -> int:
    """Return the greatest magnitude that a population's potential can reach."""
    return membrane_bound(netlist, name).magnitude


_NO_WIDTH = (
    "no weights are narrow enough: use fewer `timesteps`, a lower `phi`, fewer inputs per neuron, or a roomier `target`"
)


def membrane_range(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that the chip saturates where the netlist does, or that nothing can reach the limit."""
    if target.membrane_bits is None:
        return
    for population in netlist.populations:
        if not isinstance(population, AdaFire):
            continue
        bits = target.membrane_bits - unit(population, target)
        limit = 2 ** (min(bits, netlist.membrane_bits) - 1) - 1
        magnitude = greatest_potential(netlist, population.name)
        if bits != netlist.membrane_bits and magnitude > limit:
            fewer = bits_for_headroom(netlist, magnitude, limit, unit_growth(population, target))
            narrow = f"use `weight_bits` of {fewer}, or fewer `timesteps`" if fewer >= LEAST_WEIGHT_BITS else _NO_WIDTH
            fix = roomier(netlist, population, target) or narrow
            yield Violation("membrane_range", population.name, limit, magnitude, fix)


def accumulator_range(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that the sum of one timestep's synapses fits the accumulator, which wraps."""
    for population in netlist.populations:
        if not isinstance(population, AdaFire | Readout):
            continue
        limit = largest_sum(target, unit(population, target))
        if limit is None:
            return
        magnitude = total_current_bound(netlist, population.name).magnitude
        if magnitude > limit:
            fewer = bits_for_headroom(netlist, magnitude, limit, unit_growth(population, target))
            narrow = f"lower `phi` of what feeds it, or use `weight_bits` of {fewer}"
            bits = narrow if fewer >= LEAST_WEIGHT_BITS else _NO_WIDTH
            fix = roomier(netlist, population, target) or bits
            yield Violation("accumulator_range", population.name, limit, magnitude, fix)
