"""Weights that an ONNX file keeps in files beside it, as torch.onnx.export writes them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from onnx import TensorProto, helper

from toolchain.netlist import FormatError, InputError

#: A graph with its weights inside can be no larger (a limit of protobuf).
_MAX_BYTES = 2**31
_EXPORT = "export it again, or save the model with its weights inside"


def take_in(path: Path, tensors: Iterable[TensorProto]) -> list[bytes]:
    """Put the values of external tensors inside; return the files' contents, in order of first use.

    A file must lie in the graph's folder (or below), be no link, and hold every byte that is asked of it; together its
    tensors may take no more than it has, so that a small file cannot ask for much memory.

    Raises
    ------
    FormatError
        For a location outside, or for values that are not those bytes.
    InputError
        When there is no such file.
    """
    contents: dict[str, bytes] = {}
    left: dict[str, int] = {}
    for tensor in tensors:
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
            continue
        entries = {e.key: e.value for e in tensor.external_data}
        location = entries.get("location", "")
        if location not in contents:
            contents[location] = _content(path, tensor.name, location)
            left[location] = len(contents[location])
        data = contents[location]
        try:
            start = int(entries.get("offset", 0))
            length = int(entries.get("length", len(data) - start))
            wanted = math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(str(path), f"{tensor.name!r} has no place in {location!r}: {error}", _EXPORT) from None
        left[location] -= length
        if start < 0 or length != wanted or start + length > len(data) or left[location] < 0:
            found = f"bytes {start} to {start + length} of {len(data)} in {location!r}"
            raise FormatError(str(path), f"{tensor.name!r} is {found}, expected {wanted} of its own", _EXPORT)
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
        tensor.raw_data = data[start : start + length]
    return list(contents.values())


def _content(path: Path, name: str, location: str) -> bytes:
    parts = PurePosixPath(location)
    file, folder = path.parent / location, path.parent.resolve()
    if not location or parts.is_absolute() or ".." in parts.parts or "\0" in location or "\\" in location:
        raise FormatError(str(path), f"keeps the weights {name!r} in {location!r}, outside its folder", _EXPORT)
    try:
        if os.path.realpath(file) != str(folder / location) or (file.exists() and not file.is_file()):
            raise FormatError(str(path), f"keeps the weights {name!r} in {location!r}, a link or no file", _EXPORT)
        if file.stat().st_size > _MAX_BYTES:
            raise FormatError(str(path), f"keeps weights in {location!r}, which has more than 2 GiB", _EXPORT)
        return file.read_bytes()
    except OSError as error:
        problem = f"cannot read the weights {name!r} in {location!r}: {error.strerror}"
        raise InputError(str(path), problem, "keep both files in one folder") from None
