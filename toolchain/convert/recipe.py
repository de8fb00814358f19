"""The recipe: everything that decides a conversion, besides the network and the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from hw_targets.target import Target
from toolchain.calibrate import CalibrationMethod, Thresholds
from toolchain.calibrate.thresholds import Init, Method
from toolchain.netlist import InputError
from toolchain.quantize import Precision
from toolchain.search import ChannelSearch, LayerSearch, Measuring


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a conversion, besides the network and the data.

    Parameters
    ----------
    timesteps : int
    phi : int
        Longest burst of every population.
    init : {"half", "zero", "spread"}
        Initial membrane potential (semantics, section 2).
    threshold : {"mse", "max", "percentile"}
        How thresholds are chosen: eq. 13, the largest activation, its 99.9th percentile.
    threshold_per_layer : bool
        One threshold for all channels of a layer.
    calibrate : {"light", "advanced", "none"}
    weight_bits : int
    target : Target, optional
    samples : int
        Size of the calibration set, drawn from the data by `seed`; searches measure on as many more.
    seed : int
    search : bool
        Whether to search how layers fire, within `budget`.
    phi_max : int, optional
        Longest burst that a search may use; by default twice `phi`, as far as the target's payload goes.
    phi_min : int
        Shortest longest burst of a layer, for strategy "layers".
    budget : float
        Synaptic operations relative to uniform `phi`.
    compress : bool
        Whether to save operations within `tolerance`.
    tolerance : float
        Increase of the divergence from the ANN that compression may cost, as measured.
    strategy : {"channels", "layers"}
        Thresholds per channel at one price, or phi and rho per layer as in the paper.
    early_exit : bool
        Whether samples may stop early.
    alpha_base : float, optional
        Of eq. 15; by default alpha is fitted (`toolchain.calibrate.early_exit`).
    measuring : Measuring
        Where sensitivities are measured, for strategy "layers".
    """

    timesteps: int = 8
    phi: int = 4
    init: Init = "half"
    threshold: Method = "mse"
    threshold_per_layer: bool = False
    calibrate: CalibrationMethod = "advanced"
    weight_bits: int = 8
    target: Target | None = None
    samples: int = 1024
    seed: int = 0
    search: bool = False
    phi_max: int | None = None
    phi_min: int = 1
    budget: float = 1.0
    compress: bool = False
    tolerance: float = 0.02
    strategy: Literal["channels", "layers"] = "channels"
    early_exit: bool = False
    alpha_base: float | None = None
    measuring: Measuring = field(default_factory=Measuring)

    def __post_init__(self) -> None:
        if self.longest_burst < self.phi:
            raise InputError("--phi-max", f"{self.phi_max} found, expected at least --phi, {self.phi}")
        if self.searches and self.strategy == "channels" and (self.threshold_per_layer or self.threshold != "mse"):
            raise InputError(
                "--strategy",
                "channels chooses the threshold of every channel itself, other ways to choose them were asked for",
                "use --strategy layers, or leave --threshold and --threshold-per-layer out",
            )
        if not 1 <= self.phi_min <= self.phi:
            raise InputError("--phi-min", f"{self.phi_min} found, expected 1 to --phi, {self.phi}")

    @property
    def longest_burst(self) -> int:
        """Longest burst that a search may use."""
        if self.phi_max is not None:
            return self.phi_max
        limit = self.target.max_payload if self.target else None
        return max(self.phi, min(2 * self.phi, limit or 255))

    @property
    def searches(self) -> bool:
        """Whether anything is decided by measuring on held-out samples."""
        return self.search or self.compress

    @property
    def search_pass(self) -> ChannelSearch | LayerSearch:
        """The search that `search`, `compress` and `strategy` ask for."""
        budget, tolerance = self.budget if self.search else None, self.tolerance if self.compress else None
        if self.strategy == "channels":
            return ChannelSearch(self.phi, self.longest_burst, budget, tolerance)
        return LayerSearch(self.phi, self.longest_burst, self.phi_min, budget, tolerance, self.measuring)

    @property
    def thresholds(self) -> Thresholds:
        """Options of the threshold search."""
        return Thresholds(self.timesteps, self.init, self.threshold, per_layer=self.threshold_per_layer)

    @property
    def precision(self) -> Precision:
        """The integers to quantise to."""
        return Precision(self.weight_bits, self.target)

    def settings(self) -> dict[str, Any]:
        """Return the recipe as JSON values, for the netlist's provenance."""
        return {
            "timesteps": self.timesteps,
            "phi": self.phi,
            "init": self.init,
            "threshold": self.threshold,
            "threshold_per_layer": self.threshold_per_layer,
            "calibrate": self.calibrate,
            "weight_bits": self.weight_bits,
            "target": self.target.name if self.target else None,
            "samples": self.samples,
            "seed": self.seed,
            "early_exit": self.early_exit,
            "alpha_base": self.alpha_base,
            **(self._search_settings() if self.searches else {}),
        }

    def _search_settings(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "phi_max": self.longest_burst,
            "budget": self.budget if self.search else None,
            "tolerance": self.tolerance if self.compress else None,
        }
