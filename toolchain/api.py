"""The verbs of the command line as functions: what `import adafire` offers.

Each is a thin face of the package that does the work, with files and names resolved. Data are whatever `dataset`
takes: a path, an array, a data set; a network is a module, or what SPEC of ``adafire convert`` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from hw_targets.catalogue import Catalogue
from hw_targets.placement import Placement
from hw_targets.placement import place as place_netlist
from hw_targets.rules import CheckReport
from hw_targets.rules import check as check_netlist
from hw_targets.target import Target, load_target
from toolchain.convert import Recipe, convert_network
from toolchain.convert.recipe import split_names
from toolchain.data import Dataset
from toolchain.display import Progress, silent
from toolchain.doors import Crop, Data, open_data, parse_crop
from toolchain.energy import EnergyReport, estimate_energy, read_prices
from toolchain.equivalence import EquivalenceReport
from toolchain.equivalence import verify as verify_netlist
from toolchain.evaluate import (
    Evaluation,
    count_operations,
    evaluate,
    measure_traffic,
    netlist_outputs,
    network_outputs,
)
from toolchain.exchange import Format, LossReport, export_netlist, import_netlist
from toolchain.files import read_netlist, write_bytes, write_netlist
from toolchain.frontend import read_module, read_network
from toolchain.info import Summary, summarize
from toolchain.netlist import InputError, Netlist
from toolchain.network import FloatNetwork
from toolchain.report import Measurement, check_report_path, converted_for, run_report, written
from toolchain.tail import Final
from toolchain.tasks import Decoder

#: A trained network: a module, or ``package.module:callable``, ``path/to/file.py:callable``, a .onnx or .pt2 file.
Network = nn.Module | str | Path
#: A function that makes boxes of outputs, or what names one: ``path/to/file.py:callable``.
Decode = str | Callable[..., Any]


def dataset(
    data: Data,
    labels: np.ndarray | None = None,
    *,
    size: str | tuple[int, int] | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Return samples, and what is true of them, from anything that holds some: what every verb takes as data.

    Parameters
    ----------
    data : Dataset, path, ndarray, or object
        As `toolchain.doors.open_data` takes it: a .npz file, a folder of pictures in class folders, or
        ``path.py:callable``; pictures (N, H, W, C) or (N, H, W) uint8, or numbers (N, C, ...) taken as they are; a
        torch Dataset, or an iterable of (x, y).
    labels : ndarray (N,), optional
        For an array.
    size : (height, width) or str, optional
        What pictures of a folder are brought to, as ``--size`` has it: their short side is scaled, the middle cut out.
    limit : int, optional
        Use the first samples only, of a folder some of every class.
    progress : Progress

    Raises
    ------
    InputError
        When it cannot be used, or labels and samples differ in number.
    """
    crop = parse_crop(size) if isinstance(size, str) else None if size is None else Crop(*size)
    return open_data(data, labels, crop=crop, limit=limit, progress=progress)


def convert(
    network: Network,
    calibration: Data,
    recipe: Recipe | None = None,
    *,
    weights: str | Path | None = None,
    evaluate: Data | None = None,
    evaluate_limit: int = 256,
    decode: Decode | None = None,
    progress: Progress = silent,
) -> Netlist:
    """Convert a trained network into a spiking netlist, without training.

    Parameters
    ----------
    network : nn.Module, str or Path
        A module in eval mode, or what SPEC of ``adafire convert`` names.
    calibration : Dataset, path, ndarray or iterable, as of `dataset`
        Unlabelled data.
    recipe : Recipe, optional
        By default ``Recipe()``: T = 8, phi = 4, 8-bit weights.
    weights : path, optional
        Loaded into the module first.
    evaluate : Dataset, path, ndarray or iterable, optional
        Samples of which it is known what is true; the scores of ANN, float SNN and netlist go into the netlist's
        provenance.
    evaluate_limit : int
        Use the first of them only.
    decode : str or callable, optional
        Makes boxes of the outputs, to score detection (`toolchain.tasks.Decoder`).
    progress : Progress

    Raises
    ------
    UnsupportedError
        When the network holds a layer that cannot be converted; it is named.
    InputError
        When the data do not fit.
    TargetError
        When a number does not fit the target's fields.
    CollapseError
        When the netlist does not compute what the ANN does, unless the recipe accepts that.
    """
    data = open_data(calibration, labelled=False, progress=progress)
    labelled = None if evaluate is None else open_data(evaluate, limit=evaluate_limit, progress=progress)
    recipe = recipe or Recipe()
    ann = _read_ann(network, weights, data, recipe.output_names)
    return convert_network(ann, data, recipe, evaluate=labelled, decode=decoder(decode), progress=progress)


def decoder(decode: Decode | None) -> Decoder | None:
    """Return what makes boxes of outputs: a function, or what names one."""
    return None if decode is None else Decoder(decode)


