"""The report as one self-contained page."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from toolchain.energy import energy_text, price_list, quantity, reading_groups, shown_energy
from toolchain.equivalence import Explanation
from toolchain.netlist.shapes import size
from toolchain.report import charts
from toolchain.report.cards import cards, counted
from toolchain.report.columns import population_table
from toolchain.report.diagram import draw_bursts, draw_cores, draw_network
from toolchain.report.measure import Measurement
from toolchain.report.pictures import Pictures, draw
from toolchain.report.rows import Row, rows, to_json
from toolchain.report.scores import score_tables, stage_table
from toolchain.report.searched import Search, read_search
from toolchain.report.text import EQUAL_ACCURACY, equal_accuracy_lines, to_csv, to_markdown

#: Characters of a provenance value that is shown at once; longer ones unfold.
LONGEST = 160


def template(name: str) -> jinja2.Template:
    """Load a template of the page; everything that it inserts is escaped unless marked safe."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("toolchain.report", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def page_file(name: str) -> str:
    """Read a style sheet or script of the page."""
    return files("toolchain.report").joinpath("page", name).read_text("utf-8")


def to_html(measurement: Measurement, *, command: str | None = None) -> str:
    """Return the report as an HTML page that needs no other file and no network.

    Parameters
    ----------
    measurement : Measurement
    command : str, optional
        The command that made it, for the provenance.
    """
    m = measurement
    table = rows(m)
    anchors = {row.name: f"layer-{i}" for i, row in enumerate(table)}
    columns, cells = population_table(table)
    data = to_json(m)
    drawn = _charts(m, table)
    search, pictures = read_search(m.netlist.provenance), draw(m.gallery, m.outcome.classes)
    provenance = _provenance(m, command)
    return template("report.html.j2").render(
        m=m,
        title=m.name,
        **frame(),
        neurons=sum(size(p.shape) for p in m.netlist.spiking),
        sections=_sections(m, drawn, search, pictures),
        pictures=pictures,
        search=search,
        sensitivities=[(sign, charts.sensitivity_chart(sign, t)) for sign, t in search.tables.items()]
        if search
        else [],
        cards=cards(m),
        stages=stage_table(m),
        scores=score_tables(m),
        explanation=_explanation(None if m.equivalence is None else m.equivalence.explanation),
        diagram=draw_network(m.netlist, table, anchors),
        charts=drawn,
        columns=columns,
        table=[{"anchor": anchors[r.name], "cells": line} for r, line in zip(table, cells, strict=True)],
        details=[_detail(m, row, anchors[row.name]) for row in table if row.spikes is not None],
        saturations=sum(row.saturations for row in table),
        readings=_readings(m),
        equal_accuracy={"headings": EQUAL_ACCURACY, "lines": equal_accuracy_lines(m)},
        rate_note=_rate_note(m),
        range_note=_range_note(m),
        prices=price_list(m.energy),
        quantity=quantity,
        counted=counted,
        gauges=_gauges(m),
        cores=() if m.placement is None else draw_cores(m.placement),
        provenance=[(term, value) for term, value in provenance if len(value) <= LONGEST],
        long_provenance=[(term, value) for term, value in provenance if len(value) > LONGEST],
        clips=m.input_clips.note,
        notes=list(m.netlist.provenance.notes or ()),
        activations=list(m.netlist.provenance.activations),
        data=data,
        downloads=[
            download("JSON", "report.json", "application/json", json.dumps(data, indent=1, allow_nan=False)),
            download("CSV", "layers.csv", "text/csv", to_csv(m)),
            download("Markdown", "report.md", "text/markdown", to_markdown(m)),
        ],
    )


def frame() -> dict[str, Any]:
    """Return what every page holds: style, script, version."""
    return {
        "version": version("adafire"),
        "style": Markup(page_file("style.css")),
        "script": Markup(page_file("script.js")),
    }


def download(name: str, file: str, media: str, text: str) -> dict[str, str]:
    """Return a link that carries its whole content."""
    return {
        "name": name,
        "file": file,
        "media": media,
        "content": base64.b64encode(text.encode(errors="replace")).decode("ascii"),
    }


def _charts(m: Measurement, table: Sequence[Row]) -> dict[str, str | None]:
    return {
        "score": charts.score_chart(m),
        "energy": charts.energy_chart(m),
        "exits": charts.exits_chart(m),
        "timesteps": charts.timestep_chart(m),
        "fidelity": charts.fidelity_chart(table),
        "headroom": charts.headroom_chart(m),
        "readings": charts.readings_chart(m),
        "population_energy": charts.population_energy_chart(table),
    }


