"""Load a netx file with AdaFire layers as lava-dl's `Network` (written by ``adafire export --to netx``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hw_targets.lava_runtime.shim import load_lava_dl


def load_network(path: Path | str, **options: Any) -> Any:
    """Return a netx file as a Lava Process.

    lava-dl's own classes run it: connect ``inp`` and ``out`` and choose ``Loihi2SimCfg(select_tag="fixed_pt")``.
    Payloads go in as integers in (W, H, C) order, one per step; the running sums of the readout come out
    ``len(network)`` steps after the payload that they belong to. Imports Lava into this process.

    Parameters
    ----------
    path : path
    **options
        As lava-dl's ``Network`` takes them: `reset_interval` = T starts the next sample every T steps.

    Returns
    -------
    lava.lib.dl.netx.hdf5.Network

    Raises
    ------
    BackendError
        When Lava or lava-dl is not installed.
    FormatError
        When the file has no AdaFire layers.
    """
    load_lava_dl()
    from hw_targets.lava_runtime.netx_processes.network import AdaFireNetwork

    return AdaFireNetwork(str(path), **options)
