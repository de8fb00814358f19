"""What a netlist holds and spends, and the page that says everything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hw_targets.target import Target
from toolchain.api.arguments import Decode, Network, dataset, decoder, original, target_of
from toolchain.display import Progress, silent
from toolchain.doors import Data
from toolchain.energy import EnergyReport, estimate_energy, read_prices
from toolchain.evaluate import count_operations
from toolchain.files import write_bytes
from toolchain.info import Summary, summarize
from toolchain.netlist import Netlist
from toolchain.report import Measurement, check_report_path, converted_for, run_report, written


def info(netlist: Netlist) -> Summary:
    """Return what a netlist holds."""
    return summarize(netlist)


def energy(
    netlist: Netlist,
    data: Data,
    *,
    limit: int | None = None,
    batch: int = 64,
    prices: str | Path | None = None,
    progress: Progress = silent,
) -> EnergyReport:
    """Count the operations of a run and price them.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset, path, ndarray or iterable, as of `dataset`
    limit : int, optional
        Use the first samples only.
    batch : int
        Samples in memory at a time.
    prices : path, optional
        Prices of one's own (.toml); by default those of 45 nm that adafire brings.
    progress : Progress

    Raises
    ------
    InputError
        When the data do not fit the netlist.
    """
    chosen = read_prices(None if prices is None else Path(prices))  # first, so that a bad list is refused at once
    counts = count_operations(netlist, dataset(data, limit=limit), batch=batch, progress=progress)
    return estimate_energy(counts, chosen)


def report(
    netlist: Netlist,
    data: Data,
    path: str | Path,
    *,
    limit: int | None = None,
    readout: str | None = None,
    decode: Decode | None = None,
    ann: Network | None = None,
    weights: str | Path | None = None,
    target: str | Target | None = None,
    lava: int | None = None,
    baselines: Mapping[str, Netlist] | None = None,
    progress: Progress = silent,
) -> Measurement:
    """Measure, verify and check a netlist, compare it with baselines, and write one page with everything.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset, path, ndarray or iterable, as of `dataset`
    path : path
        The file to write: .html, .json, .csv or .md.
    limit : int, optional
        Use the first samples only.
    readout : str, optional
        Name of the readout that is scored, where there are several.
    decode : str or callable, optional
        Makes boxes of the outputs, to score detection.
    ann : nn.Module, str or Path, optional
        The network that it was converted from, to compare with.
    weights : path, optional
        Of that network.
    target : str or Target, optional
        What to check and place it on; the one that it was converted for by default.
    lava : int, optional
        Samples to verify on Lava; by default a few where Lava is installed.
    baselines : mapping of str to Netlist, optional
        Other conversions of the network, to compare at an equal score.
    progress : Progress

    Raises
    ------
    InputError
        When the data do not fit, or a baseline is of another network.
    BackendError
        When Lava was asked for and is not installed, or died.
    """
    check_report_path(Path(path))
    samples = dataset(data, limit=limit)
    measurement = run_report(
        netlist,
        samples,
        name=Path(path).stem,
        readout=readout,
        decode=decoder(decode),
        ann=original(netlist, ann, weights, samples),
        target=converted_for(netlist) if target is None else target_of(target),
        lava=lava,
        baselines=baselines,
        progress=progress,
    )
    write_bytes(Path(path), written([measurement], Path(path).suffix).encode(errors="replace"))
    return measurement
