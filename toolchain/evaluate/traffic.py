"""Spikes per neuron and inference, measured with the reference simulator: what placement weighs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sim import Activity
from toolchain.data import Dataset
from toolchain.evaluate.backends import Reference
from toolchain.evaluate.stream import BatchRun, observe
from toolchain.netlist import Netlist


def measure_traffic(netlist: Netlist, data: Dataset) -> Mapping[str, np.ndarray]:
    """Run samples and count what each neuron sends.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset

    Raises
    ------
    InputError
        When the data do not fit the netlist.

    Returns
    -------
    mapping of str to ndarray (population shape), float64
        Spikes per inference, a burst of n counted as n. Input neurons count what they inject,
        once per timestep, sign aside.
    """
    activity = observe(Reference(netlist), data.unlabelled, [_activity])[_activity]
    sent = {**activity.payloads, netlist.input.name: activity.events[netlist.input.name]}
    return {name: total / activity.samples for name, total in sent.items()}


def _activity(run: BatchRun) -> Activity:
    assert isinstance(run.emitted, Activity)
    return run.emitted
