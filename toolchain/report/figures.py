"""Matplotlib figures of traces, netlists and reports, for notebooks and papers.

Each function returns a `matplotlib.figure.Figure`, which a notebook shows and `savefig` writes.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toolchain.energy import EnergyReport
from toolchain.equivalence import EquivalenceReport
from toolchain.netlist import InputError, Netlist, Trace


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def raster(trace: Trace, population: str, *, sample: int = 0, neurons: int = 200) -> Figure:
    """Plot the bursts of a population over time, one row per neuron, darker for longer bursts.

    Parameters
    ----------
    trace : Trace
    population : str
    sample : int
    neurons : int
        How many to show, evenly spaced.

    Raises
    ------
    InputError
        When there is no such population or sample.
    """
    if population not in trace.spikes:
        raise InputError("raster", f"no population {population!r}; there are {', '.join(trace.spikes)}")
    if not 0 <= sample < trace.samples:
        raise InputError("raster", f"sample {sample} found, expected 0 to {trace.samples - 1}")
    bursts = trace.spikes[population][:, sample].reshape(trace.timesteps, -1)
    shown = np.unique(np.linspace(0, bursts.shape[1] - 1, min(neurons, bursts.shape[1])).astype(int))
    figure, axes = _figure(6, 4)
    image = axes.imshow(bursts[:, shown].T, aspect="auto", interpolation="nearest", cmap="Greys", origin="lower")
    axes.set(xlabel="timestep", ylabel="neuron", title=f"{population}, sample {sample}")
    axes.set_xticks(range(trace.timesteps), [str(t + 1) for t in range(trace.timesteps)])
    figure.colorbar(image, ax=axes, label="payload")
    return figure


def rates(trace: Trace) -> Figure:
    """Plot the share of payloads that are not zero, population by population."""
    shares = {name: np.count_nonzero(spikes) / spikes.size for name, spikes in trace.spikes.items()}
    figure, axes = _figure(7, 0.28 * len(shares) + 1)
    axes.barh(list(shares)[::-1], [100 * s for s in shares.values()][::-1], color="#0b7a6f")
    axes.set_xlabel("payloads that are not zero (%)")
    return figure


def phi_by_population(netlist: Netlist) -> Figure:
    """Plot the longest burst of every spiking population."""
    phis = {p.name: p.payload_range[1] for p in netlist.spiking}
    figure, axes = _figure(7, 0.28 * len(phis) + 1)
    axes.barh(list(phis)[::-1], list(phis.values())[::-1], color="#0b7a6f")
    axes.set_xlabel("longest burst (phi)")
    return figure


def energy_bars(report: EnergyReport) -> Figure:
    """Plot the energy of every population per sample, spiking network beside FP32 ANN, in µJ."""
    names = [p.name for p in report.populations][::-1]
    scale = 1e6 * report.counts.samples
    figure, axes = _figure(7, 0.32 * len(names) + 1.2)
    positions = np.arange(len(names))
    snn = [float(p.energy) / scale for p in report.populations][::-1]
    ann = [float(p.energy_ann) / scale for p in report.populations][::-1]
    axes.barh(positions + 0.2, snn, height=0.38, color="#0b7a6f", label="SNN (paper's model)")
    axes.barh(positions - 0.2, ann, height=0.38, color="#8390a2", label="FP32 ANN")
    axes.set_yticks(positions, names)
    axes.set_xlabel("energy per sample (µJ)")
    axes.legend(frameon=False)
    return figure


def drift(report: EquivalenceReport) -> Figure:
    """Plot how two executors drift apart: values that differ, by population and timestep."""
    counts = np.array(list(report.differing.values()), dtype=float)
    figure, axes = _figure(7, 0.28 * len(counts) + 1.2)
    image = axes.imshow(counts, aspect="auto", interpolation="nearest", cmap="Reds", vmin=0)
    axes.set_yticks(range(len(counts)), list(report.differing))
    axes.set_xticks(range(counts.shape[1]), [str(t + 1) for t in range(counts.shape[1])])
    axes.set(xlabel="timestep", title=f"{report.actual} against {report.expected}")
    figure.colorbar(image, ax=axes, label="values that differ")
    return figure
