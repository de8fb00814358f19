"""How data become numbers for the ANN (normalisation) and payloads for the SNN (encoding)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.data.dataset import Dataset
from toolchain.data.values import parts
from toolchain.netlist import Input, InputError
from toolchain.netlist.parts import places, units

#: Mean and standard deviation of normalisations that are known by name, per channel, for data in [0, 1].
NAMED = {
    # Channel statistics of the CIFAR-10 training set, as customary.
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    # torchvision's normalisation of its ImageNet models.
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True, eq=False)
class Normalization:
    """``x = (raw - mean) / std`` per channel; pictures (uint8) are scaled to [0, 1] first.

    Parameters
    ----------
    mean, std : ndarray (C,), float64
    """

    mean: np.ndarray
    std: np.ndarray


def parse_normalization(text: str, channels: int) -> Normalization:
    """Read `cifar10`, `imagenet`, `none` or MEAN/STD.

    Parameters
    ----------
    text : str
        MEAN and STD are one number, or one per channel separated by commas, for data in [0, 1]:
        ``0.5,0.5,0.5/0.25,0.25,0.25``; ``0/1`` leaves pictures in [0, 1]. `none` takes pictures as the numbers 0..255.
    channels : int

    Raises
    ------
    InputError
        When the text is none of these.

    Examples
    --------
    >>> parse_normalization("none", 1).std * 255
    array([1.])
    >>> parse_normalization("0.5/0.25", 3).mean
    array([0.5, 0.5, 0.5])
    """
    if text == "none":
        return Normalization(np.zeros(channels), np.full(channels, 1 / 255))
    try:
        if text in NAMED:
            parts = [np.array(values) for values in NAMED[text]]
        else:
            parts = [np.array([float(v) for v in part.split(",")]) for part in text.split("/")]
        mean, std = (np.broadcast_to(p, (channels,)).copy() for p in parts)
    except ValueError:
        raise InputError(
            "normalize",
            f"{text!r} found, expected {', '.join(NAMED)}, none or MEAN/STD with 1 or {channels} numbers each",
        ) from None
    if not (np.all(np.isfinite(mean)) and np.all(np.isfinite(std)) and np.all(std > 0)):
        raise InputError("normalize", f"{text!r} found, expected finite means and positive deviations")
    return Normalization(mean, std)


def normalization_of(data: Dataset, text: str) -> Normalization:
    """Return the normalisation of data: parts have their units, all else what `text` says; errors as of that."""
    if data.parts:
        std = units(data.parts)
        return Normalization(np.zeros_like(std), std)
    return parse_normalization(text, data.shape[0])


def in_units(data: Dataset) -> Dataset:
    """Return data whose parts have their greatest magnitude for their unit: numbers of any size share one payload."""
    if not data.parts:
        return data
    peaks = np.zeros(data.shape[0])
    for values in parts(data.values):
        np.maximum(peaks, np.abs(values).max(axis=tuple(i for i in range(values.ndim) if i != 1)), out=peaks)
    found = (float(peaks[place].max()) or 1.0 for place in places(data.parts))
    return replace(data, parts=tuple(replace(p, unit=u) for p, u in zip(data.parts, found, strict=True)))


def choose_input(name: str, data: Dataset, x: np.ndarray, normalization: Normalization) -> Input:
    """Choose the input's payload so that no value is clipped, with 8 bits.

    Pictures have a known range, 0..255, and so has what normalisation makes of it; other data take
    their range from the samples. Data that are never negative get an unsigned payload.

    Parameters
    ----------
    name : str
        Of the input.
    data : Dataset
    x : ndarray
        The same data, normalised.
    normalization : Normalization
    """
    if data.is_pictures:
        low = float(np.min((0.0 - normalization.mean) / normalization.std))
        high = float(np.max((1.0 - normalization.mean) / normalization.std))
    else:
        low, high = float(x.min()), float(x.max())
    signed = low < 0
    scale = max(-low, high) / (127 if signed else 255)
    return Input(
        name=name,
        shape=data.shape,
        bits=8,
        signed=signed,
        scale=scale or 1.0,
        mean=normalization.mean,
        std=normalization.std,
        coding="frames" if data.is_frames else "direct",
    )
