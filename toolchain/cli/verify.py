"""``adafire verify``: whether another executor computes the same payloads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.app import app
from toolchain.cli.console import CHECK_FAILED, Json, progress, show
from toolchain.cli.samples import FORMS, LIMIT, Size, open_samples


@app.command()
def verify(
    netlist: Annotated[Path, typer.Argument(help="A netlist (.h5).")],
    data: Annotated[str, typer.Option(help=f"Samples: {FORMS}.")],
    size: Size = None,
    limit: Annotated[int, typer.Option(min=1, help=LIMIT)] = 16,
    against: Annotated[
        str, typer.Option(help="lava; reference; or the path of an exported network (.nir) or trace (.h5).")
    ] = "lava",
    as_json: Json = False,
) -> None:
    """Compare the golden step with another executor, payload by payload.

    Exit status 1 when they differ; the first divergence is shown.

    Example: adafire verify resnet20.h5 --data val.npz --limit 16 --against lava
    """
    from toolchain.equivalence import verify as verify_netlist
    from toolchain.files import read_netlist

    samples = open_samples(data, size=size, limit=limit, labelled=False)
    report = verify_netlist(read_netlist(netlist), samples, against, progress=progress)
    show(report, report.to_json() if as_json else None)
    if not report.equivalent:
        raise typer.Exit(CHECK_FAILED)
