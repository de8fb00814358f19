"""Spikes per neuron and inference, measured with the reference simulator: what placement weighs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sim.reference import simulate
from toolchain.data import Dataset
from toolchain.netlist import Netlist


def measure_traffic(netlist: Netlist, data: Dataset) -> Mapping[str, np.ndarray]:
    """Run samples and count what each neuron sends.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset

    Returns
    -------
    mapping of str to ndarray (population shape), float64
        Spikes per inference, a burst of n counted as n. Input neurons count what they inject,
        once per timestep, sign aside.
    """
    trace = simulate(netlist, data.payloads(netlist.input))
    counts = {}
    for name, spikes in trace.spikes.items():
        sent = spikes != 0 if name == netlist.input.name else spikes
        counts[name] = sent.sum(axis=0, dtype=np.int64).mean(axis=0)
    return counts
