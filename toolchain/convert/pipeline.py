"""From a float network and calibration data to a netlist: the passes in order.

gates and curves -> silent channels -> thresholds -> calibration -> firing-pattern search -> spike compression ->
quantise -> early exit
(semantics, section 7; every network that a search weighs is calibrated first).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import torch

from toolchain.calibrate import (
    CalibrationData,
    Calibrator,
    EarlyExitCalibration,
    Levels,
    Thresholds,
    collect_histograms,
)
from toolchain.convert.agreement import TELLING_SAMPLES, check_agreement, measure_agreement
from toolchain.convert.bursts import LONGEST, Converted, advice, lengthen, lengthened_note
from toolchain.convert.recipe import Recipe
from toolchain.convert.silence import silence
from toolchain.convert.stages import check_labelled, guess_note, measure_stages, measure_substituted
from toolchain.data import Dataset, choose_input, parse_normalization
from toolchain.display import Progress, silent
from toolchain.netlist import Input, InputError, Netlist, Provenance
from toolchain.network import Activation, Curve, FloatNetwork, SpikingNetwork
from toolchain.pieces import measure_curves, substitute
from toolchain.quantize import Precision, check_precision, quantize, whole_resamplings
from toolchain.search import ChannelSearch, Judge, LayerSearch, MeasurementCache, Measuring, default_folder

#: Samples that a search needs besides those it calibrates on, to measure what it promises.
LEAST_HELD_OUT = 64
#: Samples beside those that a conversion calibrates on, to measure the agreement on.
UNSEEN = 256
#: What to do where digits do not serve.
_RATES = "use `spike_code` rate"


def choose_samples(data: Dataset, samples: int, seed: int) -> Dataset:
    """Draw the calibration set: `samples` of the data without repetition, in their order in the file."""
    if len(data) <= samples:
        return data
    return data.select(_drawn(len(data), samples, seed))


def _drawn(count: int, samples: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(count, samples, replace=False))


def convert_network(
    network: FloatNetwork,
    data: Dataset,
    recipe: Recipe,
    *,
    evaluate: Dataset | None = None,
    progress: Progress = silent,
) -> Netlist:
    """Convert a float network into a netlist.

    Parameters
    ----------
    network : FloatNetwork
    data : Dataset
        To calibrate on; labels are not used. Of frames, the ANN sees their mean.
    recipe : Recipe
    evaluate : Dataset, optional
        Labelled samples on which the accuracy of ANN, float SNN and netlist is measured (`toolchain.convert.stages`).
    progress : Progress

    Returns
    -------
    Netlist
        Its provenance records the network's origin, the recipe, the calibration data's hash and the accuracies.

    Raises
    ------
    InputError
        When the data do not have the shape that the network takes, or hold NaN; when those to evaluate on have no
        labels.
    TargetError
        When a number does not fit the target's fields.
    UnsupportedError
        When the network has gates and `freeze_gates` is false.
    CollapseError
        When the netlist does not compute what the ANN does, unless the recipe accepts that; the layer where it breaks
        is named.
    """
    precision = Precision(recipe.weight_bits, recipe.hardware)
    # Whatever can be refused is refused now, not after minutes of calibration.
    _check_fits(network, data, recipe)
    firing = [u.name for u in network.units if isinstance(u, Activation | Curve)]
    check_precision(precision, dict.fromkeys(firing, recipe.longest))
    normalization = parse_normalization(recipe.normalize, data.shape[0])
    search = search_pass(recipe) if recipe.searches else None
    calibration, held_out = _split(data, recipe)
    x = calibration.normalized(normalization.mean, normalization.std)
    _check_finite(data, x)
    source = choose_input(network.source.name, calibration, x, normalization)
    if evaluate is not None:
        check_labelled(network, evaluate, source, recipe.steps)
    prepared = _prepare(calibration, source, recipe)
    judged = _prepare(held_out, source, recipe) if held_out is not None else prepared
    made = substitute(network, prepared.x, pieces=recipe.pieces, freeze_gates=recipe.freeze_gates, progress=progress)
    others = held_out if held_out is not None else _unseen(data, recipe)
    unseen = _prepare(others, source, recipe) if others is not None else prepared
    whole, rounded = whole_resamplings(made.network)
    histograms = collect_histograms(whole, prepared.x, progress=progress)
    live, silenced = silence(whole, histograms, len(prepared))
    calibrator = Calibrator(
        live,
        source,
        histograms,
        prepared,
        precision,
        Thresholds(
            recipe.steps, recipe.init, recipe.threshold, per_layer=recipe.threshold_per_layer, radix=recipe.radix
        ),
        recipe.calibrate,
        progress,
    )
    provenance = Provenance(
        network=network.origin,
        calibration_data=hashlib.sha256(np.ascontiguousarray(calibration.values).tobytes()).hexdigest(),
        recipe=recipe.settings(),
        adafire=version("adafire"),
        tail=network.tail,
    )

    def finish(phi: Mapping[str, int], spiking: SpikingNetwork) -> Converted:
        netlist = quantize(spiking, precision, provenance)
        return Converted(phi, spiking, netlist, measure_agreement(network, netlist, unseen, progress=progress))

    def fire(phi: Mapping[str, int]) -> Converted:
        return finish(phi, calibrator.calibrate(calibrator.fire(phi)))

    levels = Levels(calibrator)
    if search is not None:
        found = search(calibrator, Judge(network, judged, precision))
        provenance = replace(provenance, search=found.record)
        first = done = finish({name: f.phi for name, f in found.spiking.firing.items()}, found.spiking)
    else:
        # Digits of one base: in radix code all bursts are as long.
        first = done = fire(made.bursts(recipe.most, alike=recipe.radix is not None))
        if recipe.phi is None and recipe.radix is None:
            done = lengthen(first, levels, min(LONGEST, recipe.payload_limit), fire)
    spiking, netlist = done.spiking, done.netlist
    payloads = (prepared.payload if data.is_frames else prepared.payload[0]).numpy()
    curves, gates = measure_curves(made, netlist, prepared.x, payloads), made.gates
    notes = (
        *rounded,
        *silenced,
        *(netlist.provenance.notes or ()),
        *lengthened_note(first, done),
        *(advice(done, levels, recipe.payload_limit) if recipe.radix is None else ()),
        *check_agreement(done.agreement, accept=recipe.accept_collapse),
    )
    accuracies = None
    if evaluate is not None:
        accuracies = measure_stages(network, spiking, netlist, evaluate, progress=progress)
        curves, gates = measure_substituted(made, curves, netlist, evaluate)
        guess = guess_note(accuracies, network, evaluate, recipe.normalize)
        notes = (*notes, *([guess] if guess else ()))
    provenance = replace(netlist.provenance, curves=curves or None, gates=gates, evaluation=accuracies, notes=notes)
    netlist = replace(netlist, provenance=provenance)
    return EarlyExitCalibration(recipe.alpha_base)(netlist, network, judged.x) if recipe.early_exit else netlist


def _check_finite(data: Dataset, x: np.ndarray) -> None:
    if not np.all(np.isfinite(x)):
        raise InputError(data.name, "holds NaN or infinite values", "clean the data first")


def _check_fits(network: FloatNetwork, data: Dataset, recipe: Recipe) -> None:
    if data.shape != network.source.shape:
        raise InputError(data.name, f"samples of shape {data.shape} found, the network takes {network.source.shape}")
    if data.is_frames and recipe.radix is not None:
        raise InputError(
            data.name, "frames found: a window of digits holds one picture, and leaves nothing for the next", _RATES
        )
    if data.is_frames and data.values.shape[1] < recipe.steps:
        raise InputError(data.name, f"{data.values.shape[1]} frames per sample found, expected {recipe.steps}")
    if len(data) == 0:
        raise InputError(data.name, "holds no samples", "calibrate on at least one, better 1,024")


def search_pass(recipe: Recipe) -> ChannelSearch | LayerSearch:
    """Return the search that `search`, `compress` and `strategy` of a recipe ask for."""
    budget, tolerance = recipe.budget if recipe.search else None, recipe.tolerance if recipe.compress else None
    if recipe.strategy == "channels":
        return ChannelSearch(recipe.most, recipe.longest_burst, budget, tolerance)
    measuring = Measuring(executor=recipe.executor, cache=MeasurementCache(recipe.cache or default_folder()))
    return LayerSearch(recipe.most, recipe.longest_burst, recipe.phi_min, budget, tolerance, measuring)


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


def _unseen(data: Dataset, recipe: Recipe) -> Dataset | None:
    """Draw samples to measure the agreement on from those that calibration leaves; None where they are too few."""
    if len(data) - recipe.samples < TELLING_SAMPLES:
        return None
    left = np.setdiff1d(np.arange(len(data)), _drawn(len(data), recipe.samples, recipe.seed))
    return choose_samples(data.select(left), UNSEEN, recipe.seed)


def _prepare(data: Dataset, source: Input, recipe: Recipe) -> CalibrationData:
    """Return what ANN and SNN see of samples; of frames, the ANN sees their mean."""
    x = data.normalized(source.mean, source.std)
    _check_finite(data, x)
    payload = torch.from_numpy(data.payloads(source))
    if data.is_frames:
        return CalibrationData(torch.from_numpy(x[:, : recipe.steps].mean(axis=1)).float(), payload[: recipe.steps])
    return CalibrationData(torch.from_numpy(x).float(), payload[None])
