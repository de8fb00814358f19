"""The network's own outputs, of the netlist and of the ANN: the same final tensors, to be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import add

import numpy as np
import torch

from toolchain.data import Dataset, check_parts
from toolchain.display import Progress, silent
from toolchain.evaluate.backends import Reference
from toolchain.evaluate.observers import ByName
from toolchain.evaluate.scoring import own_units
from toolchain.evaluate.stream import BatchRun, observe
from toolchain.netlist import InputError, Netlist, Score, Tail
from toolchain.network import FloatNetwork, reference_outputs
from toolchain.tail import Final, run_tail
from toolchain.tasks import ScoredTask

#: Samples of the ANN in memory at a time.
_BATCH = 32


def estimates(run: BatchRun) -> ByName[list[np.ndarray]]:
    """Return what every readout says of the ANN's value at the last timestep, [(N, *shape)] float32 by name."""
    return ByName({name: [value.astype(np.float32)] for name, value in own_units(run).items()})


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
    parts = list(network_values(network, netlist, data))
    return _final(network.tail, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def network_score(network: FloatNetwork, netlist: Netlist, task: ScoredTask | None, data: Dataset) -> Score | None:
    """Return the ANN's score by a netlist's task on the same data; None where nothing is scored.

    Raises
    ------
    InputError
        When the data do not fit the network.
    """
    if task is None or not task.is_known(data.truth):
        return None
    names = {u.name: u.shape for u in network.outputs}
    if wanted := {r.name: r.shape for r in netlist.readouts}.items() - names.items():
        raise InputError("ann", f"outputs {names} found, the netlist reads out {dict(wanted)}", "name its own network")
    starts = range(0, len(data), _BATCH)
    parts = zip(starts, network_values(network, netlist, data), strict=True)
    tallies = (task.tally(values, data.truth.part(start, min(start + _BATCH, len(data)))) for start, values in parts)
    return reduce(add, tallies).score()


def network_values(network: FloatNetwork, netlist: Netlist, data: Dataset) -> Iterator[dict[str, np.ndarray]]:
    """Yield the ANN's outputs by name, `_BATCH` samples at a time; parameters and errors as of `network_outputs`."""
    check_parts(data, netlist.provenance.parts)
    if data.shape != network.source.shape:
        raise InputError(data.name, f"samples of shape {data.shape} found, the network takes {network.source.shape}")
    for start in range(0, len(data), _BATCH):
        x = data.normalized(netlist.input.mean, netlist.input.std, start, start + _BATCH)
        still = x[:, : netlist.timesteps].mean(axis=1) if data.is_frames else x
        values = reference_outputs(network, torch.from_numpy(still).float())
        yield {u.name: value.numpy() for u, value in zip(network.outputs, values, strict=True)}


def _final(tail: Tail | None, readouts: Mapping[str, np.ndarray]) -> dict[str, Final]:
    return dict(readouts) if tail is None else run_tail(tail, readouts)
