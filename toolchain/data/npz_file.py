"""The data file (.npz): pictures, signals, points or event frames, and what is true of them.

One of ``images`` uint8 (N, H, W, C) or (N, H, W), or floating (N, C, H, W), ``frames`` (N, T, C, H, W) and ``points``
(N, C, P), or ``input_NAME`` (N, C, ...) for each of several inputs; ``labels`` (N,), ``masks`` (N, H, W), ``boxes``
(M, 4) with ``box_labels`` and ``box_samples`` (M,), ``point_labels`` (N, P), and ``targets`` (N, ...), as `Truth` has
them. Nothing is unpickled, and only the first `limit` samples are inflated.

Samples of more than `IN_MEMORY` bytes stay on the disk and are read when they are asked for: from the file itself, or
where they are compressed from a temporary one, into which they are inflated once.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.data.dataset import Dataset, channels_first
from toolchain.data.npy_member import opened
from toolchain.data.several import PREFIX, join
from toolchain.data.truth import BOX_KEYS, Truth, truth_of
from toolchain.data.values import Values
from toolchain.files import replacing
from toolchain.netlist import FormatError, InputError

#: Samples of more bytes than this stay on the disk.
IN_MEMORY = 1 << 28
MAX_MEMBERS = 64
_FLOATS = (np.float16, np.float32, np.float64)
_INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)
#: What holds the samples, one of which a file has, and what is true of them; with the types that each may have.
_SAMPLES: dict[str, tuple[Any, ...]] = {
    "images": (np.uint8, *_FLOATS),
    "frames": (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, *_FLOATS),
    "points": _FLOATS,
}
#: What each of several inputs may hold.
_NUMBERS = (np.bool_, np.int8, np.int16, np.int32, np.int64, *_FLOATS)
_KNOWN: dict[str, tuple[Any, ...]] = {
    "labels": _INTEGERS,
    "masks": (np.uint8,),
    "boxes": (*_FLOATS, *_INTEGERS),
    "box_labels": _INTEGERS,
    "box_samples": _INTEGERS,
    "point_labels": _INTEGERS,
    "targets": (*_FLOATS, *_INTEGERS),
}


def read_data(path: Path | str, *, limit: int | None = None) -> Dataset:
    """Read samples and what is true of them.

    Parameters
    ----------
    path : path
        A .npz file.
    limit : int, optional
        Read the first samples only.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        When there is no such file, or its arrays do not fit each other.
    FormatError
        When it is no .npz file, or a damaged one.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(str(path), "no such file" if not path.exists() else "is no file", "name a .npz file")
    if limit is not None and limit < 1:
        raise InputError("limit", f"{limit} found, expected at least 1")
    found, total, known = _read_arrays(path, limit)
    key = next(iter(found))
    if key not in _SAMPLES:
        joined = join(str(path), {name.removeprefix(PREFIX): values for name, values in found.items()})
        return Dataset(path.name, joined, _truth(str(path), known, total, joined.shape[0]), parts=joined.parts)
    values = channels_first(str(path), key, found[key])
    truth = _truth(str(path), known, total, values.shape[0])
    points = truth.point_labels
    if key == "points" and points is not None and points.shape[1] != values.shape[2]:
        raise InputError(str(path), f"point_labels of {points.shape[1]} points found, expected {values.shape[2]}")
    return Dataset(path.name, values, truth, key == "frames")


def _truth(where: str, arrays: Mapping[str, tuple[np.ndarray, int]], total: int, taken: int) -> Truth:
    """Return what is true of the first `taken` samples of `total`, by arrays and the rows they have in the file."""
    for name, (array, rows) in arrays.items():
        if name not in BOX_KEYS and rows != total:
            found, expected = ((n, *array.shape[1:]) for n in (rows, total))
            raise InputError(where, f"{name} of shape {found} found, expected {expected}")
    # Boxes are those of all samples; all else holds a row for each that was taken.
    truth = truth_of(where, {name: array for name, (array, _) in arrays.items() if name not in BOX_KEYS}, taken)
    of_all = truth_of(where, {name: array for name, (array, _) in arrays.items() if name in BOX_KEYS}, total)
    return replace(truth, boxes=of_all.select(np.arange(taken)).boxes)


def _read_arrays(path: Path, limit: int | None) -> tuple[dict[str, Values], int, dict[str, tuple[np.ndarray, int]]]:
    """Read what holds the samples, by its name, and then what is true of them; with the rows that each has."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            if len(archive.namelist()) > MAX_MEMBERS:
                raise FormatError(str(path), f"{len(archive.namelist())} arrays found, expected at most {MAX_MEMBERS}")
            names = {n.removesuffix(".npy") for n in archive.namelist()}
            wanted = sorted(names & set(_SAMPLES))
            several = sorted(name for name in names if name.startswith(PREFIX))
            if len(wanted) + bool(several) != 1:
                found = ", ".join(sorted(names)[:10]) or "nothing"
                expected = "one of 'images', 'frames' and 'points', or 'input_NAME' for each of several inputs"
                raise InputError(str(path), f"holds {found}; expected {expected}")
            samples: dict[str, Values] = {}
            for key in wanted or several:
                with opened(archive, file, str(path), key, _SAMPLES.get(key, _NUMBERS)) as member:
                    total = member.shape[0]
                    rows = total if limit is None else min(limit, total)
                    on_disk = member.size(rows) > IN_MEMORY and not member.fortran
                    samples[key] = member.on_disk(rows) if on_disk else member.array(rows)
            known: dict[str, tuple[np.ndarray, int]] = {}
            for name in [name for name in _KNOWN if name in names]:
                with opened(archive, file, str(path), name, _KNOWN[name]) as member:
                    held = member.shape[0]
                    taken = held if limit is None or name in BOX_KEYS else min(limit, held)
                    known[name] = member.array(taken), held
            return samples, total, known
    except (InputError, FormatError):
        raise
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        struct.error,
        EOFError,
        KeyError,
        NotImplementedError,
        OSError,
        RuntimeError,
        ValueError,
        OverflowError,
    ) as error:
        raise FormatError(str(path), f"is no .npz file or a damaged one ({error})") from None


def write_data(path: Path | str, **arrays: np.ndarray) -> None:
    """Write arrays as a data file, compressed; whole or not at all, the same bytes for the same arrays.

    Parameters
    ----------
    path : path
    **arrays : ndarray
        `images`, `frames` or `points`, and what is true of them: as `read_data` takes them.
    """
    formats: Any = np.lib.format  # numpy leaves these functions untyped
    with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            # A fixed date: numpy's own writer puts the time of writing in.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                formats.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
