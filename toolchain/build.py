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
from toolchain.encoding import Normalization, choose_encoding, normalize, payloads
from toolchain.netlist import InputError, Netlist
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


def choose_samples(raw: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Draw the calibration set: `samples` of `raw` without repetition, in their order in the file."""
    if raw.shape[0] <= samples:
        return raw
    chosen = np.random.default_rng(seed).choice(raw.shape[0], samples, replace=False)
    return raw[np.sort(chosen)]


def build_netlist(
    network: FloatNetwork,
    raw: np.ndarray,
    normalization: Normalization,
    recipe: Recipe,
    *,
    frames: bool = False,
    progress: Progress = silent,
) -> Netlist:
    """Convert a float network into a netlist.

    Parameters
    ----------
    network : FloatNetwork
    raw : ndarray (N, *shape), or (N, T, *shape) with `frames`
        Calibration data as `toolchain.encoding.normalize` takes them; labels are not used.
    normalization : Normalization
    recipe : Recipe
    frames : bool
        Whether each timestep brings its own data; the ANN is then calibrated on their mean.
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
    shape = network.source.shape
    if raw.shape[2 if frames else 1 :] != shape or raw.shape[0] == 0:
        axes = ", ".join(["N", *(["T"] if frames else []), *map(str, shape)])
        raise InputError("--calibration", f"data of shape {raw.shape} found, the network takes ({axes})")
    if frames and raw.shape[1] < recipe.timesteps:
        raise InputError("--calibration", f"{raw.shape[1]} frames found, expected {recipe.timesteps} timesteps of them")
    raw = choose_samples(raw, recipe.samples, recipe.seed)
    raw = raw[:, : recipe.timesteps] if frames else raw
    x = normalize(raw, normalization)
    if not np.all(np.isfinite(x)):
        raise InputError("--calibration", "the data hold NaN or infinite values", "clean them first")
    ann_input = torch.from_numpy(x.mean(axis=1) if frames else x).float()

    histograms = collect_histograms(network, ann_input, progress=progress)
    phi = {unit.name: recipe.phi for unit in network.activations}
    spiking = SpikingNetwork(
        network,
        choose_encoding(x, raw, normalization, frames=frames),
        fire_with(network, histograms, phi, recipe.thresholds),
        recipe.timesteps,
    )
    if recipe.calibrate == "light":
        payload = torch.from_numpy(payloads(input_population(spiking), raw))
        data = CalibrationData(ann_input, payload if frames else payload[None])
        spiking = calibrate_biases(spiking, data, recipe.precision, progress=progress)
    provenance = {
        "network": dict(network.origin),
        "calibration_data": hashlib.sha256(np.ascontiguousarray(raw).tobytes()).hexdigest(),
        "recipe": recipe.settings(),
        "adafire": version("adafire"),
    }
    return quantize(spiking, recipe.precision, provenance)
