"""Verify a netlist: whether two executors, or two netlists, compute the same payloads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from toolchain.data import Dataset
from toolchain.display import Progress, silent
from toolchain.equivalence.compare import join
from toolchain.equivalence.explain import diagnose
from toolchain.equivalence.result import EquivalenceReport
from toolchain.evaluate import Backend, Golden, Lava, Reference, stream
from toolchain.files import open_trace
from toolchain.netlist import InputError, Netlist, Trace


def verify(
    netlist: Netlist,
    data: Dataset,
    against: str | Netlist = "lava",
    *,
    batch: int = 64,
    progress: Progress = silent,
) -> EquivalenceReport:
    """Compare an executor with the reference simulator, or the reference with the golden step, batch by batch.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset
    against : str or Netlist
        "lava": Lava's processes against the reference. "reference": the reference against the golden step. Another
        netlist, or a path ending in .nir: that network, run by the reference, against this one. A path ending in
        .h5: a recorded trace.
    batch : int
        Samples in memory at a time; the golden step takes them one by one.
    progress : Progress

    Raises
    ------
    InputError
        When `against` is none of these, the two have not the same populations, or the data do not fit the netlist.
    BackendError
        When Lava is not installed or died.
    """
    pairs = _pairs(netlist, data, against, batch, progress)
    return join([diagnose(netlist, expected, actual) for expected, actual in pairs])


def _pairs(
    netlist: Netlist, data: Dataset, against: str | Netlist, batch: int, progress: Progress
) -> Iterator[tuple[Trace, Trace]]:
    """Yield what is expected of each batch, and what the other side computes; the slower side shows progress."""
    reference = Reference(netlist, spikes=True)
    if isinstance(against, Netlist):
        return _other(reference, against, "netlist", data, batch, progress)
    if against == "reference":
        # One sample at a time: the golden step is slow, and its progress should be seen.
        return zip(_traces(Golden(netlist), data, 1, progress), _traces(reference, data, 1), strict=True)
    if against == "lava":
        return zip(_traces(reference, data, batch), _traces(Lava(netlist), data, batch, progress), strict=True)
    path = Path(against)
    if path.suffix == ".h5":
        return _recorded(reference, path, data, batch, progress)
    if path.suffix == ".nir":
        from toolchain.exchange.nir.compact import read_nir

        return _other(reference, read_nir(path), "nir", data, batch, progress)
    raise InputError("against", f"{against!r} found, expected lava, reference, a .nir file or a trace (.h5)")


def _traces(backend: Backend, data: Dataset, batch: int, progress: Progress = silent) -> Iterator[Trace]:
    return (run.trace for run in stream(backend, data.unlabelled, batch=batch, progress=progress))


def _other(
    reference: Reference, other: Netlist, name: str, data: Dataset, batch: int, progress: Progress
) -> Iterator[tuple[Trace, Trace]]:
    """Pair a netlist with another one; hashes say whether they are alike, payloads are compared either way."""
    expected = _traces(reference, data, batch, progress)
    for trace, actual in zip(expected, _traces(Reference(other, spikes=True), data, batch), strict=True):
        yield trace, replace(actual, netlist_hash=trace.netlist_hash, backend=name)


def _recorded(
    reference: Reference, path: Path, data: Dataset, batch: int, progress: Progress
) -> Iterator[tuple[Trace, Trace]]:
    with open_trace(path) as recorded:
        if recorded.samples != len(data):
            raise InputError(str(path), f"{recorded.samples} samples found, expected {len(data)}", "use the same data")
        yield from zip(_traces(reference, data, batch, progress), recorded.batches(batch), strict=True)
