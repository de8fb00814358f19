"""Frozen dataclasses as JSON values, and back by their type hints, with every value checked.

For records that a file keeps as text; `toolchain.netlist.records` is for those of operators and populations, which hold
arrays of integers. A record with a form of its own has `to_json` and `from_json`.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np


def dump(value: Any) -> Any:
    """Return a record as JSON values: fields that are None are left out."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value):
        items = ((f.name, getattr(value, f.name)) for f in fields(value))
        return {name: dump(item) for name, item in items if item is not None}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: dump(item) for name, item in value.items()}
    return [dump(item) for item in value] if isinstance(value, tuple) else value


def load(hint: Any, value: Any) -> Any:
    """Read JSON values as what a type hint says; raise ValueError where they are something else."""
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind in (types.UnionType, typing.Union):
        wanted = [option for option in inner if option is not types.NoneType]
        if value is None and len(wanted) < len(inner):
            return None
        return load(wanted[0], value) if len(wanted) == 1 else _load_scalar(tuple(wanted), value)
    if kind is typing.Literal:
        if value not in inner:
            raise ValueError(f"{value!r} found, expected one of {inner}")
        return value
    if kind is tuple and isinstance(value, list):
        return tuple(load(inner[0], item) for item in value)
    if kind is not None and issubclass(kind, Mapping) and isinstance(value, dict):
        return {name: load(inner[1], item) for name, item in value.items()}
    if hint is np.ndarray and isinstance(value, list):
        array = np.array(value)
        if array.dtype.kind not in "if":
            raise ValueError(f"an array of {array.dtype} found, expected numbers")
        return array
    if is_dataclass(hint) and isinstance(value, dict):
        return hint.from_json(value) if hasattr(hint, "from_json") else load_fields(hint, value)
    return _load_scalar((hint,), value)


def _load_scalar(kinds: tuple[Any, ...], value: Any) -> Any:
    if float in kinds and type(value) is int:
        value = value if int in kinds else float(value)
    if type(value) not in kinds or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{value!r} found, expected one of {kinds}")
    return value


@cache
def hints_of(cls: Any) -> dict[str, Any]:
    """Return the type of every field of a record, resolved."""
    return typing.get_type_hints(cls)


def load_fields(cls: Any, value: Mapping[str, Any]) -> Any:
    """Read a record field by field; unknown and missing names are errors."""
    hints = hints_of(cls)
    if unknown := value.keys() - hints.keys():
        raise ValueError(f"{sorted(unknown)} found, expected {sorted(hints)}")
    return cls(**{name: load(hints[name], item) for name, item in value.items()})
