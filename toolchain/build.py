"""From a float network and calibration data to a netlist: the passes in order.

thresholds (eq. 13) -> biases (eq. 14, on the quantised spiking network) -> quantise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch

from hw_targets.target import Target
from toolchain.calibrate import CalibrationData, Thresholds, calibrate_biases, collect_histograms, fire_with
from toolchain.calibrate.thresholds import Init, Method
from toolchain.encoding import Normalization, choose_encoding
from toolchain.netlist import InputError, Netlist
from toolchain.netlist.data_file import Dataset
from toolchain.network import FloatNetwork, SpikingNetwork
from toolchain.progress import Progress, silent
from toolchain.quantize import Precision, input_population, quantize


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
    calibrate : {"light", "none"}
    weight_bits : int
    target : Target, optional
    samples : int
        Size of the calibration set, drawn from the data by `seed`.
    seed : int
    """

    timesteps: int = 8
    phi: int = 4
    init: Init = "half"
    threshold: Method = "mse"
    threshold_per_layer: bool = False
    calibrate: Literal["light", "none"] = "light"
    weight_bits: int = 8
    target: Target | None = None
    samples: int = 1024
    seed: int = 0

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
    progress : Progress

    Returns
    -------
    Netlist
        Its provenance records the network's origin, the recipe and the calibration data's hash.

    Raises
    ------
    InputError
        When the data do not have the shape that the network takes, or hold NaN.
    TargetError
        When a number does not fit the target's fields.
    """
    if data.shape != network.source.shape:
        raise InputError(data.name, f"samples of shape {data.shape} found, the network takes {network.source.shape}")
    if data.is_frames and data.values.shape[1] < recipe.timesteps:
        raise InputError(data.name, f"{data.values.shape[1]} frames per sample found, expected {recipe.timesteps}")
    if len(data) == 0:
        raise InputError(data.name, "holds no samples", "calibrate on at least one, better 1,024")
    data = choose_samples(data, recipe.samples, recipe.seed)
    x = data.normalized(normalization.mean, normalization.std)
    if not np.all(np.isfinite(x)):
        raise InputError(data.name, "holds NaN or infinite values", "clean the data first")
    ann_input = torch.from_numpy(x[:, : recipe.timesteps].mean(axis=1) if data.is_frames else x).float()

    histograms = collect_histograms(network, ann_input, progress=progress)
    phi = {unit.name: recipe.phi for unit in network.activations}
    spiking = SpikingNetwork(
        network,
        choose_encoding(data, x, normalization),
        fire_with(network, histograms, phi, recipe.thresholds),
        recipe.timesteps,
    )
    if recipe.calibrate == "light":
        payload = torch.from_numpy(data.payloads(input_population(spiking)))
        held = payload[: recipe.timesteps] if data.is_frames else payload[None]
        spiking = calibrate_biases(spiking, CalibrationData(ann_input, held), recipe.precision, progress=progress)
    provenance = {
        "network": dict(network.origin),
        "calibration_data": hashlib.sha256(np.ascontiguousarray(data.values).tobytes()).hexdigest(),
        "recipe": recipe.settings(),
        "adafire": version("adafire"),
    }
    return quantize(spiking, recipe.precision, provenance)
