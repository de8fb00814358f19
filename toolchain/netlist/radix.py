"""Radix bursts: numbers that travel digit by digit, the most significant first (semantics, section 10).

Weighted spikes, phase coding and radix encoding are names for it in the literature (docs/radix.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from toolchain.netlist.errors import NetlistError
from toolchain.netlist.operators import Resample, SumPool
from toolchain.netlist.populations import MAX_PHI, AdaFire, Input, MaxPool, Population, Readout

#: What to do where digits have no meaning.
_RATES = "use `spike_code` rate"
#: What the bursts of a network say: how often, or the digits of a number.
SpikeCode = Literal["rate", "radix"]


@dataclass(frozen=True)
class Radix:
    """Numbers of a fixed count of digits.

    Parameters
    ----------
    base : int
        B, at least 2: phi + 1, for a digit is a burst.
    digits : int
        K, at least 1: timesteps of a window.

    Raises
    ------
    NetlistError
        When a number would not fit a byte, as whole payloads are carried.
    """

    base: int
    digits: int

    def __post_init__(self) -> None:
        if self.base < 2 or self.digits < 1:
            raise NetlistError("radix", f"base {self.base}, {self.digits} digits found, expected at least 2 and 1")
        # The exponent is bounded first: a damaged file could ask for a power of millions of bits.
        if self.digits > 8 or self.greatest > MAX_PHI:
            most = max(k for k in range(1, 9) if self.base**k <= MAX_PHI + 1) if self.base <= MAX_PHI + 1 else 0
            raise NetlistError(
                "radix",
                f"{self.digits} digits in base {self.base} found, expected numbers up to {MAX_PHI}",
                f"use at most {most} digits, or a lower `phi`",
            )

    @property
    def greatest(self) -> int:
        """Greatest number, ``B**K - 1``."""
        return int(self.base**self.digits - 1)

    @cached_property
    def places(self) -> np.ndarray:
        """Value of each digit's place, the most significant first: (K,) int64."""
        return self.base ** np.arange(self.digits - 1, -1, -1, dtype=np.int64)

    def spell(self, numbers: np.ndarray) -> np.ndarray:
        """Return the digits of numbers.

        Parameters
        ----------
        numbers : ndarray (...), integer, 0 .. `greatest`

        Returns
        -------
        ndarray (K, ...), int64

        Examples
        --------
        >>> Radix(base=2, digits=3).spell(np.array([6, 1])).tolist()
        [[1, 0], [1, 0], [0, 1]]
        """
        places = self.places.reshape(-1, *(1 for _ in numbers.shape))
        digits: np.ndarray = numbers.astype(np.int64) // places % self.base
        return digits

    def read(self, digits: np.ndarray) -> np.ndarray:
        """Return the numbers that digits (K, ...) spell, (...) int64; a number sent whole is its last digit."""
        numbers: np.ndarray = np.tensordot(self.places, digits.astype(np.int64), 1)
        return numbers

    @cached_property
    def digit_sums(self) -> np.ndarray:
        """Sum of the digits of every number, (``B**K``,) int64: the accumulates that it costs per synapse."""
        sums: np.ndarray = self.spell(np.arange(self.greatest + 1)).sum(axis=0)
        return sums

    @cached_property
    def digit_counts(self) -> np.ndarray:
        """Digits of every number that are not zero, (``B**K``,) int64: the events that it is sent in."""
        return np.count_nonzero(self.spell(np.arange(self.greatest + 1)), axis=0)


def radix_of(populations: Sequence[Population], digits: int) -> Radix:
    """Return the base and the digits of a network's numbers.

    Parameters
    ----------
    populations : sequence of Population
    digits : int

    Raises
    ------
    NetlistError
        When populations count in different bases or leak, or the input sends frames.
    """
    for population in populations:
        if not isinstance(population, Input | AdaFire | MaxPool | Readout):
            raise NetlistError(
                population.name, f"{type(population).__name__} found: a potential that leaks holds no digits", _RATES
            )
    bases = {p.name: p.payload_range[1] + 1 for p in populations if isinstance(p, AdaFire | MaxPool)}
    if len(set(bases.values())) > 1:
        raise NetlistError(
            "netlist", f"digits of several bases found, {bases}, expected one: a membrane is multiplied by it"
        )
    for population in populations:
        if isinstance(population, Input) and population.coding == "frames":
            raise NetlistError(
                population.name,
                "frames found: a radix window holds one picture, since nothing is left over for the next",
                _RATES,
            )
    return Radix(next(iter(bases.values()), 2), digits)


def check_windows(population: MaxPool, connections: Sequence[tuple[str, Sequence[object]]]) -> None:
    """Raise unless what reaches a max-pooling are digits: sums would carry.

    Parameters
    ----------
    population : MaxPool
    connections : sequence of (name, operators)
    """
    for name, operators in connections:
        if any(isinstance(o, SumPool | Resample) for o in operators):
            raise NetlistError(population.name, f"connection {name} adds digits up, which may carry: expected to move")


def with_payloads_up_to(population: Population, most: int) -> Population:
    """Return a population with another greatest payload, if it spikes."""
    match population:
        case AdaFire():
            return replace(population, phi=most)
        case MaxPool():
            return replace(population, max_payload=most)
    return population
