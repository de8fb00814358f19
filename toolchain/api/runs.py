"""A netlist runs: scored, compared, or asked for the network's own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from toolchain.api.arguments import Decode, Network, dataset, decoder, ends, original, read_ann
from toolchain.display import Progress, silent
from toolchain.doors import Data
from toolchain.equivalence import EquivalenceReport
from toolchain.equivalence import verify as verify_netlist
from toolchain.evaluate import Evaluation, evaluate, netlist_outputs, network_outputs
from toolchain.netlist import Netlist
from toolchain.tail import Final


def simulate(
    netlist: Netlist,
    data: Data,
    *,
    limit: int | None = None,
    readout: str | None = None,
    decode: Decode | None = None,
    ann: Network | None = None,
    weights: str | Path | None = None,
    batch: int = 64,
    backend: Literal["reference", "lava"] = "reference",
    early_exit: bool = False,
    keep_state: bool = False,
    trace: str | Path | None = None,
    executor: str | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> Evaluation:
    """Run a netlist on data: score by timestep, spikes, operations, time.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset, path, ndarray or iterable, as of `dataset`
    limit : int, optional
        Use the first samples only.
    readout : str, optional
        Name of the readout that is scored, where there are several.
    decode : str or callable, optional
        Makes boxes of the outputs, to score detection.
    ann : nn.Module, str or Path, optional
        The network that it was converted from: its score on the same samples.
    weights : path, optional
        Of that network.
    batch : int
        Samples in memory at a time.
    backend : {"reference", "lava"}
    early_exit : bool
        Stop each sample once it is confident.
    keep_state : bool
        Samples are one recording, in the order of time: each goes on from the state that the one before it left.
    trace : path, optional
        Write every payload there (.h5).
    executor : str, optional
        Where batches run: ``local:N`` processes or ``dask://HOST:PORT``; by default this process.
    device : str
        What the reference simulator runs on: cpu, cuda or cuda:N.
    progress : Progress

    Raises
    ------
    InputError
        When the data do not fit the netlist, options exclude each other, or there is no such device.
    BackendError
        When Lava or the scheduler is not there, or died.
    """
    samples = dataset(data, limit=limit)
    return evaluate(
        netlist,
        samples,
        readout=readout,
        decode=decoder(decode),
        ann=original(netlist, ann, weights, samples),
        batch=batch,
        backend=backend,
        early_exit=early_exit,
        keep_state=keep_state,
        trace=None if trace is None else Path(trace),
        executor=executor,
        device=device,
        progress=progress,
    )


def verify(
    netlist: Netlist,
    data: Data,
    against: str | Path | Netlist = "lava",
    *,
    limit: int = 16,
    progress: Progress = silent,
) -> EquivalenceReport:
    """Compare every payload and running sum of two executors, or of two netlists.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset, path, ndarray or iterable, as of `dataset`
    against : "lava", "reference", path or Netlist
        Lava against the reference simulator; that against the golden step; a .nir file or another netlist, run by the
        reference simulator; a recorded trace (.h5).
    limit : int
        Use the first samples only: what holds for a few holds for the arithmetic.
    progress : Progress

    Raises
    ------
    InputError
        When `against` is none of these, or the data do not fit.
    BackendError
        When Lava is not installed or died.
    """
    other = against if isinstance(against, Netlist) else str(against)
    return verify_netlist(netlist, dataset(data, limit=limit), other, progress=progress)


def outputs(netlist: Netlist, data: Data, *, limit: int | None = None, progress: Progress = silent) -> dict[str, Final]:
    """Compute the network's own outputs by spikes: readouts, and then what the host does with them.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset, path, ndarray or iterable, as of `dataset`
    limit : int, optional
        Use the first samples only.
    progress : Progress

    Returns
    -------
    dict of str to ndarray (N, ...) or list of N ndarrays
        By the network's names of its outputs; by the readouts', where nothing is left to the host. A list where
        samples differ in shape.

    Raises
    ------
    InputError
        When the data do not fit the netlist.
    """
    return netlist_outputs(netlist, dataset(data, limit=limit), progress=progress)


def ann_outputs(
    netlist: Netlist, data: Data, network: Network, *, weights: str | Path | None = None, limit: int | None = None
) -> dict[str, Final]:
    """Compute what the network that a netlist was converted from says of the same data: the same tensors as `outputs`.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset, path, ndarray or iterable, as of `dataset`
    network : nn.Module, str or Path
    weights : path, optional
        Of the network.
    limit : int, optional
        Use the first samples only.

    Raises
    ------
    InputError
        When the data do not fit the network.
    """
    samples = dataset(data, limit=limit)
    return network_outputs(
        read_ann(network, weights, netlist.provenance.parts or samples.shape, ends(netlist)), netlist, samples
    )