def _sections(
    m: Measurement, drawn: dict[str, str | None], search: Search | None, pictures: Pictures | None
) -> list[tuple[str, str]]:
    found = [
        ("summary", "Summary"),
        *([("pictures", "Pictures")] if pictures is not None else []),
        ("network", "Network"),
        ("time", "Timesteps"),
        ("layers", "Populations"),
        ("activity", "Activity"),
        *([("fidelity", "Error")] if drawn["fidelity"] else []),
    ]
    if drawn["headroom"]:
        found.append(("headroom", "Headroom"))
    if search is not None:
        found.append(("search", "Search"))
    found.append(("energy", "Energy"))
    if m.check is not None or m.placement is not None:
        found.append(("hardware", "Hardware"))
    return [*found, ("provenance", "Provenance")]


def _explanation(explanation: Explanation | None) -> dict[str, Any] | None:
    if explanation is None:
        return None
    first = explanation.divergence
    sides = (("expected", explanation.expected), ("got, with this fault", explanation.got))
    return {
        "where": f"{first.population}{list(first.index)}, timestep {first.timestep}, sample {first.sample}",
        "expected": first.expected,
        "got": first.got,
        "cause": first.cause,
        "membrane": [(side, u.before, u.integrated, u.payload, u.after) for side, u in sides if u is not None],
        "inputs": [
            (c.source, str(list(c.index)), c.payload, c.weight, c.payload * c.weight)
            for c in explanation.contributions[:12]
        ],
    }


def _detail(m: Measurement, row: Row, anchor: str) -> dict[str, Any]:
    activity = m.activity[row.name]
    numbers = [("spikes per sample", quantity(row.spikes or 0)), ("not zero", f"{row.firing_rate or 0:.2%}")]
    if row.threshold_min is not None:
        numbers.append(("thresholds", f"{row.threshold_min:,} – {row.threshold_max:,}"))
    if row.membrane_bits_used is not None:
        numbers.append(("membrane", f"{row.membrane_bits_used} of {m.netlist.membrane_bits} bits"))
    if row.cosine is not None:
        numbers.append(("cosine without spikes", f"{row.cosine:.4f}"))
    if row.ann_cosine is not None:
        numbers.append(("cosine with the ANN", f"{row.ann_cosine:.4f}"))
    return {
        "anchor": anchor,
        "name": row.name,
        "facts": f"{row.kind}, {'×'.join(map(str, row.shape))}" + ("" if row.phi is None else f", φ = {row.phi}"),
        "picture": charts.rate_picture(activity.rate_map),
        "peak": f"{activity.rate_map.max():.3g}",
        # The input's payloads are too many kinds for bars.
        "bursts": draw_bursts(activity.bursts) if activity.bursts.size <= 65 else (),
        "numbers": numbers,
    }


def _readings(m: Measurement) -> list[dict[str, str]]:
    return [
        {"name": prefix + r.name, "energy": shown_energy(r, m.samples), "rule": r.rule}
        for prefix, group in reading_groups(m.energy)
        for r in group
    ]


def _rate_note(m: Measurement) -> str:
    rates = "; ".join(
        f"{b.baseline}: " + ("never, the first layer alone costs more" if b.rate is None else f"{float(b.rate):.3f}")
        for b in m.energy.break_even
    )
    return (
        f"Spike rate {float(m.energy.spike_rate):.3f} SOPs per synapse and timestep. "
        f"Break-even at equal precision, against the {rates}."
    )


def _range_note(m: Measurement) -> str:
    energies = [r.energy for r in m.energy.snn if r.energy]
    low, high = (energy_text(e / m.samples) for e in (min(energies), max(energies)))
    return f"Range of uncertainty: the same counts read as {low} to {high} per sample, by the readings above."


def _gauges(m: Measurement) -> list[dict[str, Any]]:
    if m.check is None:
        return []
    found = []
    for name, (used, most) in m.check.utilization.items():
        share = 100 * used / most if most else None
        found.append(
            {
                "name": name.replace("_", " "),
                "text": f"{used:,}" if most is None else f"{used:,} of {most:,}",
                "share": None if share is None else round(min(share, 100), 1),
                "state": "bad" if share and share > 100 else "good",
            }
        )
    return found


def _provenance(m: Measurement, command: str | None) -> list[tuple[str, str]]:
    found = [("content hash", m.netlist.content_hash), ("reported by", f"adafire {version('adafire')}")]
    if command:
        found.append(("command", command))
    if m.netlist.provenance.adafire is not None:
        found.append(("converted by", f"adafire {m.netlist.provenance.adafire}"))
    if m.netlist.provenance.tail is not None:
        found.append(("host", str(m.netlist.provenance.tail)))
    for key, value in sorted(m.netlist.provenance.to_json().items()):
        if key in ("notes", "adafire", "search", "curves", "gates", "tail"):
            continue
        if isinstance(value, dict):
            found += [(f"{key}: {inner}".replace("_", " "), _plain(v)) for inner, v in sorted(value.items())]
        else:
            found.append((key.replace("_", " "), _plain(value)))
    return found


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
