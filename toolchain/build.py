"""From a float network and calibration data to a netlist: the passes in order.

thresholds -> calibration -> firing-pattern search -> spike compression -> quantise -> early exit
(semantics, section 7; every network that a search weighs is calibrated first).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch

from hw_targets.target import Target
from toolchain.calibrate import CalibrationData, Thresholds, collect_histograms
from toolchain.calibrate.thresholds import Init, Method
from toolchain.conversion import CalibrationMethod, Conversion
from toolchain.early_exit import EarlyExitCalibration
from toolchain.encoding import Normalization, choose_encoding
from toolchain.netlist import InputError, Netlist
from toolchain.netlist.data_file import Dataset
from toolchain.network import Encoding, FloatNetwork
from toolchain.progress import Progress, silent
from toolchain.quantize import Precision, check_precision, input_population, quantize
from toolchain.search import Judge, Measuring
from toolchain.search.channels import ChannelSearch
from toolchain.search.layers import LayerSearch
from toolchain.stages import check_labelled, measure_stages

#: Samples that a search needs besides those it calibrates on, to measure what it promises.
LEAST_HELD_OUT = 64


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
        Of eq. 15; by default alpha is fitted (`toolchain.early_exit`).
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


def choose_samples(data: Dataset, samples: int, seed: int) -> Dataset:
    """Draw the calibration set: `samples` of the data without repetition, in their order in the file."""
    if len(data) <= samples:
        return data
    chosen = np.random.default_rng(seed).choice(len(data), samples, replace=False)
    return data.select(np.sort(chosen))


def build_netlist(
    network: FloatNetwork,
    data: Dataset,
    normalization: Normalization,
    recipe: Recipe,
    *,
    evaluation: Dataset | None = None,
    progress: Progress = silent,
) -> Netlist:
    """Convert a float network into a netlist.

    Parameters
    ----------
    network : FloatNetwork
    data : Dataset
        To calibrate on; labels are not used. Of frames, the ANN sees their mean.
    normalization : Normalization
    recipe : Recipe
    evaluation : Dataset, optional
        Labelled samples on which the accuracy of ANN, float SNN and netlist is measured (`toolchain.stages`).
    progress : Progress

    Returns
    -------
    Netlist
        Its provenance records the network's origin, the recipe, the calibration data's hash and the accuracies.

    Raises
    ------
    InputError
        When the data do not have the shape that the network takes, or hold NaN; when the evaluation's have no labels.
    TargetError
        When a number does not fit the target's fields.
    """
    if data.shape != network.source.shape:
        raise InputError(data.name, f"samples of shape {data.shape} found, the network takes {network.source.shape}")
    if data.is_frames and data.values.shape[1] < recipe.timesteps:
        raise InputError(data.name, f"{data.values.shape[1]} frames per sample found, expected {recipe.timesteps}")
    if len(data) == 0:
        raise InputError(data.name, "holds no samples", "calibrate on at least one, better 1,024")
    # Said now, not after minutes of calibration.
    check_precision(recipe.precision, {unit.name: recipe.phi for unit in network.activations})
    calibration, held_out = _split(data, recipe)
    x = calibration.normalized(normalization.mean, normalization.std)
    if not np.all(np.isfinite(x)):
        raise InputError(data.name, "holds NaN or infinite values", "clean the data first")
    encoding = choose_encoding(calibration, x, normalization)
    if evaluation is not None:
        check_labelled(network, evaluation, input_population(network, encoding), recipe.timesteps)
    prepared = _prepare(network, calibration, encoding, recipe)
    judged = _prepare(network, held_out, encoding, recipe) if held_out is not None else prepared
    conversion = Conversion(
        network,
        encoding,
        collect_histograms(network, prepared.x, progress=progress),
        prepared,
        Judge(network, judged, recipe.precision),
        recipe.precision,
        recipe.thresholds,
        recipe.calibrate,
        progress,
    )
    provenance: dict[str, Any] = {
        "network": dict(network.origin),
        "calibration_data": hashlib.sha256(np.ascontiguousarray(calibration.values).tobytes()).hexdigest(),
        "recipe": recipe.settings(),
        "adafire": version("adafire"),
    }
    if recipe.searches:
        found = recipe.search_pass(conversion)
        spiking, provenance["search"] = found.spiking, dict(found.report)
    else:
        spiking = conversion.calibrate(conversion.fire({u.name: recipe.phi for u in network.activations}))
    netlist = quantize(spiking, recipe.precision, provenance)
    if evaluation is not None:
        stages = measure_stages(network, spiking, netlist, evaluation, progress=progress)
        netlist = replace(netlist, provenance={**netlist.provenance, "evaluation": stages.to_json()})
    return EarlyExitCalibration(recipe.alpha_base)(netlist, network, judged.x) if recipe.early_exit else netlist


def _split(data: Dataset, recipe: Recipe) -> tuple[Dataset, Dataset | None]:
    """Draw the calibration set, and as many other samples to measure on where the recipe needs them."""
    if not (recipe.searches or recipe.early_exit):
        return choose_samples(data, recipe.samples, recipe.seed), None
    drawn = choose_samples(data, 2 * recipe.samples, recipe.seed)
    # Half and half, or three to one where samples are few.
    calibrated = recipe.samples if len(drawn) == 2 * recipe.samples else len(drawn) * 3 // 4
    if len(drawn) - calibrated < LEAST_HELD_OUT:
        raise InputError(
            data.name,
            f"{len(data)} samples found, expected at least {4 * LEAST_HELD_OUT} to search and to measure the result",
            "give more calibration data",
        )
    order = np.random.default_rng(recipe.seed).permutation(len(drawn))
    return drawn.select(np.sort(order[:calibrated])), drawn.select(np.sort(order[calibrated:]))


def _prepare(network: FloatNetwork, data: Dataset, encoding: Encoding, recipe: Recipe) -> CalibrationData:
    """Return what ANN and SNN see of samples; of frames, the ANN sees their mean."""
    x = data.normalized(encoding.mean, encoding.std)
    payload = torch.from_numpy(data.payloads(input_population(network, encoding)))
    if data.is_frames:
        return CalibrationData(
            torch.from_numpy(x[:, : recipe.timesteps].mean(axis=1)).float(), payload[: recipe.timesteps]
        )
    return CalibrationData(torch.from_numpy(x).float(), payload[None])
