"""Scores as tables: further measures, classes, and the stages of the conversion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from toolchain.report.measure import Measurement
from toolchain.tasks import measure_text


def title_of(measure: str) -> str:
    """Write a measure at the beginning of a line: accuracy with a capital, an abbreviation as it is."""
    return measure[0].upper() + measure[1:] if measure.islower() else measure


def score_tables(m: Measurement) -> dict[str, Any]:
    """Return further measures, and those of classes that occur, as tables: of the netlist and, if known, the ANN."""
    outcome = m.outcome
    if outcome.score is None:
        return {"measures": [], "classes": [], "class_headings": []}
    both = [("integer network", outcome.score), *([("ANN", outcome.ann)] if outcome.ann is not None else [])]
    measures = [
        (measure_text(name), *(f"{found.further[name]:.2%}" if name in found.further else "" for _, found in both))
        for name in outcome.score.further
    ]
    columns = [(name, who, found) for name in outcome.score.per_class for who, found in both]
    return {
        "headings": ["measure", *(who for who, _ in both)],
        "measures": measures,
        "class_headings": ["class", *(f"{measure_text(name)}, {who}" for name, who, _ in columns)],
        "classes": [
            (outcome.class_name(label), *shares)
            for label in range(max((len(v) for v in outcome.score.per_class.values()), default=0))
            if any(shares := [_share(found.per_class.get(name, ()), label) for name, _, found in columns])
        ],
    }


def _share(values: Sequence[float | None], label: int) -> str:
    value = values[label] if label < len(values) else None
    return "" if value is None else f"{value:.2%}"


def stage_table(m: Measurement) -> dict[str, Any] | None:
    """Return the scores of the conversion as a table: what each stage loses against the one before."""
    found = m.netlist.provenance.evaluation
    if found is None:
        return None
    named = {"ANN": found.ann.value, "float SNN": found.float_snn.value, "integer SNN": found.integer_snn.value}
    changes = ["", *(f"{100 * (after - before):+.2f} points" for before, after in pairwise(named.values()))]
    measure = found.ann.measure
    return {
        "measure": measure,
        "caption": f"{title_of(measure)} at conversion, {found.samples:,} samples of {found.data}",
        "lines": [(name, f"{v:.2%}", change) for (name, v), change in zip(named.items(), changes, strict=True)],
    }
