"""What the verbs take: data, networks, targets and decoders, however they are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from hw_targets.target import Target, load_target
from toolchain.convert.recipe import split_names
from toolchain.data import Dataset
from toolchain.display import Progress, silent
from toolchain.doors import Crop, Data, open_data, parse_crop
from toolchain.frontend import Given, read_module, read_network
from toolchain.netlist import InputError, Netlist
from toolchain.network import FloatNetwork
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
        return read_ann(network, weights, netlist.provenance.parts or data.shape, ends(netlist))
    if weights is not None:
        raise InputError("weights", "weights found without a network", "name it with `ann`")
    return None


def read_ann(network: Network, weights: str | Path | None, given: Given, names: tuple[str, ...]) -> FloatNetwork:
    """Read a network for what data hold; it ends at the tensors or modules of these names, or at its own outputs.

    Raises
    ------
    InputError
        When weights are named beside a module.
    """
    if not isinstance(network, nn.Module):
        return read_network(str(network), weights, given, names)
    if weights is not None:
        raise InputError("weights", f"{weights} found beside a module", "load them into it, or name it by a SPEC")
    return read_module(network, given, names)


def ends(netlist: Netlist) -> tuple[str, ...]:
    """Return where the network ended that a netlist was converted from, if not at its own outputs."""
    found = (netlist.provenance.recipe or {}).get("outputs")
    return split_names(found) if isinstance(found, str) else ()


def target_of(target: str | Target) -> Target:
    """Return a target, loaded where it is named."""
    return target if isinstance(target, Target) else load_target(target)
