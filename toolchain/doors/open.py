"""Samples of whatever holds them: a file, a folder, an array, code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toolchain.data import Dataset, Truth, channels_first, join, read_data
from toolchain.display import Progress, silent
from toolchain.doors.code import open_code
from toolchain.doors.folder import open_folder
from toolchain.doors.pictures import Crop
from toolchain.netlist import InputError
from toolchain.specs import failures, named


class Numbered(Protocol):
    """Samples with numbers: a torch Dataset of the map style, or a list."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int, /) -> Any:
        """Return x or (x, y)."""


#: What samples are taken from.
Data = Dataset | str | Path | np.ndarray | Mapping[str, np.ndarray] | Numbered | Iterable[Any]
_FORMS = "name a .npz file, a folder of pictures, or path.py:callable"


def open_data(
    data: Data,
    labels: np.ndarray | None = None,
    *,
    crop: Crop | None = None,
    limit: int | None = None,
    labelled: bool = True,
    progress: Progress = silent,
) -> Dataset:
    """Return samples, and what is true of them, from anything that holds some.

    Parameters
    ----------
    data : Dataset, path, ndarray, or object
        A .npz file; a folder of pictures, with a folder for every class; ``path.py:callable`` or
        ``package.module:callable``, whose callable returns any of what follows. Pictures (N, H, W, C) or (N, H, W)
        uint8, or numbers (N, C, ...) that are taken as they are; a mapping of such numbers, for each of several inputs;
        arrays (x, y) of these; a data set, also torch's, or an
        iterable of (x, y), a sample each.
    labels : ndarray (N,), optional
        For an array.
    crop : Crop, optional
        How the pictures of a folder come to one size.
    limit : int, optional
        Most samples: the first ones, of a folder evenly from all classes.
    labelled : bool
        Whether labels are asked for: a data set of code is then gone through at once, and later read from a file.
    progress : Progress

    Raises
    ------
    InputError
        When it cannot be used.
    FormatError
        When a file is damaged.
    """
    if limit is not None and limit < 1:
        raise InputError("limit", f"{limit} found, expected at least 1")
    if isinstance(data, str | Path):
        text = str(data)
        if Path(text).is_dir():
            return open_folder(Path(text), crop=crop, limit=limit)
        if crop is not None:
            raise InputError("size", f"found with {text}, expected with a folder of pictures only")
        if ":" in text and not Path(text).is_file():
            return _named(text, limit, labelled, progress)
        return _file(text, limit)
    return _made("data", data, labels, limit, labelled, progress)


def _file(text: str, limit: int | None) -> Dataset:
    if not Path(text).exists():
        raise InputError(text, "no such file or folder", _FORMS)
    return read_data(text, limit=limit)


def _named(spec: str, limit: int | None, labelled: bool, progress: Progress) -> Dataset:
    name = spec.rpartition(":")[2]
    # All that goes through the data now goes within, so that it finds its neighbours.
    with named(spec) as found:
        with failures(spec, f"calling {name}() failed", None, f"when {name}() was called"):
            made = found()
        if isinstance(made, str | Path):
            raise InputError(spec, f"{name}() returned a path, expected the data", f"give {str(made)!r} itself")
        return _made(spec, made, None, limit, labelled, progress)


def _made(
    name: str, data: Any, labels: np.ndarray | None, limit: int | None, labelled: bool, progress: Progress
) -> Dataset:
    if (
        isinstance(data, tuple)
        and len(data) == 2
        and _is_array(data[1])
        and any(of(data[0]) for of in (_is_array, _is_several))
    ):
        data, labels = data
    if _is_several(data):
        joined = join(name, {key: np.asarray(values) for key, values in data.items()})
        data = Dataset(_called(name), joined, _known(name, labels, joined.shape[0]), parts=joined.parts)
    elif _is_array(data):
        values = np.asarray(data)
        # Tensors of pictures have the channel axis first, arrays have it last.
        turned = values.dtype == np.uint8 and values.ndim == 4 and not isinstance(data, np.ndarray)
        data = _array(name, np.moveaxis(values, 1, -1) if turned else values, labels)
    if isinstance(data, Dataset):
        return data if limit is None else data.select(np.arange(min(limit, len(data))))
    return open_code(name, data, limit=limit, labelled=labelled, progress=progress)


def _is_array(data: Any) -> bool:
    """Return whether this is one array of all samples: numpy's, or torch's, which has the same attributes."""
    return isinstance(data, np.ndarray) or (hasattr(data, "detach") and hasattr(data, "numpy"))


def _is_several(data: Any) -> bool:
    """Return whether these are arrays of all samples, one for each of several inputs."""
    return (
        isinstance(data, Mapping) and bool(data) and all(isinstance(k, str) and _is_array(v) for k, v in data.items())
    )


def _array(name: str, values: np.ndarray, labels: np.ndarray | None) -> Dataset:
    if values.dtype.kind not in "buif":
        raise InputError(name, f"an array of {values.dtype} found, expected numbers")
    return Dataset(
        _called(name),
        channels_first(name, "images", values),
        _known(name, labels, len(values)),
    )


def _called(name: str) -> str:
    return "array" if name == "data" else name


def _known(name: str, labels: np.ndarray | None, samples: int) -> Truth:
    return Truth(None if labels is None else _labels(name, np.asarray(labels), samples))


def _labels(name: str, found: np.ndarray, samples: int) -> np.ndarray:
    if found.shape[:1] != (samples,):
        raise InputError(name, f"{samples} samples and {found.size} labels found, expected as many of both")
    with np.errstate(invalid="ignore"):  # a NaN becomes some number, which is not equal to it
        whole = found.astype(np.int64) if found.dtype.kind in "buif" else None
    if whole is None or found.ndim != 1 or np.any(whole != found):
        raise InputError("labels", f"{found.dtype} of shape {found.shape} found, expected a whole number per sample")
    return whole
