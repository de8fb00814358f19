"""``adafire info``: what a netlist holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, show
from toolchain.netlist import InputError


@app.command()
def info(
    netlist: Annotated[Path, typer.Argument(help="A netlist (.h5).")],
    text: Annotated[
        bool, typer.Option("--text", help="Print a stable text for diff: all that the content hash covers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the populations, connections and provenance of a netlist.

    Example: adafire info resnet20.h5
    """
    from toolchain.files import read_netlist
    from toolchain.info import netlist_text, summarize

    if text and as_json:
        raise InputError("text", "found together with `json`, expected one of the two")
    if text:
        show(netlist_text(read_netlist(netlist)).rstrip("\n"), None)
        return
    summary = summarize(read_netlist(netlist))
    show(summary, summary.to_json() if as_json else None)
