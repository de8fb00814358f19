"""Columns of the page's table of populations: title, explanation, and how a row's value is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolchain.energy import energy_text, quantity
from toolchain.report.rows import Row

Value = float | int | str | None


@dataclass(frozen=True)
class Column:
    """One column.

    Parameters
    ----------
    title, help : str
    value : callable
        What a row has there: what the column sorts by.
    text : callable
        How a value is written.
    bar : bool
        Whether a bar behind the number shows its share of the column's largest.
    """

    title: str
    help: str
    value: Callable[[Row], Value]
    text: Callable[[float], str] = str
    bar: bool = False
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """One cell: what it shows, what it sorts by, and the bar behind it in percent."""

    text: str
    sort: str
    bar: int | None
    numeric: bool


def _thresholds(row: Row) -> str | None:
    if row.threshold_min is None or row.threshold_max is None:
        return None
    return f"{row.threshold_min:,} – {row.threshold_max:,}"


COLUMNS = (
    Column("population", "Its name", lambda r: r.name, numeric=False),
    Column("kind", "Its largest connection's operator", lambda r: r.kind, numeric=False),
    Column("shape", "Without batch and time", lambda r: "×".join(map(str, r.shape)), numeric=False),
    Column("φ", "Longest burst", lambda r: r.phi),
    Column("ρ", "Factor of spike compression", lambda r: r.rho, lambda v: f"{v:g}"),
    Column("θ", "Range of the integer thresholds", _thresholds, numeric=False),
    Column("bits", "Width of the weights", lambda r: r.weight_bits),
    Column("spikes", "Sum of the payloads", lambda r: r.spikes, quantity),
    Column("rate", "Share of payloads that are not zero", lambda r: r.firing_rate, lambda v: f"{v:.1%}", bar=True),
    Column("SOPs", "Payloads times fan-out of what feeds it", lambda r: r.sops, quantity, bar=True),
    Column("events", "Payloads that are not zero, times fan-out", lambda r: r.events, quantity),
    Column("energy", "The paper's model", lambda r: r.energy_pj, energy_text, bar=True),
    Column("ANN", "FP32 ANN", lambda r: r.energy_ann_pj, energy_text),
    Column("SQNR", "dB, against the network without spikes", lambda r: r.sqnr_db, lambda v: f"{v:.1f}"),
    Column("ANN SQNR", "dB, against the ANN", lambda r: r.ann_sqnr_db, lambda v: f"{v:.1f}"),
    Column("u bits", "Bits of membrane potential it can reach", lambda r: r.membrane_bits_used),
    Column("clips", "Saturated membrane potentials in this run", lambda r: r.saturations, lambda v: f"{v:,}"),
    Column("sensitivity", "KL divergence of the search", lambda r: r.sensitivity, lambda v: f"{v:.3g}"),
)


def population_table(rows: Sequence[Row]) -> tuple[tuple[Column, ...], tuple[tuple[Cell, ...], ...]]:
    """Return the columns that hold anything, and the cells of each row."""
    columns = tuple(c for c in COLUMNS if any(c.value(r) not in (None, "") for r in rows))
    largest = {c.title: max((v for r in rows if isinstance(v := c.value(r), float)), default=0.0) for c in columns}
    return columns, tuple(tuple(_cell(c, r, largest[c.title]) for c in columns) for r in rows)


def _cell(column: Column, row: Row, largest: float) -> Cell:
    value = column.value(row)
    if value is None:
        return Cell("", "", None, column.numeric)
    if isinstance(value, str):
        return Cell(value, value, None, column.numeric)
    bar = round(100 * value / largest) if column.bar and largest else None
    return Cell(column.text(value), repr(value), bar, column.numeric)
