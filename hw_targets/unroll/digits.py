"""Integers of any size from narrow weights: products of powers of two, and sums of digits.

The largest power of two that a signed weight of w bits holds is 2**(w - 2). Factors are powers of two
throughout, so that a chain keeps at most one free weight: that is what a chip stores per synapse.
"""

from __future__ import annotations

import numpy as np

from toolchain.netlist import NetlistError


def _greatest_power(weight_bits: int) -> int:
    if weight_bits <= 2:
        # 2**0 is the greatest: no product of such weights grows.
        raise NetlistError(
            "netlist", "weights of 2 bits carry no gates and no bits of a payload", "use `weight_bits` of 3 or more"
        )
    return weight_bits - 2


def factors(values: np.ndarray, weight_bits: int) -> list[np.ndarray]:
    """Write signed powers of two as products of weights that fit.

    Parameters
    ----------
    values : ndarray (n,), integer
        Each 2**e or -2**e.
    weight_bits : int

    Returns
    -------
    list of ndarray (n,), int64
        Powers of two whose product is `values`; the last carries the sign.
    """
    # Exponents add up to e: as much of it as fits goes into one factor after the other.
    exponents = np.round(np.log2(np.abs(values))).astype(np.int64)
    found = []
    while int(exponents.max()) > weight_bits - 2:
        most = _greatest_power(weight_bits)
        step = np.clip(exponents - most, 0, most)
        found.append(np.left_shift(np.ones_like(step), step))
        exponents = exponents - step
    return [*found, np.sign(values).astype(np.int64) << exponents]


def digits(values: np.ndarray, weight_bits: int) -> tuple[int, list[np.ndarray]]:
    """Write integers as digits that fit a weight, in a base that fits one too.

    Parameters
    ----------
    values : ndarray, int64
    weight_bits : int

    Returns
    -------
    base : int
        2**(weight_bits - 2).
    digits : list of ndarray, shaped as `values`
        Least first, magnitudes of at most half the base, but of 1 in base 2: ``sum(digit * base**place)``
        is `values`.
    """
    base = 2 ** _greatest_power(weight_bits)
    found = []
    while True:
        # Modulo the base, balanced about zero: what is left divides by the base. In base 2 that were -1 or 0,
        # of which no positive number is made; there the sign decides.
        digit = np.fmod(values, base) if base == 2 else (values + base // 2) % base - base // 2
        found.append(digit)
        values = (values - digit) // base
        if not np.any(values):
            return base, found
