"""``adafire data``: data in the forms that people have, as the file that every other command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, progress, show
from toolchain.netlist import InputError

data = typer.Typer(name="data", help="Turn recordings into a data file (.npz).", no_args_is_help=True)
app.add_typer(data)


def parse_size(name: str, text: str | None) -> tuple[int, int] | None:
    """Read H,W; raise InputError where the text is something else."""
    if text is None:
        return None
    try:
        height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(name, f"{text!r} found, expected H,W, two numbers of pixels") from None
    return height, width


@data.command("events")
def events(
    source: Annotated[
        Path, typer.Argument(help="A recording, a folder of one per class, or a folder of folders per class.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The data file to write (.npz).")],
    timesteps: Annotated[int, typer.Option(min=1, help="Frames of a sample.")] = 8,
    window: Annotated[
        int | None,
        typer.Option(min=1, help="Microseconds of a frame; without, a recording is one sample of equal times."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Events of a frame, instead of a time.")] = None,
    surface: Annotated[
        bool, typer.Option("--surface", help="Time of each pixel's last event, 0 to 1, instead of its events.")
    ] = False,
    size: Annotated[str | None, typer.Option(help="Pixels of a frame, H,W.  [default: the sensor's]")] = None,
    sensor: Annotated[str | None, typer.Option(help="Pixels of the sensor, H,W, where no file says it.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most samples, evenly from all recordings.")] = None,
    as_json: Json = False,
) -> None:
    """Turn event recordings into frames of two channels, OFF and ON.

    Reads AEDAT 2.0 and 4, N-MNIST's .bin, Prophesee's .dat, ST-MNIST's .mat, and x, y, t, p in HDF5 or .npy.

    Example: adafire data events recordings --timesteps 8 --window 20000 --size 64,64 -o train.npz
    """
    from toolchain.data import write_data
    from toolchain.files import check_writable
    from toolchain.recordings import Framing, read_frames

    check_writable(output)
    framing = Framing(timesteps, window, count, "surface" if surface else "counts", parse_size("size", size))
    frames, labels, classes = read_frames(
        source, framing, sensor=parse_size("sensor", sensor), limit=limit, progress=progress
    )
    write_data(output, frames=frames, **({} if labels is None else {"labels": labels}))
    samples = {name: int((labels == i).sum()) for i, name in enumerate(classes)} if labels is not None else {}
    of_classes = ", ".join(f"{number} {name}" for name, number in samples.items())
    show(
        f"{output}: {len(frames)} samples of {frames.shape[1]} frames, {frames.shape[3]} x {frames.shape[4]} pixels"
        + (f" ({of_classes})" if samples else ", no labels"),
        {"file": str(output), "samples": len(frames), "shape": list(frames.shape[1:]), "classes": samples}
        if as_json
        else None,
    )
