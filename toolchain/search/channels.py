"""Search per channel: thresholds at one cost per operation, the cost set by whole measured networks.

Beyond the paper. A layer is not the right unit to save in: its channels differ in what they spend and in
what their errors do. All channels of all layers take their thresholds at one cost per operation
(`toolchain.calibrate.costs`), so a network has a single knob, and each turn of it is judged by building,
calibrating and measuring the network on data kept for that. Nothing rests on a surrogate that adds
sensitivities up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import ceil

import numpy as np

from toolchain.calibrate import Calibrator, UnitCosts, fire_at_cost, unit_costs
from toolchain.netlist.provenance import CompressionRecord, FiringRecord, SearchRecord, Trial
from toolchain.network import SpikingNetwork
from toolchain.search.measure import Judge
from toolchain.search.trials import (
    Found,
    JudgedNetwork,
    Trials,
    WithinBudget,
    WithinTolerance,
    check_limits,
    uniform_network,
)

#: Networks that are built and measured for the budget, and for the tolerance.
_TRIALS = 6
#: A budget is kept when at most this share of it is left over.
_LEFT_OVER = 0.02
#: First step of the compression, relative to the operations reached.
_STEP = 0.8


@dataclass(frozen=True, eq=False)
class _Knob:
    """Networks of one calibrator, by the operations that they are predicted to spend."""

    calibrator: Calibrator
    phi_max: int

    @cached_property
    def units(self) -> dict[str, UnitCosts]:
        """Error and operations of every activation at its candidate thresholds."""
        c = self.calibrator
        shared = c.thresholds.shared(c.network)
        return {
            u.name: unit_costs(
                c.histograms[u.name],
                len(c.data),
                c.influence[u.name],
                c.fan_out[u.name],
                self.phi_max,
                c.thresholds,
                shared[u.name],
            )
            for u in c.network.activations
        }

    def predicted(self, operation_cost: float) -> float:
        """Return the operations per sample that the thresholds at a cost per operation imply."""
        return sum((unit.spent(operation_cost) for unit in self.units.values()), 0.0)

    def cost(self, operations: float) -> float:
        """Return the least cost per operation at which the network is predicted to keep to `operations`."""
        # By bisection of the exponent: costs are in squared error of the outputs, which may be of any size.
        low, high = 1e-15, 1e15
        for _ in range(80):
            middle = float(np.sqrt(low * high))
            low, high = (low, middle) if self.predicted(middle) <= operations else (middle, high)
        return high

    def build(self, operations: float) -> SpikingNetwork:
        """Return the calibrated network that is predicted to keep to `operations`."""
        c, operation_cost = self.calibrator, self.cost(operations)
        firing = fire_at_cost(self.units, operation_cost, dict.fromkeys(self.units, self.phi_max), c.thresholds)
        radix = c.thresholds.radix
        if radix is None:
            # No channel needs longer bursts than its largest activation asks for; one more makes up for late ones.
            firing = {
                name: replace(
                    f, phi=max(1, min(self.phi_max, ceil(float((c.histograms[name].top / f.threshold).max())) + 1))
                )
                for name, f in firing.items()
            }
        return c.calibrate(SpikingNetwork(c.network, c.source, firing, c.thresholds.timesteps, radix), operation_cost)


@dataclass(frozen=True)
class ChannelSearch:
    """Thresholds of every channel at one cost per operation, within a budget and then within a tolerance.

    Parameters
    ----------
    phi : int
        Uniform phi sets the budget.
    phi_max : int
        Longest burst that a layer may use.
    budget : float or None
        Operations relative to uniform phi; None for no budget: the compression then starts at uniform phi.
    tolerance : float or None
        Greatest increase of the divergence for the compression; None for no compression.
    """

    phi: int
    phi_max: int
    budget: float | None = 1.0
    tolerance: float | None = None

    def __post_init__(self) -> None:
        check_limits(self.budget, self.tolerance)

    def __call__(self, calibrator: Calibrator, judge: Judge) -> Found[SearchRecord]:
        """Search, and return the calibrated network.

        Parameters
        ----------
        calibrator : Calibrator
        judge : Judge
            With data that calibration does not see.

        Raises
        ------
        InputError
            When the budget cannot be kept; the message names the least feasible one.
        """
        uniform = uniform_network(calibrator, judge, self.phi)
        knob = _Knob(calibrator, self.phi_max)
        found, firing, compression = uniform, None, None
        if self.budget is not None:
            found = within_budget = _spend(knob, judge, uniform, self.budget)
            firing = within_budget.record
        if self.tolerance is not None:
            found = compressed = _save(knob, judge, found, self.tolerance)
            compression = compressed.record
        phi = {name: f.phi for name, f in found.spiking.firing.items()}
        record = SearchRecord("channels", phi, found.measured, uniform.measured, firing=firing, compression=compression)
        return Found(found.spiking, found.measured, record)


def _spend(knob: _Knob, judge: Judge, uniform: JudgedNetwork, budget: float) -> Found[FiringRecord]:
    """Spend what the budget allows, as measured."""
    limit = WithinBudget(budget * uniform.measured.operations)
    with knob.calibrator.progress("candidates within the budget", _TRIALS) as advance:
        trials, aim = Trials(judge, limit, uniform, advance), limit.operations
        for _ in range(_TRIALS):
            kept = trials.attempt(knob.build(aim), partial(Trial, predicted_operations=aim))
            if kept and trials.last.operations >= (1 - _LEFT_OVER) * limit.operations:
                break
            # Operations follow the prediction nearly in proportion: aim at the middle of what may be left over.
            aim *= (1 - _LEFT_OVER / 2) * limit.operations / trials.last.operations
    best = trials.within_budget(budget, uniform.measured)
    return Found(best.spiking, best.measured, FiringRecord(budget, best.measured, tuple(trials.done)))


def _save(knob: _Knob, judge: Judge, start: JudgedNetwork, tolerance: float) -> Found[CompressionRecord]:
    """Save as long as the measured divergence stays within the tolerance: larger steps, then smaller."""
    step = _STEP
    with knob.calibrator.progress("candidates of spike compression", _TRIALS) as advance:
        trials = Trials(judge, WithinTolerance(start.measured.divergence + tolerance), start, advance)
        for _ in range(_TRIALS):
            before = trials.best or start
            aim = step * before.measured.operations
            trials.attempt(knob.build(aim), partial(Trial, predicted_operations=aim))
            # What led no further was too long a step.
            if (trials.best or start) is before:
                step = float(np.sqrt(step))
    best = trials.best or start
    record = CompressionRecord(tolerance, start.measured, best.measured, tuple(trials.done))
    return Found(best.spiking, best.measured, record)
