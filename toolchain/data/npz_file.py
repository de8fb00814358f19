"""The data file (.npz): pictures, signals, points or event frames, and what is true of them.

One of ``images`` uint8 (N, H, W, C) or (N, H, W), or floating (N, C, H, W), ``frames`` (N, T, C, H, W) and ``points``
(N, C, P); ``labels`` (N,), ``masks`` (N, H, W), ``boxes`` (M, 4) with ``box_labels`` and ``box_samples`` (M,), and
``point_labels`` (N, P), as `Truth` has them. Nothing is unpickled, and only the first `limit` samples are inflated.
"""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from toolchain.data.dataset import Dataset, channels_first
from toolchain.data.truth import BOX_KEYS, Truth, truth_of
from toolchain.files import replacing
from toolchain.netlist import FormatError, InputError, Shape

#: Largest array that is read, in bytes.
MAX_BYTES = 1 << 34
MAX_MEMBERS = 64
_INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)
_DTYPES = {
    "images": (np.uint8, np.float16, np.float32, np.float64),
    "frames": (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64),
    "points": (np.float16, np.float32, np.float64),
    "labels": _INTEGERS,
    "masks": (np.uint8,),
    "boxes": (np.float16, np.float32, np.float64, *_INTEGERS),
    "box_labels": _INTEGERS,
    "box_samples": _INTEGERS,
    "point_labels": _INTEGERS,
}
#: What holds the samples, one of which a file has.
_SAMPLES = ("images", "frames", "points")


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
    key, arrays = _read_arrays(path, limit)
    values, total = arrays.pop(key)
    values = channels_first(str(path), key, values)
    truth = _truth(str(path), arrays, total, len(values))
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


def _read_arrays(path: Path, limit: int | None) -> tuple[str, dict[str, tuple[np.ndarray, int]]]:
    """Read what holds the samples, whose name comes first, and what is true of them; with the rows that each has."""
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.namelist()) > MAX_MEMBERS:
                raise FormatError(str(path), f"{len(archive.namelist())} arrays found, expected at most {MAX_MEMBERS}")
            names = {n.removesuffix(".npy") for n in archive.namelist()}
            wanted = names & set(_SAMPLES)
            if len(wanted) != 1:
                found = ", ".join(sorted(names)[:10]) or "nothing"
                raise InputError(str(path), f"holds {found}; expected one of 'images', 'frames' and 'points'")
            return wanted.pop(), {
                name: _read_array(path, archive, name, None if name in BOX_KEYS else limit)
                for name in _DTYPES
                if name in names
            }
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


def _read_array(path: Path, archive: zipfile.ZipFile, key: str, limit: int | None) -> tuple[np.ndarray, int]:
    """Read the first `limit` rows of an array; return them and the number of rows that it has."""
    where = f"{path}:{key}"
    info = archive.getinfo(f"{key}.npy")
    with archive.open(info) as stream:
        shape, fortran, dtype = _read_header(where, stream)
        if dtype.hasobject or dtype.newbyteorder("=") not in [np.dtype(d) for d in _DTYPES[key]]:
            allowed = ", ".join(np.dtype(d).name for d in _DTYPES[key])
            raise InputError(where, f"{dtype} found, expected one of {allowed}")
        if not shape or len(shape) > 6 or min(shape) < 0:
            raise InputError(where, f"shape {shape} found, expected (N, ...)")
        rows = shape[0] if limit is None else min(limit, shape[0])
        size = math.prod(shape) * dtype.itemsize
        stored = info.file_size - stream.tell()
        if stored != size:
            raise FormatError(where, f"{stored} bytes stored, expected {size} for shape {shape}")
        needed = size if fortran else size // max(shape[0], 1) * rows
        if needed > MAX_BYTES:
            raise InputError(
                where, f"{needed} bytes found, expected at most {MAX_BYTES}", "use `limit`, or split the file"
            )
        array = np.empty(shape[::-1] if fortran else (rows, *shape[1:]), dtype)
        _fill(where, stream, array)
    return (array.T[:rows] if fortran else array).astype(dtype.newbyteorder("="), copy=False), shape[0]


def _read_header(where: str, stream: IO[bytes]) -> tuple[Shape, bool, np.dtype]:
    headers: Any = np.lib.format  # numpy leaves these functions untyped
    version = headers.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise FormatError(where, f"version {version} of the .npy format found, expected 1.0 or 2.0")
    read = headers.read_array_header_1_0 if version == (1, 0) else headers.read_array_header_2_0
    try:
        shape, fortran, dtype = read(stream)
    except (SyntaxError, tokenize.TokenError, RecursionError, MemoryError, TypeError, AttributeError, IndexError):
        # numpy reads the header as Python literals, with the errors of Python's parser.
        raise FormatError(where, "the header of the array is damaged") from None
    return tuple(shape), bool(fortran), dtype


def _fill(where: str, stream: IO[bytes], array: np.ndarray) -> None:
    """Inflate straight into the array, so that a stream that ends early costs no more than it holds."""
    view = array.reshape(-1).view(np.uint8).data
    position = 0
    while position < len(view):
        part = stream.read(min(1 << 20, len(view) - position))
        if not part:
            raise FormatError(where, f"ends after {position} of {len(view)} bytes")
        view[position : position + len(part)] = part
        position += len(part)
