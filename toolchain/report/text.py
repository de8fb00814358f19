"""The report's numbers as CSV and Markdown."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields

from toolchain.energy import energy_text, quantity
from toolchain.report.baselines import Baseline, phi_range
from toolchain.report.measure import Measurement
from toolchain.report.rows import Row, rows, stopped_early


def to_csv(measurement: Measurement) -> str:
    """Return the table of populations as CSV, one population a line; an empty field where there is no number."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(f.name for f in fields(Row))
    for row in rows(measurement):
        values = {**asdict(row), "shape": "x".join(map(str, row.shape))}
        writer.writerow("" if value is None else value for value in values.values())
    return buffer.getvalue()


#: Columns of the table of baselines.
EQUAL_ACCURACY = ("network", "φ", "as good at timestep", "energy", "relative", "SOPs", "relative")


def equal_accuracy_lines(measurement: Measurement) -> list[tuple[str, ...]]:
    """Return the table of baselines in words, after the reported netlist itself; figures are per sample."""
    m = measurement
    if not m.baselines or m.score is None:
        return []
    whole = (energy_text(m.energy.e_snn / m.samples), "1.00", quantity(m.energy.sops / m.samples), "1.00")
    return [
        (m.name, _phi(phi_range(m.netlist)), f"{m.netlist.timesteps}: {m.score:.2%}", *whole),
        *(_baseline_line(b) for b in filter(None, (stopped_early(m), *m.baselines))),
    ]


def _baseline_line(b: Baseline) -> tuple[str, ...]:
    if b.timestep is None or b.energy is None or b.sops is None:
        return b.name, _phi(b.phi), f"never in {b.timesteps}: best {b.best:.2%}", "", "", "", ""
    reached = f"{b.timestep} of {b.timesteps}: {b.reached:.2%}"
    energy, sops = energy_text(b.energy / b.samples), quantity(b.sops / b.samples)
    return b.name, _phi(b.phi), reached, energy, _times(b.energy_ratio), sops, _times(b.sops_ratio)


def _phi(ends: tuple[int, int]) -> str:
    low, high = ends
    return str(high) if low == high else f"{low} to {high}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def to_markdown(measurement: Measurement) -> str:
    """Return a summary and the table of populations as Markdown."""
    m = measurement
    samples = m.samples
    lines = [
        f"# {m.name}",
        "",
        f"- content hash: `{m.netlist.content_hash}`",
        f"- data: {m.data}, {samples} samples, {m.netlist.run_length}",
        f"- latency: {m.latency} timesteps until the answer, a sample every {m.netlist.timesteps}",
    ]
    lines += [f"- {what}: {text}" for what, text in m.score_lines()]
    if m.input_clips.note is not None:
        lines.append(f"- {m.input_clips.note}")
    if (stages := m.netlist.provenance.evaluation) is not None:
        lines.append(f"- at conversion, {stages}")
    if m.equivalence is not None:
        verdict = "equivalent" if m.equivalence.equivalent else "not equivalent"
        lines.append(f"- {m.equivalence.actual}: {verdict}, {m.equivalence.compared_values:,} values compared")
    if m.check is not None:
        violations = len(m.check.violations)
        lines.append(f"- {m.check.title}: " + ("fits" if not violations else f"{violations} violations"))
    snn, ann = energy_text(m.energy.e_snn / samples), energy_text(m.energy.e_ann / samples)
    lines += [
        f"- energy per sample: {snn} (FP32 ANN {ann})",
        "",
        "| population | kind | shape | phi | rate | SOPs | events | energy | SQNR (dB) |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows(m):
        cells = (
            row.name,
            row.kind,
            "x".join(map(str, row.shape)),
            "" if row.phi is None else str(row.phi),
            "" if row.firing_rate is None else f"{row.firing_rate:.1%}",
            quantity(row.sops),
            quantity(row.events),
            energy_text(row.energy_pj),
            "" if row.sqnr_db is None else f"{row.sqnr_db:.1f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    if m.baselines:
        lines += ["", "At an equal score, energy in the paper's model and SOPs per sample until then:", ""]
        lines += ["| " + " | ".join(EQUAL_ACCURACY) + " |", "|---|" + "---:|" * (len(EQUAL_ACCURACY) - 1)]
        lines += ["| " + " | ".join(line) + " |" for line in equal_accuracy_lines(m)]
    return "\n".join(lines) + "\n"
