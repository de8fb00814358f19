"""How many spikes the rounding of a foreign network moves, measured on data or on random events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sim import simulate
from toolchain.exchange.loss_report import Imported, Loss
from toolchain.netlist import Input

#: Samples of random events, and how likely an event is per neuron and timestep, where there are no data.
SAMPLES = 8
RATE = 0.1


def random_events(source: Input, timesteps: int) -> np.ndarray:
    """Return events of one: (timesteps, SAMPLES, *shape) int8 or uint8, always the same."""
    drawn = np.random.default_rng(0).random((timesteps, SAMPLES, *source.shape)) < RATE
    return drawn.astype(source.payload_dtype)


def measure_moved(imported: Imported, payloads: np.ndarray | None = None) -> Imported:
    """Run a netlist beside the network that it was rounded from; return it with the spikes that differ, per layer.

    Parameters
    ----------
    imported : Imported
        One that has its `real` network; another comes back as it is.
    payloads : ndarray (T, N, *shape), integer, optional
        Frames as the input takes them; random events by default.
    """
    netlist = imported.netlist
    if imported.real is None or netlist.input.coding != "frames":
        return imported
    on = "the data"
    if payloads is None:
        payloads = random_events(netlist.input, netlist.timesteps)
        on = f"random events ({RATE:.0%} of neurons and timesteps, {SAMPLES} samples)"
    moved = imported.real.compare(simulate(netlist, payloads))
    losses: Sequence[Loss] = [Loss(m.population, "adafire", f"on {on}: {m}") for m in moved]
    report = replace(imported.report, losses=(*imported.report.losses, *losses))
    return replace(imported, report=report, moved=moved)
