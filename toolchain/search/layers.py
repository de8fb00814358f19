"""The search of the paper: phi and rho of whole layers, from sensitivities measured layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from toolchain.calibrate import Calibrator
from toolchain.netlist import SensitivityTable, TaskName
from toolchain.netlist.provenance import SearchRecord
from toolchain.network import SpikingNetwork
from toolchain.search.compression import RHO, search_compression
from toolchain.search.firing import search_firing
from toolchain.search.measure import Judge
from toolchain.search.sensitivity import Measuring, measure_sensitivities
from toolchain.search.trials import Found, check_limits, uniform_network
from toolchain.search.workbench import BaseNetwork


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
        found = uniform = uniform_network(calibrator, judge, self.phi)
        firing = compression = phi_table = rho_table = None
        if self.budget is not None:
            phi_table = self._phi_table(calibrator, uniform.spiking, judge.task)
            found = within_budget = search_firing(
                phi_table,
                uniform,
                lambda phi: calibrator.calibrate(calibrator.fire(phi)),
                judge,
                self.budget,
                progress=calibrator.progress,
            )
            firing = within_budget.record
        if self.tolerance is not None:
            start = found
            rho_table = self._rho_table(calibrator, start.spiking, judge.task)

            def build(rho: Mapping[str, float]) -> SpikingNetwork:
                raised = {name: replace(f, rho=rho[name]) for name, f in start.spiking.firing.items()}
                return calibrator.calibrate(replace(start.spiking, firing=raised))

            found = compressed = search_compression(
                rho_table, start, build, judge, self.tolerance, progress=calibrator.progress
            )
            compression = compressed.record
        record = SearchRecord(
            "layers",
            {name: f.phi for name, f in found.spiking.firing.items()},
            found.measured,
            firing=firing,
            firing_table=phi_table,
            compression=compression,
            compression_table=rho_table,
        )
        return Found(found.spiking, found.measured, record)

    def _base(self, calibrator: Calibrator, spiking: SpikingNetwork, task: TaskName | None) -> BaseNetwork:
        part = calibrator.data.part(0, max(self.measuring.samples, 1))
        return BaseNetwork(calibrator.network, spiking, part, calibrator.precision, task)

    def _phi_table(self, calibrator: Calibrator, uniform: SpikingNetwork, task: TaskName | None) -> SensitivityTable:
        settings = range(self.phi_min, self.phi_max + 1)
        by_phi = [calibrator.fire({u.name: phi for u in calibrator.network.activations}).firing for phi in settings]
        options = {u.name: [firing[u.name] for firing in by_phi] for u in calibrator.network.activations}
        positions = [settings.index(self.phi)] * len(options)
        base = self._base(calibrator, uniform, task)
        return measure_sensitivities(base, options, settings, positions, self.measuring, progress=calibrator.progress)

    def _rho_table(self, calibrator: Calibrator, start: SpikingNetwork, task: TaskName | None) -> SensitivityTable:
        options = {name: [replace(f, rho=rho) for rho in RHO] for name, f in start.firing.items()}
        base = self._base(calibrator, start, task)
        return measure_sensitivities(
            base, options, RHO, [0] * len(options), self.measuring, progress=calibrator.progress
        )
