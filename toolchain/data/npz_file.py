"""The data file (.npz): pictures, signals or event frames, and labels.

``images`` uint8 (N, H, W, C) or (N, H, W), or floating (N, C, H, W), or ``frames`` (N, T, C, H, W); ``labels`` (N,).
Nothing is unpickled, and of an array only the first `limit` samples are inflated.
"""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from toolchain.data.dataset import Dataset, channels_first
from toolchain.files import replacing
from toolchain.netlist import FormatError, InputError, Shape

#: Largest array that is read, in bytes.
MAX_BYTES = 1 << 34
MAX_MEMBERS = 64
_DTYPES = {
    "images": (np.uint8, np.float16, np.float32, np.float64),
    "frames": (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64),
    "labels": (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64),
}


def read_data(path: Path | str, *, limit: int | None = None) -> Dataset:
    """Read samples and labels.

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
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.namelist()) > MAX_MEMBERS:
                raise FormatError(str(path), f"{len(archive.namelist())} arrays found, expected at most {MAX_MEMBERS}")
            names = {n.removesuffix(".npy") for n in archive.namelist()}
            wanted = names & {"images", "frames"}
            if len(wanted) != 1:
                found = ", ".join(sorted(names)[:10]) or "nothing"
                raise InputError(str(path), f"holds {found}; expected either 'images' or 'frames'")
            (key,) = wanted
            values, total = _read_array(path, archive, key, limit)
            labels, labelled = _read_array(path, archive, "labels", limit) if "labels" in names else (None, total)
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
    if labels is not None and (labels.ndim != 1 or labelled != total):
        raise InputError(str(path), f"labels of shape {(labelled, *labels.shape[1:])} found, expected ({total},)")
    return Dataset(path.name, channels_first(str(path), key, values), _labels(labels), key == "frames")


def write_data(path: Path | str, **arrays: np.ndarray) -> None:
    """Write arrays as a data file, compressed; whole or not at all, the same bytes for the same arrays.

    Parameters
    ----------
    path : path
    **arrays : ndarray
        `images` or `frames`, `labels`: as `read_data` takes them.
    """
    formats: Any = np.lib.format  # numpy leaves these functions untyped
    with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            # A fixed date: numpy's own writer puts the time of writing in.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                formats.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def _labels(labels: np.ndarray | None) -> np.ndarray | None:
    return None if labels is None else labels.astype(np.int64)


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
