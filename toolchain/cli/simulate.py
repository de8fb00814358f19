"""``adafire simulate``: evaluate a netlist on data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, progress, show


@app.command()
def simulate(
    netlist: Annotated[Path, typer.Argument(help="A netlist (.h5).")],
    data: Annotated[Path, typer.Option(help="Samples, and labels for the accuracy (.npz).")],
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first samples only.")] = None,
    readout: Annotated[str | None, typer.Option(help="Score this readout, where the netlist has several.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples in memory at a time.")] = 64,
    backend: Annotated[Literal["reference", "lava"], typer.Option(help="What runs the netlist.")] = "reference",
    early_exit: Annotated[bool, typer.Option("--early-exit", help="Stop each sample once confident.")] = False,
    keep_state: Annotated[
        bool, typer.Option("--keep-state", help="Samples are one recording: each goes on from the one before.")
    ] = False,
    trace: Annotated[Path | None, typer.Option(help="Write every payload to this file (.h5).")] = None,
    executor: Annotated[
        str | None,
        typer.Option(help="Where batches run: local:N processes or dask://HOST:PORT.  [default: this process]"),
    ] = None,
    device: Annotated[str, typer.Option(help="What the reference simulator runs on: cpu, cuda or cuda:N.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Run a netlist on data: accuracy by timestep, spikes per sample, seconds.

    Example: adafire simulate resnet20.h5 --data val.npz --limit 1000
    """
    from toolchain.data import read_data
    from toolchain.evaluate import evaluate
    from toolchain.files import check_writable, read_netlist

    network, samples = read_netlist(netlist), read_data(data, limit=limit)
    if trace is not None:
        check_writable(trace)
    result = evaluate(
        network,
        samples,
        readout=readout,
        batch=batch,
        backend=backend,
        early_exit=early_exit,
        keep_state=keep_state,
        trace=trace,
        executor=executor,
        device=device,
        progress=progress,
    )
    show(result, result.to_json() if as_json else None)
