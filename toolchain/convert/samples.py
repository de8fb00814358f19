"""The samples of a conversion: what it calibrates on, what it measures on, and the payload that fits them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from toolchain.calibrate import CalibrationData, Storage
from toolchain.convert.agreement import TELLING_SAMPLES
from toolchain.convert.recipe import Recipe
from toolchain.data import Dataset, Normalization, choose_input, normalization_of
from toolchain.netlist import Input, InputError
from toolchain.network import FloatNetwork, chunks

#: Samples that a search needs besides those it calibrates on, to measure what it promises.
LEAST_HELD_OUT = 64
#: Samples beside those that a conversion calibrates on, to measure the agreement on.
UNSEEN = 256
#: Gibibytes of activations that a layer has at work besides those that are stored: chunks of samples on two cores.
_AT_WORK = 0.5
#: What to do where digits do not serve.
_RATES = "use `spike_code` rate"


@dataclass(frozen=True, eq=False)
class SampleSets:
    """Unlabelled samples as ANN and SNN see them, for each purpose.

    Parameters
    ----------
    source : Input
        The netlist's input: no value of the calibration set leaves its range.
    sha256 : str
        Of the calibration set as it is stored.
    calibration : CalibrationData
    judged : CalibrationData
        What searches and early exit measure on: other samples, where the recipe needs them.
    unseen : CalibrationData
        What the agreement is measured on: other samples, where there are enough.
    """

    source: Input
    sha256: str
    calibration: CalibrationData
    judged: CalibrationData
    unseen: CalibrationData


def draw_samples(network: FloatNetwork, data: Dataset, recipe: Recipe) -> SampleSets:
    """Draw a conversion's samples by the recipe's seed.

    Parameters
    ----------
    network : FloatNetwork
    data : Dataset
        Labels are not used. Of frames, the ANN sees their mean.
    recipe : Recipe

    Raises
    ------
    InputError
        When the data do not have the shape that the network takes, are too few, or hold NaN.
    """
    _check_fits(network, data, recipe)
    normalization = normalization_of(data, recipe.normalize)
    calibration, held_out = _split(data, recipe)
    storage = Storage(max(recipe.memory - _AT_WORK, 0.0))
    source = choose_input(network.source.name, calibration, _ends(calibration, normalization), normalization)
    prepared = _prepare(calibration, source, recipe, storage)
    judged = _prepare(held_out, source, recipe, storage) if held_out is not None else prepared
    others = held_out if held_out is not None else _unseen(data, recipe)
    unseen = judged if others is None or others is held_out else _prepare(others, source, recipe, storage)
    return SampleSets(source, calibration.sha256, prepared, judged, unseen)


def _chunks(data: Dataset) -> list[slice]:
    return chunks(len(data), prod(data.values.shape[1:]))


def _ends(data: Dataset, normalization: Normalization) -> np.ndarray:
    """Return the least and the greatest number of normalised data; pictures have a range of their own."""
    if data.is_pictures:
        return np.zeros(2)
    least = np.full(2, np.inf)
    for part in _chunks(data):
        x = data.normalized(normalization.mean, normalization.std, part.start, part.stop)
        _check_finite(data, x)
        least = np.minimum(least, [x.min(), -x.max()])
    return least * (1, -1)


def choose_samples(data: Dataset, samples: int, seed: int) -> Dataset:
    """Draw the calibration set: `samples` of the data without repetition, in their order in the file."""
    if len(data) <= samples:
        return data
    return data.select(_drawn(len(data), samples, seed))


def _drawn(count: int, samples: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(count, samples, replace=False))


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
    if data.frames is not None and data.frames < recipe.steps:
        raise InputError(data.name, f"{data.frames} frames per sample found, expected {recipe.steps}")
    if len(data) == 0:
        raise InputError(data.name, "holds no samples", "calibrate on at least one, better 1,024")


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
    drawn = left[_drawn(len(left), UNSEEN, recipe.seed)] if len(left) > UNSEEN else left
    return data.select(drawn)  # at once: a copy of all that is left may be large


def _prepare(data: Dataset, source: Input, recipe: Recipe, storage: Storage) -> CalibrationData:
    """Return what ANN and SNN see of samples, read once; of frames, the ANN sees their mean."""
    steps = recipe.steps if data.is_frames else 1
    x = storage.allocate((len(data), *data.shape), torch.float32)
    payload = storage.allocate(
        (len(data), steps, *data.shape), torch.int8 if source.signed else torch.uint8, channels=2
    )
    for part in _chunks(data):
        values = data.normalized(source.mean, source.std, part.start, part.stop)
        _check_finite(data, values)
        encoded = torch.from_numpy(data.encode(source, values))
        if data.is_frames:
            x[part] = torch.from_numpy(values[:, :steps].mean(axis=1)).float()
            payload[part] = encoded[:steps].transpose(0, 1)
        else:
            x[part], payload[part] = torch.from_numpy(values).float(), encoded[:, None]
    return CalibrationData(x, payload, storage)
