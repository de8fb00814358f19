"""The search of the paper: phi and rho of whole layers, from sensitivities measured layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from toolchain.calibrate import Calibrator
from toolchain.network import SpikingNetwork
from toolchain.search.compression import RHO, search_compression
from toolchain.search.firing import Found, search_firing
from toolchain.search.measure import Judge
from toolchain.search.sensitivity import Measuring, SensitivityTable, measure_sensitivities
from toolchain.search.workbench import Base


@dataclass(frozen=True)
class LayerSearch:
    """Firing-pattern search and spike compression, layer by layer (appendix, Algorithm 1).

    Parameters
    ----------
    phi : int
        Target phi; uniform phi sets the budget.
    phi_min, phi_max : int
        Bounds of phi per layer.
    budget : float or None
        Operations relative to uniform phi; None to leave phi as it is.
    tolerance : float or None
        Greatest increase of the divergence for the compression; None for no compression.
    measuring : Measuring
    """

    phi: int
    phi_max: int
    phi_min: int = 1
    budget: float | None = 1.0
    tolerance: float | None = None
    measuring: Measuring = field(default_factory=Measuring)

    def __call__(self, calibrator: Calibrator, judge: Judge) -> Found:
        """Search, and return the calibrated network; `judge` has data that calibration does not see."""
        uniform = calibrator.calibrate(calibrator.fire({u.name: self.phi for u in calibrator.network.activations}))
        report: dict[str, Any] = {"strategy": "layers"}
        found = Found(uniform, judge.measure(uniform), report)
        if self.budget is not None:
            table = self._phi_table(calibrator, uniform)
            found = search_firing(
                table,
                uniform,
                lambda phi: calibrator.calibrate(calibrator.fire(phi)),
                judge,
                self.budget,
                progress=calibrator.progress,
            )
            report |= {"firing": found.report, "firing_table": table.to_json()}
        if self.tolerance is not None:
            start = found.spiking
            table = self._rho_table(calibrator, start)

            def build(rho: Mapping[str, float]) -> SpikingNetwork:
                firing = {name: replace(f, rho=rho[name]) for name, f in start.firing.items()}
                return calibrator.calibrate(replace(start, firing=firing))

            found = search_compression(table, start, build, judge, self.tolerance, progress=calibrator.progress)
            report |= {"compression": found.report, "compression_table": table.to_json()}
        phi = {name: firing.phi for name, firing in found.spiking.firing.items()}
        return replace(found, report={**report, "phi": phi, "measured": found.measured.to_json()})

    def _base(self, calibrator: Calibrator, spiking: SpikingNetwork) -> Base:
        part = calibrator.data.part(0, max(self.measuring.samples, 1))
        return Base(calibrator.network, spiking, part, calibrator.precision)

    def _phi_table(self, calibrator: Calibrator, uniform: SpikingNetwork) -> SensitivityTable:
        settings = range(self.phi_min, self.phi_max + 1)
        by_phi = [calibrator.fire({u.name: phi for u in calibrator.network.activations}).firing for phi in settings]
        options = {u.name: [firing[u.name] for firing in by_phi] for u in calibrator.network.activations}
        positions = [settings.index(self.phi)] * len(options)
        base = self._base(calibrator, uniform)
        return measure_sensitivities(base, options, settings, positions, self.measuring, progress=calibrator.progress)

    def _rho_table(self, calibrator: Calibrator, start: SpikingNetwork) -> SensitivityTable:
        options = {name: [replace(f, rho=rho) for rho in RHO] for name, f in start.firing.items()}
        base = self._base(calibrator, start)
        return measure_sensitivities(
            base, options, RHO, [0] * len(options), self.measuring, progress=calibrator.progress
        )
