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
    from toolchain.exchange.netx.write import write_netx
    from toolchain.exchange.nir.compact import write_nir
    from toolchain.exchange.nir.explicit import write_nir_explicit
    from toolchain.files.netlist_file import read_netlist

    write = {"nir": write_nir, "nir-explicit": write_nir_explicit, "netx": write_netx}[to]
    report = write(read_netlist(netlist), output)
    show(str(report), report.to_json() if as_json else None)
