"""The data file (.npz): pictures, signals or event frames, and labels.

``images`` uint8 (N, H, W, C) or floating (N, C, H, W), or ``frames`` (N, T, C, H, W); ``labels`` (N,).
Nothing is unpickled, and of an array only the first `limit` samples are inflated.
"""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from toolchain.netlist.errors import FormatError, InputError
from toolchain.netlist.populations import Input
from toolchain.netlist.shapes import Shape, per_channel

#: Largest array that is read, in bytes.
MAX_BYTES = 1 << 34
MAX_MEMBERS = 64
_DTYPES = {
    "images": (np.uint8, np.float16, np.float32, np.float64),
    "frames": (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64),
    "labels": (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64),
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples as they are stored, with the channel axis first.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    values : ndarray (N, C, ...) or (N, T, C, ...) for frames
        uint8 pictures, or numbers that are taken as they are.
    labels : ndarray (N,) int64, or None
    is_frames : bool
        Whether axis 1 is time.
    """

    name: str
    values: np.ndarray
    labels: np.ndarray | None
    is_frames: bool = False

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def shape(self) -> Shape:
        """Shape of one sample (of one frame), (C, ...)."""
        return tuple(self.values.shape[2 if self.is_frames else 1 :])

    @property
    def is_pictures(self) -> bool:
        """Whether the values are uint8 pictures, to be normalised; all else is taken as it is."""
        return self.values.dtype == np.uint8 and not self.is_frames

    def normalized(self, mean: np.ndarray, std: np.ndarray, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return what the ANN sees of samples, float64.

        Pictures are scaled to [0, 1] and then normalised, ``(x - mean) / std`` per channel; all
        other data are the numbers that the network takes.
        """
        part: np.ndarray = self.values[start:stop]
        if not self.is_pictures:
            return part.astype(np.float64)
        return np.asarray((part / 255.0 - per_channel(mean, self.shape)) / per_channel(std, self.shape))

    def select(self, samples: np.ndarray) -> Dataset:
        """Return the samples at these positions."""
        labels = None if self.labels is None else self.labels[samples]
        return replace(self, values=self.values[samples], labels=labels)

    def payloads(self, source: Input, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return what a netlist's input emits for samples.

        Parameters
        ----------
        source : Input
        start, stop : int

        Returns
        -------
        ndarray (N, *shape) for direct coding, (T, N, *shape) for frames; int8 or uint8
        """
        payload = source.encode(self.normalized(source.mean, source.std, start, stop))
        return np.ascontiguousarray(np.moveaxis(payload, 1, 0)) if self.is_frames else payload

    def batches(self, source: Input, size: int) -> Iterator[np.ndarray]:
        """Yield the payloads of all samples, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.payloads(source, start, start + size)


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
        raise InputError("--limit", f"{limit} found, expected at least 1")
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
    return Dataset(path.name, _channels_first(path, key, values), _labels(labels), key == "frames")


def _labels(labels: np.ndarray | None) -> np.ndarray | None:
    return None if labels is None else labels.astype(np.int64)


def _channels_first(path: Path, key: str, values: np.ndarray) -> np.ndarray:
    if values.shape[0] == 0:
        raise InputError(str(path), f"{key} holds no samples")
    if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
        raise InputError(str(path), f"{key} holds NaN or infinite values", "clean the data first")
    if key == "frames":
        if not 3 <= values.ndim <= 6:
            raise InputError(str(path), f"frames of shape {values.shape} found, expected (N, T, C, H, W)")
        return values
    if not 2 <= values.ndim <= 5:
        raise InputError(str(path), f"images of shape {values.shape} found, expected (N, H, W, C) or (N, C, H, W)")
    return np.moveaxis(values, -1, 1) if values.dtype == np.uint8 and values.ndim > 2 else values


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
                where, f"{needed} bytes found, expected at most {MAX_BYTES}", "use --limit, or split the file"
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


def check_data(data: Dataset, source: Input, classes: int | None = None, timesteps: int | None = None) -> None:
    """Raise unless the data can be run on a netlist's input.

    Parameters
    ----------
    data : Dataset
    source : Input
    classes : int, optional
        Labels must be below it.
    timesteps : int, optional
        Frames must be at least as many.

    Raises
    ------
    InputError
        Names the file, what was found and what was expected.
    """
    if data.is_frames != (source.coding == "frames"):
        found, expected = ("frames", "images") if data.is_frames else ("images", "frames")
        raise InputError(data.name, f"{found} found, expected {expected}: the netlist takes {source.coding} coding")
    if data.shape != source.shape:
        raise InputError(data.name, f"samples of shape {data.shape} found, expected {source.shape} (channels first)")
    if data.is_frames and timesteps is not None and data.values.shape[1] < timesteps:
        raise InputError(data.name, f"{data.values.shape[1]} frames per sample found, expected at least {timesteps}")
    if data.labels is not None and classes is not None and data.labels.size:
        low, high = int(data.labels.min()), int(data.labels.max())
        if low < 0 or high >= classes:
            raise InputError(data.name, f"labels {low} to {high} found, expected 0 to {classes - 1}")
