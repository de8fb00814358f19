"""``adafire report``: one run as a page that needs no other file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, progress, results
from toolchain.cli.samples import FORMS, LIMIT, Size, open_samples


@app.command()
def report(
    netlists: Annotated[list[Path], typer.Argument(help="A netlist (.h5), or several to compare side by side.")],
    data: Annotated[str, typer.Option(help=f"Samples, and what is true of them for the score: {FORMS}.")],
    size: Size = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write: .html, .json, .csv or .md.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help=LIMIT)] = None,
    readout: Annotated[str | None, typer.Option(help="Score this readout, where the netlist has several.")] = None,
    decode: Annotated[
        str | None,
        typer.Option(help="Code that makes boxes of the outputs, for detection: path/to/file.py:callable."),
    ] = None,
    ann: Annotated[
        str | None, typer.Option(help="The network it was converted from, to compare with: as SPEC of `convert`.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of that network.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Hardware target to check and place on; the one it was converted for by default.")
    ] = None,
    lava: Annotated[
        int | None, typer.Option(min=0, help="Samples to verify on Lava: 4 by default where Lava is installed.")
    ] = None,
    baselines: Annotated[
        list[Path] | None,
        typer.Option(
            "--baseline", help="Another conversion of the network, to compare with at an equal score; may be repeated."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a netlist, verify it on Lava, check it on its target, and write one page with everything.

    Example: adafire report resnet20.h5 --data val.npz --limit 256 -o report.html
    """
    from hw_targets.target import load_target
    from toolchain import api
    from toolchain.files import read_netlist, write_bytes
    from toolchain.netlist import InputError
    from toolchain.report import check_report_path, converted_for, run_report, written

    if output is None and not as_json:
        raise InputError("output", "no file found", "name one with -o report.html, or print the numbers with --json")
    if output is not None:
        check_report_path(output, len(netlists))
    if baselines and len(netlists) > 1:
        raise InputError("baselines", f"{len(netlists)} netlists to report found, expected one", "report one at a time")
    samples = open_samples(data, size=size, limit=limit)
    others = baselines or []
    compared = dict(zip(_apart([p.name for p in others], others), map(read_netlist, others), strict=True))
    decoder = api.decoder(decode)
    names = _apart([p.stem for p in netlists], netlists)
    measured = []
    for path, name in zip(netlists, names, strict=True):
        netlist = read_netlist(path)
        measured.append(
            run_report(
                netlist,
                samples,
                name=name,
                readout=readout,
                decode=decoder,
                ann=api.original(netlist, ann, weights, samples),
                target=converted_for(netlist) if target is None else load_target(target),
                lava=lava,
                baselines=compared,
                progress=progress,
            )
        )
    if output is not None:
        command = " ".join(["adafire report", *(p.name for p in netlists), "--data", Path(data).name])
        command += "" if limit is None else f" --limit {limit}"
        command += "".join(f" --baseline {name}" for name in compared)
        write_bytes(output, written(measured, output.suffix, command).encode(errors="replace"))
        if not as_json:
            results.print(f"{output}: report of {', '.join(names)} on {len(samples)} samples", soft_wrap=True)
    if as_json:
        sys.stdout.write(written(measured, ".json"))


def _apart(names: list[str], paths: list[Path]) -> list[str]:
    """Return the short names of files, or their whole paths where two are alike."""
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
