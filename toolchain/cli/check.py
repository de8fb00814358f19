"""``adafire check``, ``adafire place`` and ``adafire targets``: does it fit, and where does it go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.app import app
from toolchain.cli.console import CHECK_FAILED, Json, show
from toolchain.cli.flags import flag, in_flags
from toolchain.cli.samples import FORMS, LIMIT, Size, open_samples

#: Options, of this command and of convert, that the advice of a rule names.
ADVICE = {name: flag(name) for name in ("phi", "target", "timesteps", "unroll", "weight_bits")}

TargetName = Annotated[str, typer.Option("--target", help="Hardware target, or the path of a target file.")]
Unroll = Annotated[bool, typer.Option("--unroll", help="With bursts unrolled to binary spikes.")]


@app.command()
def check(
    netlist: Annotated[Path, typer.Argument(help="A netlist (.h5).")],
    target: TargetName,
    unroll: Unroll = False,
    as_json: Json = False,
) -> None:
    """Check a netlist against a hardware target's design rules.

    Every violation is shown at once, with what would make it fit. Exit status 1 when there is one.

    Example: adafire check resnet20.h5 --target loihi2
    """
    from hw_targets.rules import check as check_netlist
    from hw_targets.target import load_target
    from toolchain.files import read_netlist

    report = check_netlist(read_netlist(netlist), load_target(target), unroll=unroll)
    report = replace(report, violations=tuple(replace(v, fix=in_flags(v.fix, ADVICE)) for v in report.violations))
    show(report, report.to_json() if as_json else None)
    if not report.passed:
        raise typer.Exit(CHECK_FAILED)


@app.command()
def place(
    netlist: Annotated[Path, typer.Argument(help="A netlist (.h5).")],
    target: TargetName,
    unroll: Unroll = False,
    data: Annotated[str | None, typer.Option(help=f"Samples to weigh traffic with measured spikes: {FORMS}.")] = None,
    size: Size = None,
    limit: Annotated[int, typer.Option(min=1, help=LIMIT)] = 16,
    picture: Annotated[Path | None, typer.Option(help="Write a picture of the cores (.png, .svg, .pdf).")] = None,
    as_json: Json = False,
) -> None:
    """Place a netlist on the cores and chips of a hardware target.

    Example: adafire place resnet20.h5 --target loihi2 --data val.npz --picture cores.svg
    """
    from hw_targets.placement import draw
    from hw_targets.placement import place as place_netlist
    from hw_targets.target import load_target
    from toolchain.files import read_netlist

    chosen, subject = load_target(target), read_netlist(netlist)
    traffic = None
    if data is not None:
        from toolchain.evaluate import measure_traffic

        traffic = measure_traffic(subject, open_samples(data, size=size, limit=limit, labelled=False))
    placement = place_netlist(subject, chosen, traffic, unroll=unroll)
    if picture is not None:
        draw(placement, picture)
    show(placement, placement.to_json() if as_json else None)


@app.command()
def targets(
    name: Annotated[str | None, typer.Argument(help="Show this target's numbers and their sources.")] = None,
    as_json: Json = False,
) -> None:
    """List the hardware targets, or show one with the source of every number.

    Example: adafire targets loihi2
    """
    from hw_targets.catalogue import Catalogue
    from hw_targets.target import load_target

    found = Catalogue() if name is None else load_target(name)
    show(found, found.to_json() if as_json else None)
