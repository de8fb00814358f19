"""A netlist at a glance, in plain text: the ground knows no library that draws tables."""

from __future__ import annotations

import html
from collections.abc import Sequence

from toolchain.netlist.leaky import CubaLif, LeakyReadout
from toolchain.netlist.populations import AdaFire, Input, MaxPool, Population, Readout


def population_row(population: Population) -> tuple[str, ...]:
    """Return name, kind, shape and what is characteristic of a population."""
    match population:
        case Input():
            what = f"{population.bits} bits, {'signed' if population.signed else 'unsigned'}, {population.coding}"
        case AdaFire():
            what = f"phi {population.phi}, threshold {population.threshold.min()} .. {population.threshold.max()}"
        case CubaLif():
            what = f"threshold {population.threshold.min()} .. {population.threshold.max()}, {_decays(population)}"
        case LeakyReadout():
            what = f"membrane potential, {_decays(population)}"
        case MaxPool():
            what = f"windows of {'x'.join(map(str, population.kernel))}"
        case Readout():
            what = "running sum"
    return population.name, type(population).__name__, "x".join(map(str, population.shape)), what


def _decays(population: CubaLif | LeakyReadout) -> str:
    """Return the decays of current and potential."""
    ends = (
        "..".join(dict.fromkeys((str(d.min()), str(d.max()))))
        for d in (population.current_decay, population.voltage_decay)
    )
    return "decays {} and {} of 4096".format(*ends)


def plain_table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a headline and rows of text in columns as wide as their longest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join((head, *lines))


def as_html(text: str) -> str:
    """Return plain text as a notebook shows it."""
    return f'<pre style="font-size:13px;line-height:1.35;overflow-x:auto">{html.escape(text)}</pre>'
