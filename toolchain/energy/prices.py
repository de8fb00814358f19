"""Prices of operations: data with a unit, a node, a voltage, a precision and a source each."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from toolchain.netlist import FormatError


@dataclass(frozen=True)
class Price:
    """What one operation costs.

    Parameters
    ----------
    value : Decimal
        In `unit`, exactly as the source prints it.
    unit : str
        "pJ".
    node, voltage : str
        The process that it was measured or simulated in.
    precision : str
        Which operation, on which number format.
    source : str
        Where the value was published.
    """

    value: Decimal
    unit: str
    node: str
    voltage: str
    precision: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields, the value as a float."""
        return {**asdict(self), "value": float(self.value)}


Prices = Mapping[str, Price]


def read_prices(path: Path | None = None) -> Prices:
    """Read a price list.

    Parameters
    ----------
    path : Path, optional
        A TOML file with one table per price, with the keys of `Price`; adafire's own list by
        default. It must hold every price that adafire's own list holds.

    Raises
    ------
    FormatError
        When the file is no such list.
    """
    own = files("toolchain.energy").joinpath("prices.toml").read_text("utf-8")
    if path is None:
        return _parse("prices.toml", own)
    try:
        prices = _parse(str(path), path.read_text("utf-8"))
    except OSError as error:
        raise FormatError(str(path), f"cannot be read: {error.strerror}") from None
    missing = sorted(_parse("prices.toml", own).keys() - prices.keys())
    if missing:
        raise FormatError(str(path), f"no price for {', '.join(missing)}", "start from adafire's own prices.toml")
    return prices


def _parse(where: str, text: str) -> dict[str, Price]:
    try:
        tables = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(where, f"no valid TOML: {error}") from None
    return {name: _price(f"{where}, [{name}]", table) for name, table in tables.items()}


def _price(where: str, table: Any) -> Price:
    expected = [f.name for f in fields(Price)]
    if not isinstance(table, dict) or sorted(table) != sorted(expected):
        found = sorted(table) if isinstance(table, dict) else type(table).__name__
        raise FormatError(where, f"keys {found} found, expected {expected}")
    value = table["value"]
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value < 10**9:
        raise FormatError(where, f"value {value!r} found, expected a number of at least 0")
    if table["unit"] != "pJ":
        raise FormatError(where, f"unit {table['unit']!r} found, expected 'pJ'")
    texts = {key: table[key] for key in expected if key != "value"}
    wrong = [key for key, text in texts.items() if not isinstance(text, str) or not text]
    if wrong:
        raise FormatError(where, f"{wrong[0]} is empty or no text", "every price names where it comes from")
    return Price(value=Decimal(value), **texts)
