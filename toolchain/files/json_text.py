"""JSON as our files hold it: written in one way only, read as an object or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from toolchain.netlist.errors import FormatError, InputError


def canonical_json(value: Mapping[str, Any]) -> str:
    """Return JSON with sorted keys, no spaces, ASCII only: the same mapping, the same text.

    Raises
    ------
    InputError
        When a value has no JSON form.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError("provenance", f"cannot be written as JSON: {error}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def parse_json(where: str, text: str) -> dict[str, Any]:
    """Return the object that a JSON text holds.

    Raises
    ------
    FormatError
        When it is no JSON object.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise FormatError(where, "is no JSON") from None
    if not isinstance(value, dict):
        raise FormatError(where, f"JSON {type(value).__name__} found, expected an object")
    return value
