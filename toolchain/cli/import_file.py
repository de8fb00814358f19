"""``adafire import``: a netlist from another tool's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, show


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A NIR graph or a netx network.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The netlist to write (.h5).")],
    timesteps: Annotated[int | None, typer.Option(min=1, max=4096, help="T, for files that do not say.")] = None,
    weight_bits: Annotated[int, typer.Option(min=2, max=16, help="Width of weights that must be rounded.")] = 8,
    as_json: Json = False,
) -> None:
    """Make a netlist of another tool's file, and say what was assumed or lost.

    Example: adafire import network.nir --timesteps 16 -o network.h5
    """
    from toolchain.exchange import import_netlist
    from toolchain.files import check_writable, write_netlist

    check_writable(output)
    imported = import_netlist(file, timesteps=timesteps, weight_bits=weight_bits)
    write_netlist(imported.netlist, output)
    show(imported.report, {"hash": imported.netlist.content_hash, **imported.report.to_json()} if as_json else None)
