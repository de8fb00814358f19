"""Chunks of HDF5 files, inflated by ourselves: never beyond the size that a chunk must have."""

from __future__ import annotations

import math
import zlib

import numpy as np
from h5py import h5d, h5z

from toolchain.netlist.errors import FormatError


def read_chunked(
    where: str, dataset: h5d.DatasetID, start: int = 0, stop: int | None = None, axis: int = 0
) -> np.ndarray:
    """Read a chunked dataset, or a range along one axis, inflating no chunk beyond its size.

    Parameters
    ----------
    where : str
        For messages.
    dataset : h5py.h5d.DatasetID
        Checked by `Guarded.check_dataset`.
    start, stop : int
        Range along `axis`.
    axis : int

    Returns
    -------
    ndarray
    """
    shape, chunk = dataset.shape, dataset.get_create_plist().get_chunk()
    stop = shape[axis] if stop is None else stop
    lengths = [range(0, n, c) for n, c in zip(shape, chunk, strict=True)]
    lengths[axis] = range(start - start % chunk[axis], stop, chunk[axis])
    out = np.empty((*shape[:axis], stop - start, *shape[axis + 1 :]), dataset.dtype)
    expected = math.prod(len(r) for r in lengths)
    if expected > dataset.get_num_chunks():
        raise FormatError(where, f"{dataset.get_num_chunks()} chunks stored, expected {expected}")
    for index in np.ndindex(*(len(r) for r in lengths)):
        origin = tuple(r[i] for r, i in zip(lengths, index, strict=True))
        values = _inflate(where, dataset, origin, chunk)
        inside, target = [], []
        for a, (o, c, n) in enumerate(zip(origin, chunk, shape, strict=True)):
            low, high = (max(o, start), min(o + c, stop)) if a == axis else (o, min(o + c, n))
            inside.append(slice(low - o, high - o))
            target.append(slice(low - start, high - start) if a == axis else slice(low, high))
        out[tuple(target)] = values[tuple(inside)]
    return out


def _inflate(where: str, dataset: h5d.DatasetID, origin: tuple[int, ...], chunk: tuple[int, ...]) -> np.ndarray:
    dtype, properties = dataset.dtype, dataset.get_create_plist()
    size = math.prod(chunk) * dtype.itemsize
    info = dataset.get_chunk_info_by_coord(origin)
    if info.byte_offset is None or info.size > 2 * size + 4096:
        raise FormatError(where, f"chunk at {origin} is missing or longer than its values")
    mask, data = dataset.read_direct_chunk(origin)
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    for position, kind in reversed(list(enumerate(filters))):
        if mask & (1 << position):
            continue
        if kind == h5z.FILTER_DEFLATE:
            data = zlib.decompressobj().decompress(data, size + 1)
        elif len(data) == size:
            data = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1).T.tobytes()
    if len(data) != size:
        raise FormatError(where, f"chunk at {origin} holds {len(data)} bytes, expected {size}")
    return np.frombuffer(data, dtype).reshape(chunk)