def original(
    netlist: Netlist, network: Network | None, weights: str | Path | None, data: Dataset
) -> FloatNetwork | None:
    """Return the network that a netlist was converted from, ending where that did; None where none is named.

    Raises
    ------
    InputError
        When there is no such network, or only its weights are named.
    """
    if network is not None:
        return _read_ann(network, weights, data, _ends(netlist))
    if weights is not None:
        raise InputError("weights", "weights found without a network", "name it with `ann`")
    return None


def _read_ann(network: Network, weights: str | Path | None, data: Dataset, ends: tuple[str, ...]) -> FloatNetwork:
    if not isinstance(network, nn.Module):
        return read_network(str(network), weights, data.shape, ends)
    if weights is not None:
        raise InputError("weights", f"{weights} found beside a module", "load them into it, or name it by a SPEC")
    return read_module(network, data.shape, ends)


def _ends(netlist: Netlist) -> tuple[str, ...]:
    """Return where the network ended that a netlist was converted from, if not at its own outputs."""
    found = (netlist.provenance.recipe or {}).get("outputs")
    return split_names(found) if isinstance(found, str) else ()


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
    return network_outputs(_read_ann(network, weights, samples, _ends(netlist)), netlist, samples)


def info(netlist: Netlist) -> Summary:
    """Return what a netlist holds."""
    return summarize(netlist)


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


def check(netlist: Netlist, target: str | Target, *, unroll: bool = False) -> CheckReport:
    """Check a netlist against a hardware target's design rules.

    Parameters
    ----------
    netlist : Netlist
    target : str or Target
        A name of `targets`, or the path of a target file.
    unroll : bool
        With bursts unrolled to binary spikes.

    Raises
    ------
    InputError
        When there is no such target.
    """
    return check_netlist(netlist, _target(target), unroll=unroll)


def place(
    netlist: Netlist, target: str | Target, *, unroll: bool = False, data: Data | None = None, limit: int = 16
) -> Placement:
    """Place a netlist on the cores and chips of a hardware target.

    Parameters
    ----------
    netlist : Netlist
    target : str or Target
    unroll : bool
        With bursts unrolled to binary spikes.
    data : Dataset, path, ndarray or iterable, optional
        Samples to weigh traffic with measured spikes.
    limit : int
        Use the first of them only.

    Raises
    ------
    InputError
        When there is no such target, or the data do not fit.
    TargetError
        When the netlist does not fit.
    """
    traffic = None if data is None else measure_traffic(netlist, dataset(data, limit=limit))
    return place_netlist(netlist, _target(target), traffic, unroll=unroll)


def targets(name: str | None = None) -> Catalogue | Target:
    """List the hardware targets, or show one with the source of every number.

    Raises
    ------
    InputError
        When there is no such target.
    """
    return Catalogue() if name is None else load_target(name)


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
        target=converted_for(netlist) if target is None else _target(target),
        lava=lava,
        baselines=baselines,
        progress=progress,
    )
    write_bytes(Path(path), written([measurement], Path(path).suffix).encode(errors="replace"))
    return measurement


def export(netlist: Netlist, path: str | Path, to: Format = "nir") -> LossReport:
    """Write a netlist in another format; what that cannot carry is listed, or refused by name.

    Parameters
    ----------
    netlist : Netlist
    path : path
    to : {"nir", "nir-explicit", "netx"}

    Raises
    ------
    UnsupportedError
        When the format cannot express the network.
    """
    return export_netlist(netlist, Path(path), to)


def read(
    path: str | Path,
    *,
    timesteps: int | None = None,
    weight_bits: int = 8,
    dt: float | None = None,
    reset: Literal["zero", "subtract"] | None = None,
    input_bits: int = 8,
    coding: Literal["direct", "frames"] | None = None,
) -> Netlist:
    """Read a netlist: adafire's own (.h5), or one that ``adafire import`` takes (.nir, .net).

    Parameters
    ----------
    path : path
    timesteps, weight_bits, dt, reset, input_bits, coding
        For files of other tools, what they do not say; as `import_netlist` takes them.

    Raises
    ------
    InputError, FormatError, UnsupportedError
        When there is no such file, it is damaged, or says what a netlist cannot.
    """
    path = Path(path)
    if path.suffix == ".h5":
        return read_netlist(path)
    imported = import_netlist(
        path,
        timesteps=timesteps,
        weight_bits=weight_bits,
        dt=dt,
        reset=reset,
        input_bits=input_bits,
        coding=coding,
    )
    return imported.netlist


def write(netlist: Netlist, path: str | Path) -> None:
    """Write a netlist (.h5), whole or not at all: the same netlist, the same bytes."""
    write_netlist(netlist, Path(path))


def _target(target: str | Target) -> Target:
    return target if isinstance(target, Target) else load_target(target)
