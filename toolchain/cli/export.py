"""``adafire export``: a netlist for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, show


@app.command()
def export(
    netlist: Annotated[Path, typer.Argument(help="A netlist (.h5).")],
    to: Annotated[
        Literal["nir", "nir-explicit", "netx"],
        typer.Option("--to", help="NIR with metadata, NIR in standard nodes only, or lava-dl's netx."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    as_json: Json = False,
) -> None:
    """Write a netlist in another tool's format, and say what that format cannot carry.

    Example: adafire export resnet20.h5 --to nir -o resnet20.nir
    """
    from toolchain.exchange import export_netlist
    from toolchain.files import read_netlist

    report = export_netlist(read_netlist(netlist), output, to)
    show(report, report.to_json() if as_json else None)
