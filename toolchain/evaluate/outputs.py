"""The network's own outputs, of the netlist and of the ANN: the same final tensors, to be compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from toolchain.data import Dataset
from toolchain.display import Progress, silent
from toolchain.evaluate.backends import Reference
from toolchain.evaluate.observers import ByName
from toolchain.evaluate.stream import BatchRun, observe
from toolchain.netlist import InputError, Netlist, Readout, Tail, per_channel
from toolchain.network import FloatNetwork, reference_outputs
from toolchain.tail import Final, run_tail

#: Samples of the ANN in memory at a time.
_BATCH = 32


def estimates(run: BatchRun) -> ByName[list[np.ndarray]]:
    """Return what every readout says of the ANN's value at the last timestep, [(N, *shape)] float32 by name."""
    found = {}
    for readout in run.netlist.readouts:
        # A leaky one's value is no sum, nor is that of a window of digits.
        steps = run.netlist.numbers.timesteps if isinstance(readout, Readout) else 1
        scale = per_channel(readout.scale, readout.shape) / steps
        found[readout.name] = [(run.readouts[readout.name][-1] * scale).astype(np.float32)]
    return ByName(found)


def netlist_outputs(
    netlist: Netlist, data: Dataset, *, batch: int = 64, progress: Progress = silent
) -> dict[str, Final]:
    """Run a netlist on data, and its tail on what it reads out.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset
    batch : int
        Samples in memory at a time.
    progress : Progress

    Returns
    -------
    dict of str to ndarray (N, ...) or list of N ndarrays
        By the network's own names of its outputs; by the readouts', where there is no tail.

    Raises
    ------
    InputError
        When the data do not fit the netlist.
    FormatError
        When the tail is damaged.
    """
    seen = observe(Reference(netlist), data.unlabelled, [estimates], batch=batch, progress=progress)[estimates]
    return _final(netlist.provenance.tail, {name: np.concatenate(parts) for name, parts in seen.items()})


def network_outputs(network: FloatNetwork, netlist: Netlist, data: Dataset) -> dict[str, Final]:
    """Compute the ANN's own outputs on the same data.

    Parameters
    ----------
    network : FloatNetwork
    netlist : Netlist
        What it was converted to: it knows the normalisation.
    data : Dataset
        Of frames, the ANN sees the mean.

    Returns
    -------
    dict of str to ndarray (N, ...) or list of N ndarrays
        As `netlist_outputs` returns them.

    Raises
    ------
    InputError
        When the data do not fit the network.
    """
    if data.shape != network.source.shape:
        raise InputError(data.name, f"samples of shape {data.shape} found, the network takes {network.source.shape}")
    parts = []
    for start in range(0, len(data), _BATCH):
        x = data.normalized(netlist.input.mean, netlist.input.std, start, start + _BATCH)
        still = x[:, : netlist.timesteps].mean(axis=1) if data.is_frames else x
        parts.append([o.numpy() for o in reference_outputs(network, torch.from_numpy(still).float())])
    values = [np.concatenate(each) for each in zip(*parts, strict=True)]
    return _final(network.tail, dict(zip((u.name for u in network.outputs), values, strict=True)))


def _final(tail: Tail | None, readouts: Mapping[str, np.ndarray]) -> dict[str, Final]:
    return dict(readouts) if tail is None else run_tail(tail, readouts)
