"""``adafire import``: a netlist from another tool's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, show
from toolchain.cli.samples import FORMS, LIMIT, Size, open_samples


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A NIR graph or a netx network.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The netlist to write (.h5).")],
    timesteps: Annotated[int | None, typer.Option(min=1, max=4096, help="T, for files that do not say.")] = None,
    weight_bits: Annotated[int, typer.Option(min=2, max=16, help="Width of weights that must be rounded.")] = 8,
    dt: Annotated[
        float | None, typer.Option(help="Seconds of a timestep: NIR files with leaky neurons or delays need it.")
    ] = None,
    reset: Annotated[
        Literal["zero", "subtract"] | None,
        typer.Option(help="How neurons of a NIR file forget a spike.  [default: as NIR says where they leak]"),
    ] = None,
    input_bits: Annotated[
        int, typer.Option(min=1, max=8, help="Width of a NIR file's input: 1 for events (0 or 1), else signed.")
    ] = 8,
    coding: Annotated[
        Literal["direct", "frames"] | None,
        typer.Option(
            help="What a NIR file's network sees: a picture, held, or a frame per timestep, as events are.  "
            "[default: frames where neurons leak]"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"Frames to count moved spikes on, where neurons are rounded: {FORMS}.  [default: random events]"
        ),
    ] = None,
    size: Size = None,
    limit: Annotated[int | None, typer.Option(min=1, help=LIMIT)] = None,
    as_json: Json = False,
) -> None:
    """Make a netlist of another tool's file, and say what was assumed or lost.

    Example: adafire import network.nir --timesteps 100 --dt 1e-4 -o network.h5
    """
    from toolchain.data import check_data
    from toolchain.exchange import import_netlist
    from toolchain.exchange.moved import measure_moved
    from toolchain.files import check_writable, write_netlist

    check_writable(output)
    imported = import_netlist(
        file,
        timesteps=timesteps,
        weight_bits=weight_bits,
        dt=dt,
        reset=reset,
        input_bits=input_bits,
        coding=coding,
    )
    payloads = None
    if data is not None:
        samples, source = open_samples(data, size=size, limit=limit, labelled=False), imported.netlist.input
        check_data(samples, source, timesteps=imported.netlist.timesteps)
        payloads = samples.payloads(source, 0, len(samples))
    imported = measure_moved(imported, payloads)
    write_netlist(imported.netlist, output)
    show(imported.report, imported.to_json() if as_json else None)
