"""Flat records of the netlist's dataclasses: what files store and the content hash covers.

Fields are read off the dataclasses themselves, so that a new operator needs no code here. A record
maps a field name to an int, float, bool, str, tuple of (tuples of) ints or floats, or ndarray.
"""

from __future__ import annotations

import hashlib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np

from toolchain.netlist.errors import FormatError

Record = Mapping[str, Any]


def smallest_integer(array: np.ndarray) -> np.ndarray:
    """Return integers in the narrowest signed dtype (int8 to int64), C-contiguous."""
    if not np.issubdtype(array.dtype, np.integer):
        return np.ascontiguousarray(array, dtype="<f8")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for dtype in ("<i1", "<i2", "<i4"):
        info = np.iinfo(dtype)
        if info.min <= low and high <= info.max:
            return np.ascontiguousarray(array, dtype=dtype)
    return np.ascontiguousarray(array, dtype="<i8")


def to_record(item: Any) -> dict[str, Any]:
    """Return the fields of an operator or population, arrays in their narrowest dtype."""
    return {f.name: _plain(getattr(item, f.name)) for f in fields(item)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return smallest_integer(value)
    if isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value):
        return tuple(smallest_integer(v) for v in value)
    return value


@cache
def _annotations(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def from_record(where: str, cls: type, record: Record) -> Any:
    """Build a dataclass from a record, checking that every field is there and of its type.

    Raises
    ------
    FormatError
        On a missing, unknown or mistyped field.
    NetlistError
        When the type's own checks refuse the values.
    """
    hints = {f.name: _annotations(cls)[f.name] for f in fields(cls)}
    missing, unknown = hints.keys() - record.keys(), record.keys() - hints.keys()
    if missing or unknown:
        raise FormatError(where, f"{cls.__name__} misses fields {sorted(missing)}, has unknown {sorted(unknown)}")
    return cls(**{name: _typed(f"{where}/{name}", hint, record[name]) for name, hint in hints.items()})


def _typed(where: str, hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    if hint is np.ndarray:
        if not isinstance(value, np.ndarray):
            raise FormatError(where, "an array is expected")
        return value.astype(np.int64) if np.issubdtype(value.dtype, np.integer) else value
    if origin is tuple:
        (inner, *_) = typing.get_args(hint)
        if not isinstance(value, tuple | list | np.ndarray):
            raise FormatError(where, "a sequence is expected")
        return tuple(_typed(where, inner, v) for v in value)
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise FormatError(where, f"{value!r} found, expected one of {typing.get_args(hint)}")
        return value
    if isinstance(hint, types.GenericAlias):
        raise TypeError(f"{where}: no rule to read {hint}")
    if isinstance(value, np.generic):
        value = value.item()
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise FormatError(where, f"{type(value).__name__} found, expected {hint.__name__}")
    return value


def _feed(value: Any) -> Iterator[bytes]:
    """Serialise a record value without ambiguity: type, shape, then bytes."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        yield f"array {value.dtype.str} {value.shape}:".encode()
        yield value.tobytes()
    elif isinstance(value, tuple):
        yield f"tuple {len(value)}:".encode()
        for item in value:
            yield from _feed(item)
    else:
        yield f"{type(value).__name__} {value!r};".encode()


def digest(values: Iterable[Any]) -> str:
    """Return the SHA-256 (hex) of a sequence of record values, types and shapes included."""
    sha = hashlib.sha256()
    for value in values:
        for part in _feed(value):
            sha.update(part)
    return sha.hexdigest()


def hashed_fields(item: Any) -> tuple[Any, ...]:
    """Return what the digest of an operator or population covers: its kind and its fields."""
    return (type(item).__name__, tuple(to_record(item).items()))
