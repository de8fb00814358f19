"""Verify a netlist: whether two executors compute the same payloads."""

from __future__ import annotations

from pathlib import Path

from sim import golden
from toolchain.data import Dataset
from toolchain.display import Progress, silent
from toolchain.equivalence.compare import join
from toolchain.equivalence.explain import diagnose
from toolchain.equivalence.result import EquivalenceReport
from toolchain.evaluate.evaluation import check_samples, traces
from toolchain.files import read_trace
from toolchain.netlist import InputError, Netlist, Trace


def verify(netlist: Netlist, data: Dataset, against: str = "lava", *, progress: Progress = silent) -> EquivalenceReport:
    """Compare an executor with the reference simulator, or the reference with the golden step.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset
    against : str
        "lava": Lava's processes against the reference. "reference": the reference against the
        golden step. A path ending in .nir: the network in that file, run by the reference, against this one. A
        path ending in .h5: a recorded trace.

    Raises
    ------
    InputError
        When `against` is none of these, or the data do not fit the netlist.
    BackendError
        When Lava is not installed or died.
    """
    check_samples(netlist, data)
    if against == "reference":
        return join(_against_golden(netlist, data, progress))
    if against == "lava":
        pairs = zip(traces(netlist, data), traces(netlist, data, backend="lava", progress=progress), strict=True)
        return join([diagnose(netlist, expected, actual) for expected, actual in pairs])
    (expected,) = traces(netlist, data, batch=len(data), progress=progress)
    return diagnose(netlist, expected, _actual(netlist, data, against, progress))


def _against_golden(netlist: Netlist, data: Dataset, progress: Progress) -> list[EquivalenceReport]:
    """One sample at a time: the golden step is slow, and its progress should be seen."""
    reports = []
    with progress("golden step", len(data)) as advance:
        for payloads, actual in zip(data.batches(netlist.input, 1), traces(netlist, data, batch=1), strict=True):
            reports.append(diagnose(netlist, golden.simulate(netlist, payloads), actual))
            advance()
    return reports


def _actual(netlist: Netlist, data: Dataset, against: str, progress: Progress) -> Trace:
    path = Path(against)
    if path.suffix == ".h5":
        return read_trace(path)
    if path.suffix == ".nir":
        return _run_nir(netlist, path, data, progress)
    raise InputError("--against", f"{against!r} found, expected lava, reference, a .nir file or a trace (.h5)")


def _run_nir(netlist: Netlist, path: Path, data: Dataset, progress: Progress) -> Trace:
    from toolchain.exchange.nir import read_nir

    imported = read_nir(path)
    (trace,) = traces(imported, data, batch=len(data), progress=progress)
    # The file's own hash says whether it is this network; its payloads are compared either way.
    return Trace(netlist.content_hash, "nir", trace.spikes, trace.readouts, trace.saturations)
