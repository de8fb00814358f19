"""What adds up over batches until a score is made of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

from toolchain.netlist import Score


class Tally(ABC):
    """Sums over samples: those of two batches add up, in any order, to the same score."""

    @abstractmethod
    def __add__(self, other: Self) -> Self:
        """Join two batches."""

    @abstractmethod
    def score(self) -> Score:
        """Return the score of all that was added."""


@dataclass(frozen=True)
class Tallies:
    """Tallies of the same samples, one per answer of a netlist.

    Parameters
    ----------
    each : tuple of Tally
    """

    each: tuple[Tally, ...] = ()

    def __add__(self, other: Tallies) -> Tallies:
        """Join two batches."""
        return Tallies(tuple(a + b for a, b in zip(self.each, other.each, strict=True)))

    def scores(self) -> tuple[Score, ...]:
        """Return the score of each."""
        return tuple(tally.score() for tally in self.each)
