"""``adafire export``: a netlist for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from toolchain.cli import app
from toolchain.cli.console import results


@app.command()
def export(
    netlist: Annotated[Path, typer.Argument(help="A netlist (.h5).")],
    to: Annotated[Literal["nir"], typer.Option("--to", help="Format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
) -> None:
    """Write a netlist in another tool's format, and say what that format cannot carry."""
    from toolchain.exchange.nir_compact import write_nir
    from toolchain.netlist.hdf5 import read_netlist

    results.print(write_nir(read_netlist(netlist), output))
