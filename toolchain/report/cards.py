"""The verdicts of the summary: score, equivalence, hardware, energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from toolchain.energy import energy_text
from toolchain.report.measure import Measurement
from toolchain.tasks import interval_text, score_interval


@dataclass(frozen=True)
class Card:
    """One verdict of the summary."""

    title: str
    figure: str
    verdict: str
    detail: str
    state: Literal["good", "bad", "open"]


def cards(m: Measurement) -> list[Card]:
    """Return the verdicts on a measurement, in the order of the page."""
    return [_score_card(m), _equivalence_card(m), _hardware_card(m), _energy_card(m)]


def counted(number: int, noun: str) -> str:
    """Write a number of things: 1 core, 2 cores."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _score_card(m: Measurement) -> Card:
    outcome = m.outcome
    name = outcome.measure if outcome.measure != "accuracy" else "Accuracy"
    if outcome.score is None:
        return Card(name, "not measured", outcome.unscored or "", "", "open")
    title = f"{name}, integer network" if len(m.netlist.readouts) == 1 else f"{name} of {outcome.readout or 'boxes'}"
    score = outcome.score
    sure = ", ".join(filter(None, (interval_text(score), counted(m.samples, "sample"))))
    figure, references = f"{score.value:.2%}", m.references
    if not references:
        return Card(title, figure, f"at {m.netlist.run_length}", sure, "open")
    (who, first), *others = references.items()
    difference = 100 * (score.value - first.value)
    detail = f"{sure}; {_short(who)} {first.value:.2%}"
    detail += "".join(f", {_short(other)} {found.value:.2%}" for other, found in others)
    verdict = f"{difference:+.2f} points against {who}"
    if difference >= -1:
        return Card(title, figure, verdict, detail, "good")
    ends = score_interval(score)
    if ends is not None and first.value <= ends[1]:  # too few samples to tell a loss from chance
        return Card(title, figure, f"{verdict}, within the interval", detail, "open")
    return Card(title, figure, verdict, detail, "bad")


def _short(who: str) -> str:
    """Name a reference in a list."""
    return who.removeprefix("the ").removeprefix("network ")


def _equivalence_card(m: Measurement) -> Card:
    report = m.equivalence
    if report is None:
        return Card("Equivalence", "not verified", "no second executor was run", "", "open")
    pair = f"{report.actual} against {report.expected}"
    values = f"{report.compared_values:,} values of {report.samples} samples"
    if report.equivalent:
        return Card("Equivalence", "equal", f"{pair}: every payload and sum", values, "good")
    first = report.first_divergence
    where = "" if first is None else f"first in {first.population}, timestep {first.timestep}"
    return Card("Equivalence", "differs", f"{pair}: {where}", values, "bad")


def _hardware_card(m: Measurement) -> Card:
    if m.check is None:
        return Card("Hardware", "not checked", "no target was named", "", "open")
    detail = ""
    if m.placement is not None:
        detail = f"{counted(m.placement.cores, 'core')} on {counted(m.placement.chip_count, 'chip')}"
    if m.check.passed:
        return Card("Hardware", "fits", m.check.title, detail, "good")
    number = len(m.check.violations)
    return Card("Hardware", counted(number, "violation"), m.check.title, detail, "bad")


def _energy_card(m: Measurement) -> Card:
    snn, ann = m.energy.e_snn, m.energy.e_ann
    ratio = float(ann / snn) if snn else 0.0
    integers = next(r for r in m.energy.snn if r.name == "integers").energy
    int8 = next(r for r in m.energy.baselines if r.name == "INT8 ANN").energy
    wins = [ratio >= 1]
    detail = ""
    if integers and int8:
        wins.append(int8 >= integers)
        detail = f"in integers {energy_text(integers / m.samples)}, INT8 ANN {energy_text(int8 / m.samples)}"
    return Card(
        "Energy per sample, paper's model",
        energy_text(snn / m.samples),
        f"{ratio:.2f} times less than the FP32 ANN" if ratio >= 1 else f"{1 / ratio:.2f} times the FP32 ANN",
        detail,
        "good" if all(wins) else "open" if any(wins) else "bad",
    )
