"""``adafire energy``: what a run costs at published prices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, progress, show
from toolchain.cli.samples import FORMS, LIMIT, Size, open_samples


@app.command()
def energy(
    netlist: Annotated[Path, typer.Argument(help="A netlist (.h5).")],
    data: Annotated[str, typer.Option(help=f"Samples: {FORMS}.")],
    size: Size = None,
    limit: Annotated[int | None, typer.Option(min=1, help=LIMIT)] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples in memory at a time.")] = 64,
    prices: Annotated[Path | None, typer.Option(help="A price list of your own (.toml).")] = None,
    as_json: Json = False,
) -> None:
    """Count the operations of a run and price them with the 45 nm model.

    Example: adafire energy resnet20.h5 --data val.npz --limit 256
    """
    from toolchain.energy import estimate_energy, read_prices
    from toolchain.evaluate import count_operations
    from toolchain.files import read_netlist

    price_list = read_prices(prices)  # first, so that a bad list is refused before the run
    samples = open_samples(data, size=size, limit=limit, labelled=False)
    counts = count_operations(read_netlist(netlist), samples, batch=batch, progress=progress)
    report = estimate_energy(counts, price_list)
    show(report, report.to_json() if as_json else None)
