"""The fields of a chip that hold thresholds and biases: what fits, and the nearest that does.

A chip stores a threshold or bias as ``mantissa * 2**exponent`` in units of its own membrane. One unit
of the netlist is ``2**k`` of these; each population has its own k, within `Target.unit_exponents`
(the weight exponent of its synapses makes it so). Everything here is exact integers.
"""

from __future__ import annotations

import numpy as np

from hw_targets.target import Target
from toolchain.netlist import AdaFire, Netlist, Readout, TargetError

#: Rounding may move a threshold by one part in this many for the sake of a wider membrane.
_PRECISION = 8


def _shift_round(values: np.ndarray, exponent: int) -> np.ndarray:
    """Divide int64 by 2**exponent, rounding half to even, without leaving the integers."""
    if exponent == 0:
        return values
    quotient, remainder = values >> exponent, values & ((1 << exponent) - 1)
    half = 1 << (exponent - 1)
    up = (remainder > half) | ((remainder == half) & (quotient & 1 == 1))
    return np.asarray(quotient + up, dtype=np.int64)


def _units(target: Target) -> range:
    low, high = target.unit_exponents or (0, 0)
    return range(low, high + 1)


def _steps(limits: tuple[int, ...], unit: int) -> range:
    """Return the exponents of a field in the netlist's units; fractions of a unit are of no use.

    A field's step is 2**e of the chip's units, and 2**unit of these are one of the netlist's: 2**(e - unit).
    """
    return range(max(limits[0] - unit, 0), max(limits[1] - unit, 0) + 1)


def unit_of(target: Target, threshold: np.ndarray) -> int | None:
    """Return the least k with which a population's thresholds are exactly what the field holds.

    None when there is none. The least k leaves the membrane potential the most range.
    """
    if target.threshold_mantissa_bits is None or target.threshold_exponent is None:
        return target.least_unit
    values = np.asarray(threshold, dtype=np.int64)
    high = 2**target.threshold_mantissa_bits - 1
    for unit in _units(target):
        for step in _steps(target.threshold_exponent, unit):
            if not np.any(values & ((1 << step) - 1)) and int(values.max()) >> step <= high:
                return unit
    return None


def largest_threshold(target: Target) -> int | None:
    """Return the greatest threshold that the target's field holds, in the netlist's units; None where it is unknown."""
    if target.threshold_mantissa_bits is None or target.threshold_exponent is None:
        return None
    high: int = 2**target.threshold_mantissa_bits - 1
    return high << _steps(target.threshold_exponent, target.least_unit)[-1]


def largest_bias(target: Target) -> int | None:
    """Return the greatest bias that the target's field holds, whatever the population's unit; None where unknown."""
    if target.bias_mantissa_bits is None or target.bias_exponent is None:
        return None
    high: int = 2 ** (target.bias_mantissa_bits - 1) - 1
    return min(high << _steps(target.bias_exponent, unit)[-1] for unit in _units(target))


def fit_threshold(target: Target, threshold: np.ndarray, where: str = "threshold") -> np.ndarray:
    """Round a population's thresholds to what the target's field holds.

    The population's unit is the least that moves no threshold by more than 1/8, so that the
    membrane potential keeps the most range.

    Parameters
    ----------
    target : Target
    threshold : ndarray, integer, at least 1
        In the netlist's units.
    where : str
        What an error calls it.

    Returns
    -------
    ndarray, int64
        As `threshold`, unchanged where the target's field is unknown.

    Raises
    ------
    TargetError
        When a threshold is beyond the field, or rounds to zero.
    """
    exact = np.array(threshold, dtype=np.int64)
    if target.threshold_mantissa_bits is None or target.threshold_exponent is None or exact.size == 0:
        return exact
    high = 2**target.threshold_mantissa_bits - 1
    coarse: np.ndarray | None = None
    for unit in _units(target):
        for step in _steps(target.threshold_exponent, unit):
            mantissa = _shift_round(exact, step)
            if int(mantissa.max()) > high:
                continue
            coarse = mantissa << step
            if np.all(np.abs(coarse - exact) * _PRECISION <= exact):
                return coarse
            break
    if coarse is None:
        raise TargetError(
            where,
            f"threshold {int(exact.max())} found, {target.title} holds at most {largest_threshold(target)}",
            "use fewer weight bits: threshold and weights shrink alike",
        )
    if int(coarse.min()) < 1:
        raise TargetError(
            where,
            f"thresholds {int(exact.min())} and {int(exact.max())} do not share an exponent: "
            "rounded alike, the lesser is 0",
            "use fewer weight bits, which narrows the range of thresholds",
        )
    return coarse


