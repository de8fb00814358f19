"""The report's charts: matplotlib figures as SVG whose colours are the page's CSS variables.

Text stays text, marks carry a title that browsers show on hover, and light, dark and print share one
drawing. Nothing here needs JavaScript.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator, NullLocator

from toolchain.energy import energy_text, paper_energy_by_timestep, quantity
from toolchain.netlist import SensitivityTable
from toolchain.report.measure import Measurement
from toolchain.report.rows import Row
from toolchain.report.scores import title_of

#: Colours that no picture uses, each a stand-in for one of the page's CSS variables.
INK, MUTED, GRID, SURFACE = "#010101", "#020202", "#030303", "#040404"
SNN, ANN, THIRD, WARN = "#050505", "#060606", "#070707", "#080808"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    SURFACE: "--surface",
    SNN: "--snn",
    ANN: "--ann",
    THIRD: "--third",
    WARN: "--warn",
}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "adafire",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlesize": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.labelcolor": INK,
}


#: Keeps a label readable where a line passes below it.
_PATCH = {"facecolor": SURFACE, "edgecolor": "none", "pad": 0.4}


class Chart:
    """A figure under construction, with the titles of its marks."""

    def __init__(self, width: float, height: float, *, panels: int = 1, share: bool = False) -> None:
        self.figure = Figure(figsize=(width, height), layout="constrained")
        self.axes: list[Axes] = list(np.atleast_1d(self.figure.subplots(1, panels, sharey=share)))
        self._titles: dict[str, str] = {}

    def title(self, artist: mpl.artist.Artist, text: str) -> None:
        """Give a mark a text that appears on hover."""
        key = f"mark{len(self._titles)}"
        artist.set_gid(key)
        self._titles[key] = text

    def svg(self, label: str) -> str:
        """Return the figure as an SVG element; `label` says in words what it shows."""
        buffer = io.StringIO()
        self.figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        # The style element of matplotlib's output would apply to the whole page.
        text = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r"font: ([\d. a-z]*?)([\d.]+px) [^;\"]+", r"font: \1\2 var(--font)", text)
        for colour, variable in _VARIABLES.items():
            text = text.replace(colour, f"var({variable})")
        for key, title in self._titles.items():
            text = text.replace(f'<g id="{key}">', f'<g class="mark"><title>{escape(title)}</title>')
        text = _own_ids(text, label)
        head = f'<svg role="img" aria-label="{escape(label, quote=True)}" '
        return text.replace("<svg ", head, 1)


def _own_ids(text: str, label: str) -> str:
    """Make a drawing's ids its own on a page of many, and drop those that nothing refers to."""
    prefix = "c" + hashlib.sha256(label.encode(errors="replace")).hexdigest()[:8]
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", text)
    return re.sub(r'(url\(|href=")#', rf"\1#{prefix}", text)


@contextmanager
def _styled() -> Iterator[None]:
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # its keys are a literal of hundreds of names
        yield


