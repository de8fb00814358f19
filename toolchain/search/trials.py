"""The loop of every search: a network is proposed, built, measured, and kept if it is the best one allowed.

What to propose next is the search's own; it may look at what the last network measured and at the best one so far.
Only measurements of whole networks decide: predictions are recorded beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from toolchain.calibrate import Calibrator
from toolchain.netlist import InputError, Measured
from toolchain.netlist.provenance import CompressionRecord, FiringRecord, SearchRecord, Trial
from toolchain.network import SpikingNetwork
from toolchain.search.measure import Judge

Record = TypeVar("Record", FiringRecord, CompressionRecord, SearchRecord)


@dataclass(frozen=True, eq=False)
class JudgedNetwork:
    """A calibrated network and what it measured.

    Parameters
    ----------
    spiking : SpikingNetwork
    measured : Measured
        On data kept for that.
    """

    spiking: SpikingNetwork
    measured: Measured


@dataclass(frozen=True, eq=False)
class Found(JudgedNetwork, Generic[Record]):
    """What a search chose, and how.

    Parameters
    ----------
    record : FiringRecord, CompressionRecord or SearchRecord
        For the netlist's provenance.
    """

    record: Record


@dataclass(frozen=True)
class WithinBudget:
    """Least divergence that at most `operations` per sample buy."""

    operations: float

    def allows(self, measured: Measured) -> bool:
        """Return whether a network keeps the budget."""
        return measured.operations <= self.operations

    def prefers(self, measured: Measured, other: Measured) -> bool:
        """Return whether the first of two networks that keep it is better."""
        return measured.divergence < other.divergence


@dataclass(frozen=True)
class WithinTolerance:
    """Fewest operations at a divergence of at most `divergence`."""

    divergence: float

    def allows(self, measured: Measured) -> bool:
        """Return whether a network keeps the tolerance."""
        return measured.divergence <= self.divergence

    def prefers(self, measured: Measured, other: Measured) -> bool:
        """Return whether the first of two networks that keep it is better."""
        return measured.operations < other.operations


class Trials:
    """Networks that a search has built and measured.

    Parameters
    ----------
    judge : Judge
    limit : WithinBudget or WithinTolerance
    start : JudgedNetwork
        What there is without a search: the first to beat, if the limit allows it.
    advance : callable
        Called after every trial, for progress.

    Attributes
    ----------
    best : JudgedNetwork or None
        The best network that the limit allows.
    done : list of Trial
        In the order in which they were proposed.
    """

    def __init__(
        self, judge: Judge, limit: WithinBudget | WithinTolerance, start: JudgedNetwork, advance: Callable[[], None]
    ) -> None:
        self._judge, self._limit, self._advance = judge, limit, advance
        self.best = start if limit.allows(start.measured) else None
        self.done: list[Trial] = []

    def attempt(self, spiking: SpikingNetwork, trial: Callable[[Measured], Trial]) -> bool:
        """Measure a calibrated network, and return whether the limit allows it.

        Parameters
        ----------
        spiking : SpikingNetwork
        trial : callable
            Its record, from what it measures.
        """
        measured = self._judge.measure(spiking)
        self.done.append(trial(measured))
        self._advance()
        allowed = self._limit.allows(measured)
        if allowed and (self.best is None or self._limit.prefers(measured, self.best.measured)):
            self.best = JudgedNetwork(spiking, measured)
        return allowed

    @property
    def last(self) -> Measured:
        """What the last network measured."""
        return self.done[-1].measured

    def within_budget(self, budget: float, uniform: Measured) -> JudgedNetwork:
        """Return the best network of a search within a budget.

        Parameters
        ----------
        budget : float
            Relative to `uniform`.
        uniform : Measured

        Raises
        ------
        InputError
            When none kept the budget; the message names the least that one spent.
        """
        if self.best is None:
            least = min(trial.measured.operations for trial in self.done) / uniform.operations
            raise InputError("budget", f"{budget:g} cannot be kept as measured, the least feasible one is {least:.4g}")
        return self.best


def check_limits(budget: float | None, tolerance: float | None) -> None:
    """Raise when no network could keep a budget or a tolerance.

    Raises
    ------
    InputError
        When the budget is not positive, or the tolerance negative: not to compress costs 0.
    """
    if budget is not None and not budget > 0:
        raise InputError("budget", f"{budget:g} found, expected a positive share of uniform phi's operations")
    if tolerance is not None and not tolerance >= 0:
        raise InputError("tolerance", f"{tolerance:g} found, the least feasible one is 0")


def uniform_network(calibrator: Calibrator, judge: Judge, phi: int) -> JudgedNetwork:
    """Return the calibrated network with the same phi everywhere (BurstFire): what a search has to beat.

    Parameters
    ----------
    calibrator : Calibrator
    judge : Judge
    phi : int
    """
    spiking = calibrator.calibrate(calibrator.fire({u.name: phi for u in calibrator.network.activations}))
    return JudgedNetwork(spiking, judge.measure(spiking))
