"""Netlists side by side, on the same samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.energy import energy_text, quantity
from toolchain.netlist import InputError
from toolchain.report.charts import overlay_chart, spent_by_timestep
from toolchain.report.measure import Measurement
from toolchain.report.render import download, frame, template
from toolchain.report.rows import Row, rows, to_json

#: More lines than this cannot be told apart in a chart.
MOST = 4


@dataclass(frozen=True)
class Figure:
    """One line of the comparison: how a netlist's figure is found and written, and which way is better."""

    title: str
    value: Callable[[Measurement], float | None]
    text: Callable[[float], str]
    better: Callable[[Sequence[float]], float] | None = None


def _per_sample(pick: Callable[[Measurement], Any]) -> Callable[[Measurement], float]:
    return lambda m: float(pick(m)) / m.samples


def _integers(m: Measurement) -> float | None:
    energy = next(r for r in m.energy.snn if r.name == "integers").energy
    return None if energy is None else float(energy) / m.samples


FIGURES = (
    Figure("score", lambda m: m.score, lambda v: f"{v:.2%}", max),
    Figure("timesteps of a sample", lambda m: m.netlist.timesteps, lambda v: f"{v:g}", min),
    Figure("timesteps until the answer", lambda m: m.latency, lambda v: f"{v:g}", min),
    Figure("digits of a number", lambda m: m.netlist.radix.digits if m.netlist.radix else None, lambda v: f"{v:g}"),
    Figure(
        "largest φ", lambda m: max((p.payload_range[1] for p in m.netlist.spiking), default=None), lambda v: f"{v:g}"
    ),
    Figure("weights", lambda m: m.energy.counts.weights.total, lambda v: f"{v:,.0f}"),
    Figure("bits of a weight", lambda m: m.netlist.weight_bits, lambda v: f"{v:g}"),
    Figure("MACs of the ANN", _per_sample(lambda m: m.energy.ann_macs), quantity, min),
    Figure("SOPs", _per_sample(lambda m: m.energy.sops), quantity, min),
    Figure("SOPs per synapse and timestep", lambda m: float(m.energy.spike_rate), lambda v: f"{v:.3f}", min),
    Figure("energy, paper's model", _per_sample(lambda m: m.energy.e_snn), energy_text, min),
    Figure("energy, integers", _integers, energy_text, min),
    Figure("energy, FP32 ANN", _per_sample(lambda m: m.energy.e_ann), energy_text),
)

POPULATION_FIGURES: tuple[tuple[str, Callable[[Row], float | None], Callable[[float], str]], ...] = (
    ("rate", lambda r: r.firing_rate, lambda v: f"{v:.1%}"),
    ("SOPs", lambda r: r.sops, quantity),
    ("energy", lambda r: r.energy_pj, energy_text),
    ("SQNR", lambda r: r.sqnr_db, lambda v: f"{v:.1f}"),
)


def compare_html(measurements: Sequence[Measurement], *, command: str | None = None) -> str:
    """Return one page that shows measurements side by side.

    Parameters
    ----------
    measurements : sequence of Measurement
        Two to four, on the same samples.
    command : str, optional
        The command that made it.

    Raises
    ------
    InputError
        When there are too few or too many, or they were measured on different samples.
    """
    if not 2 <= len(measurements) <= MOST:
        raise InputError("report", f"{len(measurements)} netlists found, expected 2 to {MOST} to compare")
    if len({(m.data, m.samples) for m in measurements}) > 1:
        raise InputError("report", "the netlists were measured on different samples")
    named = [rows(m) for m in measurements]
    scores = [
        (m.name, m.netlist.answers, [100 * value for value in m.outcome.by_timestep])
        for m in measurements
        if m.outcome.by_timestep
    ]
    measures = sorted({m.outcome.measure for m in measurements if m.outcome.by_timestep})
    spent = [(m.name, m.netlist.answers, spent_by_timestep(m)) for m in measurements]
    data = [to_json(m) for m in measurements]
    return template("comparison.html.j2").render(
        title=" beside ".join(m.name for m in measurements),
        **frame(),
        measurements=measurements,
        samples=measurements[0].samples,
        data_name=measurements[0].data,
        sections=[
            ("summary", "Side by side"),
            ("time", "Timesteps"),
            ("layers", "Populations"),
            ("provenance", "Provenance"),
        ],
        figures=[_figure(f, measurements) for f in FIGURES],
        charts={
            "score": overlay_chart(scores, ", ".join(measures), "%") if scores else None,
            "energy": overlay_chart(spent, "energy per sample", "µJ"),
        },
        headings=[f"{title}, {m.name}" for title, _, _ in POPULATION_FIGURES for m in measurements],
        lines=_lines(named),
        provenance=[
            *([("command", command)] if command else []),
            *((f"content hash of {m.name}", m.netlist.content_hash) for m in measurements),
        ],
        data=data,
        downloads=[
            download("JSON", "comparison.json", "application/json", json.dumps(data, indent=1, allow_nan=False))
        ],
    )


def _figure(figure: Figure, measurements: Sequence[Measurement]) -> dict[str, Any]:
    values = [figure.value(m) for m in measurements]
    known = [v for v in values if v is not None]
    # Equal figures have no winner.
    best = figure.better(known) if figure.better and len(set(known)) > 1 else None
    cells = [{"text": "" if v is None else figure.text(v), "better": v is not None and v == best} for v in values]
    return {"title": figure.title, "cells": cells}


def _lines(named: Sequence[Sequence[Row]]) -> list[dict[str, Any]]:
    by_name = [{row.name: row for row in table} for table in named]
    names = list(dict.fromkeys(name for table in by_name for name in table))
    lines = []
    for name in names:
        cells = []
        for _, pick, text in POPULATION_FIGURES:
            for table in by_name:
                value = pick(table[name]) if name in table else None
                cells.append(
                    {"text": "" if value is None else text(value), "sort": "" if value is None else repr(value)}
                )
        lines.append({"name": name, "cells": cells})
    return lines