def score_chart(m: Measurement) -> str | None:
    """Draw the score against timesteps, with the ANN where it is known."""
    if not m.outcome.by_timestep:
        return None
    with _styled():
        chart = Chart(5.2, 3.0)
        (axes,) = chart.axes
        steps = m.netlist.answers
        values = [100 * value for value in m.outcome.by_timestep]
        axes.plot(steps, values, color=SNN, linewidth=2)
        for t, value in zip(steps, values, strict=True):
            (dot,) = axes.plot([t], [value], "o", color=SNN, markersize=6)
            chart.title(dot, f"timestep {t}: {value:.2f} %")
        ann = m.outcome.ann
        name, beside = ("without spikes", m.without_spikes) if ann is None else ("ANN", ann)
        if beside is not None:
            reference = beside.value
            line = axes.axhline(100 * reference, color=ANN, linestyle=(0, (4, 3)), linewidth=1.5)
            chart.title(line, f"{name}: {100 * reference:.2f} %")
            above = values[-1] <= 100 * reference  # on the side where the last dots are not
            axes.annotate(
                f"{name} {100 * reference:.2f} %",
                (1, 100 * reference),
                xycoords=("axes fraction", "data"),
                xytext=(0, 7 if above else -7),
                textcoords="offset points",
                ha="right",
                va="bottom" if above else "top",
                color=MUTED,
                bbox=_PATCH,
            )
        axes.set(xlabel="timesteps", ylabel=f"{m.outcome.measure} (%)")
        axes.margins(y=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return chart.svg(
            f"{title_of(m.outcome.measure)} against timesteps: "
            + ", ".join(f"{t}: {v:.2f} %" for t, v in zip(steps, values, strict=True))
        )


def spent_by_timestep(m: Measurement) -> list[float]:
    """Return the energy per sample spent up to each answer in the paper's model, µJ."""
    spent = paper_energy_by_timestep(m.energy.counts, m.energy.prices)
    return [float(spent[t - 1] / m.samples) / 1e6 for t in m.netlist.answers]


def energy_chart(m: Measurement) -> str:
    """Energy per sample against timesteps in the paper's model, with the baselines."""
    counts = m.energy.counts
    spent = spent_by_timestep(m)
    with _styled():
        chart = Chart(5.2, 3.0)
        (axes,) = chart.axes
        steps = m.netlist.answers
        axes.plot(steps, spent, color=SNN, linewidth=2)
        for t, value in zip(steps, spent, strict=True):
            (dot,) = axes.plot([t], [value], "o", color=SNN, markersize=6)
            chart.title(dot, f"timestep {t}: {value:.3g} µJ")
        for baseline in m.energy.baselines[:2]:
            if baseline.energy is None:
                continue
            level = float(baseline.energy) / counts.samples / 1e6
            line = axes.axhline(level, color=ANN, linestyle=(0, (4, 3)), linewidth=1.5)
            chart.title(line, f"{baseline.name}: {level:.3g} µJ")
            axes.annotate(
                baseline.name,
                (1, level),
                xycoords=("axes fraction", "data"),
                xytext=(0, 7),
                textcoords="offset points",
                ha="right",
                color=MUTED,
                bbox=_PATCH,
            )
        axes.set(xlabel="timesteps", ylabel="energy per sample (µJ)")
        axes.set_ylim(bottom=0)
        axes.margins(y=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return chart.svg(f"Energy per sample after each timestep, up to {spent[-1]:.3g} µJ")


def _bars(
    chart: Chart,
    axes: Axes,
    names: Sequence[str],
    values: Sequence[float],
    colours: Sequence[str],
    texts: Sequence[str],
) -> None:
    """Draw horizontal bars with their value at the end, first on top."""
    positions = np.arange(len(names))[::-1]
    for position, name, value, colour, text in zip(positions, names, values, colours, texts, strict=True):
        (bar,) = axes.barh([position], [value], color=colour, height=0.62)
        chart.title(bar, f"{name}: {text}")
        axes.annotate(text, (value, position), xytext=(5, 0), textcoords="offset points", va="center", color=MUTED)
    axes.set_yticks(positions, names)
    axes.grid(visible=False, axis="y")


def overlay_chart(series: Sequence[tuple[str, Sequence[int], Sequence[float]]], label: str, unit: str) -> str:
    """Draw one line per netlist against timesteps: name, timesteps, values."""
    with _styled():
        chart = Chart(5.2, 3.2)
        (axes,) = chart.axes
        for (name, steps, values), colour, marker in zip(series, (SNN, THIRD, WARN, ANN), "osD^", strict=False):
            axes.plot(steps, values, color=colour, linewidth=2)
            axes.plot([], [], color=colour, marker=marker, linewidth=2, label=name)
            for t, value in zip(steps, values, strict=True):
                (dot,) = axes.plot([t], [value], marker, color=colour, markersize=6)
                chart.title(dot, f"{name}, timestep {t}: {value:.4g} {unit}")
        axes.set(xlabel="timesteps", ylabel=f"{label} ({unit})")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="best")
        ends = ", ".join(f"{name} ends at {values[-1]:.4g} {unit}" for name, _, values in series)
        return chart.svg(f"{label} against timesteps: {ends}")


def readings_chart(m: Measurement) -> str:
    """Draw what the same counts cost: readings of the spiking network beside the baselines, on a log scale."""
    samples = m.energy.counts.samples
    entries = [(f"SNN, {r.name}", r, SNN) for r in m.energy.snn] + [(r.name, r, ANN) for r in m.energy.baselines]
    entries = [(name, r, colour) for name, r, colour in entries if r.energy]
    values = [float(r.energy or 0) / samples / 1e6 for _, r, _ in entries]
    with _styled():
        chart = Chart(10.4, 0.34 * len(entries) + 0.8)
        (axes,) = chart.axes
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        _bars(
            chart,
            axes,
            [name for name, _, _ in entries],
            values,
            [colour for _, _, colour in entries],
            [energy_text((r.energy or 0) / samples) for _, r, _ in entries],
        )
        axes.set_xlim(min(values) / 2, max(values) * 3)
        axes.set_xlabel("energy per sample (µJ, log scale)")
        words = ", ".join(f"{name} {value:.3g} µJ" for (name, _, _), value in zip(entries, values, strict=True))
        return chart.svg(f"Energy per sample: {words}")


def population_energy_chart(rows: Sequence[Row]) -> str:
    """Energy of each population: spiking network beside ANN."""
    shown = [r for r in rows if r.kind != "Input"]
    with _styled():
        chart = Chart(10.4, 0.36 * len(shown) + 0.9)
        (axes,) = chart.axes
        positions = np.arange(len(shown))[::-1]
        for position, row in zip(positions, shown, strict=True):
            for offset, value, colour, who in (
                (0.19, row.energy_pj, SNN, "SNN"),
                (-0.19, row.energy_ann_pj, ANN, "FP32 ANN"),
            ):
                (bar,) = axes.barh([position + offset], [value / 1e6], color=colour, height=0.34)
                chart.title(bar, f"{row.name}, {who}: {energy_text(value)}")
        axes.set_yticks(positions, [r.name for r in shown])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("energy per sample (µJ)")
        axes.plot([], [], color=SNN, linewidth=6, label="SNN (paper's model)")
        axes.plot([], [], color=ANN, linewidth=6, label="FP32 ANN")
        axes.legend(loc="lower right")
        return chart.svg(
            "Energy of each population, spiking network and FP32 ANN; the numbers are in the table of populations"
        )


def fidelity_chart(rows: Sequence[Row]) -> str | None:
    """Signal to noise and cosine of each population, against the network without spikes and the ANN."""
    shown = [r for r in rows if r.cosine is not None]
    if not shown:
        return None
    with _styled():
        chart = Chart(10.4, 0.3 * len(shown) + 1.1, panels=2, share=True)
        positions = np.arange(len(shown))[::-1]
        for axes, label, fields in (
            (chart.axes[0], "SQNR (dB)", ("sqnr_db", "ann_sqnr_db")),
            (chart.axes[1], "cosine", ("cosine", "ann_cosine")),
        ):
            for field, colour, name in zip(fields, (SNN, ANN), ("without spikes", "ANN"), strict=True):
                found = [(getattr(r, field), p, r) for p, r in zip(positions, shown, strict=True)]
                points = [point for point in found if point[0] is not None]
                axes.plot([v for v, _, _ in points], [p for _, p, _ in points], color=colour, linewidth=1.2, alpha=0.6)
                for value, position, row in points:
                    (dot,) = axes.plot([value], [position], "o", color=colour, markersize=6)
                    chart.title(dot, f"{row.name}, against {name}: {value:.4g}")
                if points:
                    axes.plot([], [], "o", color=colour, label=f"against {name}")
            axes.set_xlabel(label)
            axes.margins(x=0.08)
        chart.axes[0].set_yticks(positions, [r.name for r in shown])
        chart.axes[0].legend(loc="best")
        return chart.svg("Quantisation error of each population; the numbers are in the table of populations")


def headroom_chart(m: Measurement) -> str | None:
    """Bits of membrane potential that each population can use, against the width."""
    if not m.headroom:
        return None
    width = m.netlist.membrane_bits
    names = list(m.headroom)
    bits = [h.bits for h in m.headroom.values()]
    with _styled():
        chart = Chart(10.4, 0.3 * len(names) + 0.9)
        (axes,) = chart.axes
        texts = [f"{b} bits" if b <= width else f"{b} bits: can saturate" for b in bits]
        _bars(chart, axes, names, bits, [SNN if b <= width else WARN for b in bits], texts)
        line = axes.axvline(width, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        chart.title(line, f"width of the membrane: {width} bits")
        axes.set_xlim(0, max(width, *bits) * 1.18)
        axes.set_xlabel(f"bits of the membrane potential that can be reached (width: {width})")
        return chart.svg("Membrane bits each population can reach; the numbers are in the table of populations")


def timestep_chart(m: Measurement) -> str | None:
    """SOPs into each population at each timestep."""
    grid: dict[str, np.ndarray] = {}
    for connection in m.energy.counts.connections:
        if not connection.from_input:
            sops = np.array(connection.sops_by_timestep, dtype=float) / m.samples
            grid[connection.target] = grid.get(connection.target, 0.0) + sops
    if not grid:
        return None
    values = np.stack(list(grid.values()))
    with _styled():
        chart = Chart(10.4, max(2.0, 0.24 * len(grid) + 0.9))
        (axes,) = chart.axes
        image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=0, interpolation="nearest")
        axes.set_yticks(range(len(grid)), list(grid))
        axes.set_xticks(range(values.shape[1]), [str(t + 1) for t in range(values.shape[1])])
        axes.set_xlabel("timestep")
        axes.grid(visible=False)
        bar = chart.figure.colorbar(image, ax=axes, pad=0.01, aspect=30)
        bar.outline.set_visible(False)
        bar.set_label("SOPs per sample")
        bar.ax.tick_params(labelcolor=MUTED)
        bar.ax.yaxis.set_major_formatter(lambda value, _: quantity(value))
        return chart.svg("SOPs into each population at each timestep")


def sensitivity_chart(sign: str, table: SensitivityTable) -> str:
    """Increase of the divergence for each layer and setting of what `sign` stands for."""
    with _styled():
        chart = Chart(10.4, max(2.0, 0.24 * len(table.layers) + 0.9))
        (axes,) = chart.axes
        most = float(np.abs(table.increase).max()) or 1.0
        image = axes.imshow(
            table.increase, aspect="auto", cmap="PuOr_r", vmin=-most, vmax=most, interpolation="nearest"
        )
        axes.set_yticks(range(len(table.layers)), table.layers)
        axes.set_xticks(range(len(table.settings)), [f"{setting:g}" for setting in table.settings])
        axes.set_xlabel(f"{sign} of one layer, all others at their base")
        axes.grid(visible=False)
        bar = chart.figure.colorbar(image, ax=axes, pad=0.01, aspect=30)
        bar.outline.set_visible(False)
        bar.set_label("Δ divergence")
        bar.ax.tick_params(labelcolor=MUTED)
        return chart.svg(f"Sensitivity of each layer to its {sign}")


def exits_chart(m: Measurement) -> str | None:
    """How many samples stop at each timestep."""
    if not m.exits:
        return None
    total = sum(m.exits)
    with _styled():
        chart = Chart(5.2, 2.8)
        (axes,) = chart.axes
        for t, stopped in enumerate(m.exits, start=1):
            (bar,) = axes.bar([t], [100 * stopped / total], color=SNN, width=0.7)
            chart.title(bar, f"timestep {t}: {stopped} of {total} samples ({stopped / total:.1%})")
        axes.set(xlabel="timestep at which a sample stops", ylabel="samples (%)")
        axes.set_xticks(range(1, len(m.exits) + 1))
        axes.grid(visible=False, axis="x")
        return chart.svg("Early exit: " + ", ".join(f"{n} samples at timestep {t}" for t, n in enumerate(m.exits, 1)))


def rate_picture(rate_map: np.ndarray) -> str:
    """Return the mean payload over channels as a PNG data address, one pixel per position."""
    flat = rate_map.mean(axis=0) if rate_map.ndim == 3 else np.atleast_2d(rate_map)
    if rate_map.ndim == 1:
        flat = _folded(rate_map)
    buffer = io.BytesIO()
    imsave(buffer, flat, cmap="viridis", vmin=0, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _folded(rates: np.ndarray) -> np.ndarray:
    """Fold a list of neurons into a picture of about twice as many columns as rows."""
    columns = min(rates.size, int(np.ceil((2 * rates.size) ** 0.5)))
    padded = np.zeros(-(-rates.size // columns) * columns)
    padded[: rates.size] = rates
    return padded.reshape(-1, columns)
