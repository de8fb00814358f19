"""The users' jobs in a line each: what `import toolchain` offers.

Each is a thin face of the modules that do the work, with files and named options resolved.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from hw_targets.target import load_target
from toolchain.convert import Recipe, convert_network
from toolchain.data import Dataset, parse_normalization, read_data
from toolchain.display import Progress, silent
from toolchain.energy import EnergyReport, estimate_energy
from toolchain.evaluate.evaluation import Backend, Evaluation, count_operations, evaluate
from toolchain.files.atomic import write_bytes
from toolchain.frontend import read_module
from toolchain.netlist import InputError, Netlist
from toolchain.report import Measurement, run_report, to_html

Data = Dataset | str | Path | np.ndarray


def dataset(data: Data, labels: np.ndarray | None = None, *, limit: int | None = None) -> Dataset:
    """Return samples from a file or an array.

    Parameters
    ----------
    data : Dataset, path or ndarray
        A .npz file; or pictures (N, H, W, C) uint8; or numbers (N, C, ...) that are taken as they are.
    labels : ndarray (N,), optional
        For an array.
    limit : int, optional
        Use the first samples only.

    Raises
    ------
    InputError
        When the file cannot be used, or labels and samples differ in number.
    """
    if isinstance(data, str | Path):
        return read_data(Path(data), limit=limit)
    if isinstance(data, np.ndarray):
        values = np.moveaxis(data, -1, 1) if data.dtype == np.uint8 and data.ndim == 4 else data
        if labels is not None and len(labels) != len(values):
            raise InputError("data", f"{len(values)} samples and {len(labels)} labels found, expected as many of both")
        data = Dataset("array", values, None if labels is None else np.asarray(labels, np.int64))
    return data if limit is None else data.select(np.arange(min(limit, len(data))))


def to_netlist(
    module: nn.Module,
    calibration: Data,
    *,
    normalize: str = "none",
    target: str | None = None,
    evaluation: Data | None = None,
    progress: Progress = silent,
    **recipe: Any,
) -> Netlist:
    """Convert a trained network into a spiking netlist, without training.

    Parameters
    ----------
    module : nn.Module
        Trained, in eval mode.
    calibration : Dataset, path or ndarray
        Unlabelled data.
    normalize : str
        cifar10, imagenet, none or MEAN/STD.
    target : str, optional
        Hardware target whose field widths are respected.
    evaluation : Dataset or path, optional
        Labelled samples; the accuracies of ANN, float SNN and netlist go into its provenance.
    progress : Progress
    **recipe
        Fields of `toolchain.convert.pipeline.Recipe`: timesteps, phi, init, weight_bits, seed and so on.

    Raises
    ------
    UnsupportedError
        When the network holds a layer that cannot be converted; it is named.
    InputError
        When the data do not fit, or an option is unknown.
    """
    unknown = recipe.keys() - Recipe.__dataclass_fields__.keys()
    if unknown:
        known = ", ".join(sorted(Recipe.__dataclass_fields__))
        raise InputError("to_netlist", f"option {sorted(unknown)[0]!r} found, expected one of {known}")
    data = dataset(calibration)
    chosen = Recipe(target=None if target is None else load_target(target), **recipe)
    normalization = parse_normalization(normalize, data.shape[0])
    return convert_network(
        read_module(module, data.shape),
        data,
        normalization,
        chosen,
        evaluation=None if evaluation is None else dataset(evaluation),
        progress=progress,
    )


def run(netlist: Netlist, data: Data, *, backend: Backend = "reference", progress: Progress = silent) -> Evaluation:
    """Run a netlist on data, on the reference simulator or on Lava: accuracy, spikes, time."""
    return evaluate(netlist, dataset(data), backend=backend, progress=progress)


def price(netlist: Netlist, data: Data, *, progress: Progress = silent) -> EnergyReport:
    """Count the operations of a run and price them."""
    return estimate_energy(count_operations(netlist, dataset(data), progress=progress))


def write_report(
    netlist: Netlist,
    data: Data,
    path: str | Path,
    *,
    target: str | None = None,
    lava: int | None = None,
    baselines: Mapping[str, Netlist] | None = None,
    progress: Progress = silent,
) -> Measurement:
    """Measure, verify and check a netlist, compare it with baselines, and write one self-contained page."""
    measurement = run_report(
        netlist,
        dataset(data),
        name=Path(path).stem,
        target=None if target is None else load_target(target),
        lava=lava,
        baselines=baselines,
        progress=progress,
    )
    write_bytes(Path(path), to_html(measurement).encode())
    return measurement
