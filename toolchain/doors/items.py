"""What the user's code gives for one sample, (x, y), as numbers and as truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.data import UNKNOWN, Joined, Truth, join, truth_of
from toolchain.netlist import InputError

#: How y says what is true of a sample.
_FORMS = "a whole number, classes of points (P,) or of pixels (H, W), values, or a mapping with boxes and labels"


def parted(where: str, item: Any) -> tuple[np.ndarray | Joined, Any]:
    """Return the sample and what is true of it.

    Parameters
    ----------
    where : str
        What an error names.
    item : Any
        x, (x,) or (x, y).

    Returns
    -------
    x : ndarray (C, ...), or Joined (1, C, ...)
        The latter of a mapping of arrays, one for each of several inputs.
    y : Any
        None where there is none.

    Raises
    ------
    InputError
        When the item is something else, or x is no array of numbers.
    """
    if not isinstance(item, tuple | list):
        return _sample(where, item), None
    if not 1 <= len(item) <= 2:
        raise InputError(where, f"{len(item)} things found, expected x, or (x, y)")
    return _sample(where, item[0]), item[1] if len(item) == 2 else None


def _sample(where: str, x: Any) -> np.ndarray | Joined:
    """Return x with the channel axis first: tensors have it there, arrays and PIL pictures of uint8 have it last."""
    if _is_mapping(x) and all(isinstance(name, str) for name in x):
        arrays = {name: _numbers(where, values)[np.newaxis] for name, values in x.items()}
        if all(values.dtype.kind == "f" and values.ndim > 1 for values in arrays.values()):
            return join(where, arrays)
    values = _numbers(where, x)
    if values.dtype.kind == "b":
        values = values.astype(np.float32)
    if values.dtype.kind not in "uif" or values.ndim == 0:
        fix = f"return the sample and what is true of it, of {', '.join(map(str, x))[:80]}" if _is_mapping(x) else None
        raise InputError(where, f"{type(x).__name__} found, expected an array of numbers or a PIL picture", fix)
    if values.dtype != np.uint8 or _is_tensor(x) or values.ndim not in (2, 3):
        return values
    return values[np.newaxis] if values.ndim == 2 else np.moveaxis(values, -1, 0)


def _is_mapping(x: Any) -> bool:
    return isinstance(x, Mapping) and bool(x)


def _is_tensor(x: Any) -> bool:
    return hasattr(x, "detach")


def _numbers(where: str, x: Any) -> np.ndarray:
    if isinstance(x, np.ndarray):
        return x
    if _is_tensor(x):
        held = x.detach().cpu()
        return np.asarray((held.float() if str(held.dtype) == "torch.bfloat16" else held).numpy())
    if hasattr(x, "getbands"):  # a PIL picture
        if x.mode not in ("L", "RGB"):
            raise InputError(where, f"a PIL picture of mode {x.mode} found, expected L or RGB", "convert it first")
        return np.asarray(x)
    try:
        return np.asarray(x)
    except ValueError:  # lists of unequal lengths
        raise InputError(where, f"{type(x).__name__} found, expected an array of numbers") from None


def truth_in(name: str, found: Sequence[Any]) -> Truth:
    """Return what is true of samples.

    Parameters
    ----------
    name : str
        Of the data, for messages.
    found : sequence of N
        y of every sample: a whole number; classes of points (P,) or of pixels (H, W); values, in floating point; or a
        mapping with `boxes` (K, 4) and `labels` (K,), as torchvision's detectors take them. All None: nothing is known.

    Raises
    ------
    InputError
        When a y is none of these, or of another kind than the first one.
    """
    if all(y is None for y in found):
        return UNKNOWN
    if isinstance(found[0], Mapping):
        return _boxes(name, found)
    arrays: list[np.ndarray] = []
    for index, y in enumerate(found):
        where = f"{name}, sample {index}"
        array = _classes(where, y)
        if array.dtype.kind not in "uibf" or (array.dtype.kind != "f" and array.ndim > 2):
            raise InputError(where, f"y of {type(y).__name__} found, expected {_FORMS}")
        if arrays and array.shape != arrays[0].shape:
            raise InputError(where, f"y of shape {array.shape} found, those before have {arrays[0].shape}")
        if arrays and (array.dtype.kind == "f") != (arrays[0].dtype.kind == "f"):
            raise InputError(where, f"y of {array.dtype} found, those before are {arrays[0].dtype}")
        arrays.append(array)
    whole = np.stack(arrays)
    if whole.dtype.kind == "f":
        return truth_of(name, {"targets": whole}, len(found))
    key = ("labels", "point_labels", "masks")[arrays[0].ndim]
    if key == "masks":
        if whole.min() < 0 or whole.max() > 255:
            raise InputError(name, f"masks from {whole.min()} to {whole.max()} found, expected 0 to 255")
        whole = whole.astype(np.uint8)
    return truth_of(name, {key: whole}, len(found))


def _classes(where: str, y: Any) -> np.ndarray:
    """Return y as numbers, without an axis of one that stands for a channel."""
    # A PIL picture of a palette holds classes, whatever their colours.
    array = np.asarray(y) if hasattr(y, "getbands") else _numbers(where, y)
    return array[0] if array.ndim in (1, 3) and array.shape[0] == 1 else array


def _boxes(name: str, found: Sequence[Any]) -> Truth:
    samples: list[int] = []
    boxes, labels = [np.empty((0, 4), np.float32)], [np.empty(0, np.int64)]
    for index, y in enumerate(found):
        where = f"{name}, sample {index}"
        if not isinstance(y, Mapping) or not {"boxes", "labels"} <= y.keys():
            raise InputError(where, f"y of {type(y).__name__} found, expected a mapping with boxes and labels")
        corners, classes = _numbers(where, y["boxes"]), _numbers(where, y["labels"])
        if classes.ndim != 1 or corners.size != 4 * classes.size or classes.dtype.kind not in "uif":
            raise InputError(where, f"boxes {corners.shape} and labels {classes.shape} found, expected (K, 4) and (K,)")
        boxes.append(corners.reshape(-1, 4))
        labels.append(classes)
        samples += [index] * classes.size
    arrays: dict[str, np.ndarray] = {
        "boxes": np.concatenate(boxes),
        "box_labels": np.concatenate(labels),
        "box_samples": np.array(samples, np.int64),
    }
    return truth_of(name, arrays, len(found))
