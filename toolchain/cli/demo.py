"""``adafire demo``: every stage on real handwritten digits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.app import app
from toolchain.cli.console import CHECK_FAILED, Json, messages, progress, results, show


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for what the demo writes.")] = Path(
        "adafire-demo"
    ),
    as_json: Json = False,
) -> None:
    """Train a small CNN on real digits, convert, export, simulate, run in Lava, verify, price.

    Example: adafire demo -o digits
    """
    from toolchain.demo.digits import run_demo

    def tell(line: str) -> None:
        (messages if as_json else results).print(line, markup=False, soft_wrap=True)

    done = run_demo(output, tell=tell, progress=progress)
    report = done.equivalence
    if as_json:
        show("", done.to_json())
    tell(f"ran         {report.samples} digits on Lava process models; files are in {output}")
    if not report.equivalent:
        tell(f"Lava and the reference simulator DISAGREE, first at {report.first_divergence}")
        raise typer.Exit(CHECK_FAILED)
    tell(
        f"Lava and the reference simulator agree on all {report.compared_values:,} payloads and running sums "
        f"of {report.samples} digits."
    )
