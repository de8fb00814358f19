"""``adafire info``: what a netlist holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, show


@app.command()
def info(
    netlist: Annotated[Path, typer.Argument(help="A netlist (.h5).")],
    as_json: Json = False,
) -> None:
    """Show the populations, connections and provenance of a netlist.

    Example: adafire info resnet20.h5
    """
    from toolchain.files.netlist_file import read_netlist
    from toolchain.info.summary import summarize

    summary = summarize(read_netlist(netlist))
    show(summary, summary.to_json() if as_json else None)
