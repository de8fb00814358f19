"""Search per channel: thresholds at one cost per operation, the cost set by whole measured networks.

Beyond the paper. A layer is not the right unit to save in: its channels differ in what they spend and in
what their errors do. All channels of all layers take their thresholds at one cost per operation
(`toolchain.calibrate.costs`), so a network has a single knob, and each turn of it is judged by building,
calibrating and measuring the network on data kept for that. Nothing rests on a surrogate that adds
sensitivities up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

import numpy as np

from toolchain.calibrate import Calibrator, UnitCosts, fire_at_cost, unit_costs
from toolchain.netlist import InputError, Measured
from toolchain.netlist.provenance import CompressionRecord, FiringRecord, SearchRecord, Trial
from toolchain.network import SpikingNetwork
from toolchain.search.firing import Found
from toolchain.search.measure import Judge

#: Networks that are built and measured for each goal.
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
        return {
            u.name: unit_costs(
                c.histograms[u.name],
                len(c.data),
                c.influence[u.name],
                c.fan_out[u.name],
                self.phi_max,
                c.thresholds,
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
        # No channel needs longer bursts than its largest activation asks for; one more makes up for late ones.
        firing = {
            name: replace(
                f, phi=max(1, min(self.phi_max, ceil(float((c.histograms[name].top / f.threshold).max())) + 1))
            )
            for name, f in firing.items()
        }
        return c.calibrate(SpikingNetwork(c.network, c.source, firing, c.thresholds.timesteps), operation_cost)


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

    def __call__(self, calibrator: Calibrator, judge: Judge) -> Found[SearchRecord]:
        """Search, and return the calibrated network; `judge` has data that calibration does not see."""
        if self.budget is not None and not self.budget > 0:
            raise InputError("budget", f"{self.budget:g} found, expected a positive share of uniform phi's operations")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise InputError("tolerance", f"{self.tolerance:g} found, the least feasible one is 0")
        uniform = calibrator.calibrate(calibrator.fire({u.name: self.phi for u in calibrator.network.activations}))
        baseline = judge.measure(uniform)
        knob = _Knob(calibrator, self.phi_max)
        spiking, measured, firing, compression = uniform, baseline, None, None
        if self.budget is not None:
            within_budget = self._within_budget(knob, judge, uniform, baseline, self.budget)
            spiking, measured, firing = within_budget.spiking, within_budget.measured, within_budget.record
        if self.tolerance is not None:
            compressed = self._within_tolerance(knob, judge, spiking, measured, self.tolerance)
            spiking, measured, compression = compressed.spiking, compressed.measured, compressed.record
        phi = {name: f.phi for name, f in spiking.firing.items()}
        record = SearchRecord("channels", phi, measured, baseline, firing=firing, compression=compression)
        return Found(spiking, measured, record)

    def _within_budget(
        self, knob: _Knob, judge: Judge, uniform: SpikingNetwork, baseline: Measured, budget: float
    ) -> Found[FiringRecord]:
        """Spend what the budget allows, as measured."""
        limit = budget * baseline.operations
        history: list[Trial] = []
        best: tuple[SpikingNetwork, Measured] | None = (uniform, baseline) if budget >= 1 else None
        aim = limit
        with knob.calibrator.progress("candidates within the budget", _TRIALS) as advance:
            for _ in range(_TRIALS):
                spiking = knob.build(aim)
                measured = judge.measure(spiking)
                history.append(Trial(measured, aim))
                advance()
                kept = measured.operations <= limit
                if kept and (best is None or measured.divergence < best[1].divergence):
                    best = (spiking, measured)
                if kept and measured.operations >= (1 - _LEFT_OVER) * limit:
                    break
                aim *= (1 - _LEFT_OVER / 2) * limit / measured.operations
        if best is None:
            least = min(h.measured.operations for h in history) / baseline.operations
            raise InputError("budget", f"{budget:g} cannot be kept, the least feasible one is {least:.4g}")
        return Found(best[0], best[1], FiringRecord(budget, best[1], tuple(history)))

    def _within_tolerance(
        self, knob: _Knob, judge: Judge, start: SpikingNetwork, before: Measured, tolerance: float
    ) -> Found[CompressionRecord]:
        """Save as long as the measured divergence stays within the tolerance: larger steps, then smaller."""
        allowed = before.divergence + tolerance
        history: list[Trial] = []
        best, best_measured, step = start, before, _STEP
        with knob.calibrator.progress("candidates of spike compression", _TRIALS) as advance:
            for _ in range(_TRIALS):
                aim = step * best_measured.operations
                spiking = knob.build(aim)
                measured = judge.measure(spiking)
                history.append(Trial(measured, aim))
                advance()
                if measured.divergence <= allowed and measured.operations < best_measured.operations:
                    best, best_measured = spiking, measured
                else:
                    step = float(np.sqrt(step))
        record = CompressionRecord(tolerance, before, best_measured, tuple(history))
        return Found(best, best_measured, record)
