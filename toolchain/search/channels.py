"""Search per channel: thresholds at one price per operation, the price set by whole measured networks.

Beyond the paper. A layer is not the right unit to save in: its channels differ in what they cost and in
what their errors do. All channels of all layers take their thresholds at one price per operation
(`toolchain.calibrate.price`), so a network has a single knob, and each turn of it is judged by building,
calibrating and measuring the network on data kept for that. Nothing rests on a surrogate that adds
sensitivities up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

import numpy as np

from toolchain.calibrate import Calibrator, PricedUnit, fire_at_price, price_unit
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
    def units(self) -> dict[str, PricedUnit]:
        c = self.calibrator
        return {
            u.name: price_unit(
                u,
                c.histograms[u.name],
                len(c.data),
                c.influence[u.name],
                c.synapses[u.name],
                self.phi_max,
                c.thresholds,
            )
            for u in c.network.activations
        }

    def predicted(self, price: float) -> float:
        """Return the operations per sample that the thresholds at a price imply."""
        total = 0.0
        for unit in self.units.values():
            best = np.argmin(unit.error + price * unit.operations, axis=0)
            total += float(np.take_along_axis(unit.operations, best[None], axis=0).sum())
        return total

    def price(self, operations: float) -> float:
        """Return the least price at which the network is predicted to keep to `operations`."""
        low, high = 1e-15, 1e15
        for _ in range(80):
            middle = float(np.sqrt(low * high))
            low, high = (low, middle) if self.predicted(middle) <= operations else (middle, high)
        return high

    def build(self, price: float) -> SpikingNetwork:
        """Return the calibrated network at a price."""
        c = self.calibrator
        firing = fire_at_price(self.units, price, dict.fromkeys(self.units, self.phi_max), c.thresholds)
        # No channel needs longer bursts than its largest activation asks for; one more makes up for late ones.
        firing = {
            name: replace(
                f, phi=max(1, min(self.phi_max, ceil(float((c.histograms[name].top / f.threshold).max())) + 1))
            )
            for name, f in firing.items()
        }
        return c.calibrate(SpikingNetwork(c.network, c.source, firing, c.thresholds.timesteps), price)


@dataclass(frozen=True)
class ChannelSearch:
    """Thresholds of every channel at one price, within a budget and then within a tolerance.

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
                spiking = knob.build(knob.price(aim))
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
                spiking = knob.build(knob.price(aim))
                measured = judge.measure(spiking)
                history.append(Trial(measured, aim))
                advance()
                if measured.divergence <= allowed and measured.operations < best_measured.operations:
                    best, best_measured = spiking, measured
                else:
                    step = float(np.sqrt(step))
        record = CompressionRecord(tolerance, before, best_measured, tuple(history))
        return Found(best, best_measured, record)
