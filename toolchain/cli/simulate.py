"""``adafire simulate``: evaluate a netlist on data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, progress, show
from toolchain.cli.samples import FORMS, LIMIT, Size, open_samples


@app.command()
def simulate(
    netlist: Annotated[Path, typer.Argument(help="A netlist (.h5).")],
    data: Annotated[str, typer.Option(help=f"Samples, and what is true of them for the score: {FORMS}.")],
    size: Size = None,
    limit: Annotated[int | None, typer.Option(min=1, help=LIMIT)] = None,
    readout: Annotated[str | None, typer.Option(help="Score this readout, where the netlist has several.")] = None,
    decode: Annotated[
        str | None,
        typer.Option(help="Code that makes boxes of the outputs, for detection: path/to/file.py:callable."),
    ] = None,
    ann: Annotated[
        str | None, typer.Option(help="The network it was converted from, to score beside: as SPEC of `convert`.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of that network.")] = None,
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
    """Run a netlist on data: score by timestep, spikes per sample, seconds.

    Example: adafire simulate resnet20.h5 --data val.npz --limit 1000
    """
    from toolchain import api
    from toolchain.files import check_writable, read_netlist

    network, samples = read_netlist(netlist), open_samples(data, size=size, limit=limit)
    if trace is not None:
        check_writable(trace)
    result = api.simulate(
        network,
        samples,
        readout=readout,
        decode=decode,
        ann=ann,
        weights=weights,
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