def fit_bias(
    target: Target, bias: np.ndarray, where: str = "bias", *, threshold: np.ndarray | None = None
) -> np.ndarray:
    """Round biases to the nearest ``mantissa * 2**exponent`` that the target's field holds.

    Every element has its own exponent. Grids are nested, so the least exponent whose mantissa
    fits is the nearest one.

    Parameters
    ----------
    target : Target
    bias : ndarray, integer
        In the netlist's units.
    where : str
        What an error calls it.
    threshold : ndarray, integer, optional
        The population's thresholds, as `fit_threshold` returned them: they decide its unit.

    Returns
    -------
    ndarray, int64
        As `bias`, unchanged where the target's field is unknown.

    Raises
    ------
    TargetError
        When a bias is beyond the field, or the target has no biases and one is not zero.

    Examples
    --------
    >>> from hw_targets.target import load_target
    >>> fit_bias(load_target("loihi2"), np.array([4095, 4097, -70001]))
    array([  4095,   4096, -70016])
    """
    exact = np.array(bias, dtype=np.int64)
    if target.biases is False:
        if np.any(exact):
            raise TargetError(where, f"{target.title} has no biases", "train without bias, or choose another target")
        return exact
    if target.bias_mantissa_bits is None or target.bias_exponent is None:
        return exact
    unit = None if threshold is None else unit_of(target, threshold)
    steps = _steps(target.bias_exponent, target.least_unit if unit is None else unit)
    low, high = -(2 ** (target.bias_mantissa_bits - 1)), 2 ** (target.bias_mantissa_bits - 1) - 1
    fitted, beyond = exact.copy(), np.ones(exact.shape, dtype=bool)
    for step in steps:
        mantissa = _shift_round(exact, step)
        fits = beyond & (mantissa >= low) & (mantissa <= high)
        fitted[fits] = mantissa[fits] << step
        beyond &= ~fits
    if np.any(beyond):
        worst = int(exact[beyond][np.argmax(np.abs(exact[beyond]))])
        raise TargetError(
            where,
            f"bias {worst} found, {target.title} holds {low} .. {high} times up to 2**{steps[-1]} "
            f"({int(np.count_nonzero(beyond))} of {exact.size} are beyond)",
            "use fewer weight bits or a coarser scale: both shrink bias and threshold alike",
        )
    return fitted


def fitted_thresholds(population: AdaFire | Readout, target: Target) -> np.ndarray | None:
    """Return the thresholds that the target would hold; None for a readout, or where it cannot."""
    if isinstance(population, Readout):
        return None
    if unit_of(target, population.threshold) is not None:
        return population.threshold
    try:
        return fit_threshold(target, population.threshold)
    except TargetError:
        return None


def unit(population: AdaFire | Readout, target: Target) -> int:
    """Return the exponent k of a population's unit on the target."""
    threshold = fitted_thresholds(population, target)
    found = None if threshold is None else unit_of(target, threshold)
    return target.least_unit if found is None else found


def largest_sum(target: Target, unit: int) -> int | None:
    """Return the greatest sum of one timestep that the accumulator holds, in units of 2**`unit`; None where unknown."""
    return None if target.accumulator_bits is None else 2 ** (target.accumulator_bits - unit - 1) - 1


def membrane_bits(netlist: Netlist, target: Target) -> dict[str, int]:
    """Return the width of each population's membrane potential on the target, in the netlist's units."""
    bits = target.membrane_bits
    firing = [p for p in netlist.populations if isinstance(p, AdaFire)]
    return {p.name: netlist.membrane_bits if bits is None else bits - unit(p, target) for p in firing}
