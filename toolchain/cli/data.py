"""``adafire data``: data in the forms that people have, as the file that every other command takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, progress, show
from toolchain.cli.samples import Size

if TYPE_CHECKING:
    from toolchain.doors.annotated import Contents

data = typer.Typer(
    name="data", help="Turn pictures, annotations, points and recordings into a data file (.npz).", no_args_is_help=True
)
app.add_typer(data)

Output = Annotated[Path, typer.Option("-o", "--output", help="The data file to write (.npz).")]
Limit = Annotated[int | None, typer.Option(min=1, help="Most samples, evenly from all.")]
Stretch = Annotated[str | None, typer.Option(help="Pixels of a picture, H,W: stretched.  [default: as they are]")]
Classes = Annotated[
    str | None,
    typer.Option(help="Names in the order of their labels: A,B,... or a file with one on every line."),
]


def _write(output: Path, make: Callable[[], Contents], *, as_json: bool) -> None:
    """Write what is made, and say what it holds."""
    from toolchain.data import write_data
    from toolchain.files import check_writable

    check_writable(output)
    made = make()
    write_data(output, **made.arrays)
    (key,) = made.arrays.keys() & {"images", "frames", "points"}
    shape = made.arrays[key].shape
    held = ", ".join(f"{name} {array.shape}" for name, array in made.arrays.items())
    of_classes = ", ".join(f"{number:,} {name}" for name, number in made.counts.items())
    lines = [f"{output}: {shape[0]} samples: {held}", *([of_classes] if of_classes else []), *made.notes]
    found = {
        "file": str(output),
        "samples": shape[0],
        "shape": list(shape[1:]),
        "classes": dict(made.counts),
        "notes": list(made.notes),
    }
    show("\n".join(lines), found if as_json else None)


@data.command("pictures")
def pictures(
    source: Annotated[Path, typer.Argument(help="A folder with a folder of pictures for every class.")],
    output: Output,
    size: Size = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Turn a folder of pictures into a data file; classes are numbered in the order of their names.

    Every command takes such a folder as it is, too: a file is for data to keep or to give away.

    Example: adafire data pictures val --size 224,224/256 -o val.npz
    """
    from toolchain.doors import parse_crop
    from toolchain.doors.folder import read_pictures

    crop = None if size is None else parse_crop(size)
    _write(output, lambda: read_pictures(source, crop=crop, limit=limit, progress=progress), as_json=as_json)


@data.command("masks")
def masks(
    source: Annotated[Path, typer.Argument(help="A folder with a folder of pictures and one of masks.")],
    output: Output,
    pictures: Annotated[str, typer.Option(help="The folder of pictures in it.")] = "images",
    masks: Annotated[str, typer.Option(help="The folder of masks in it, grey or of a palette.")] = "masks",
    void: Annotated[
        list[int] | None, typer.Option(min=0, max=255, help="A value of masks that is not counted, as 255; repeat it.")
    ] = None,
    binary: Annotated[bool, typer.Option("--binary", help="Every value but 0 is class 1.")] = False,
    colours: Annotated[
        Path | None, typer.Option(help="Of painted masks: a file with a class's red, green and blue on every line.")
    ] = None,
    size: Stretch = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Turn pictures and masks of the same names into a data file.

    Example: adafire data masks camvid --masks labels --void 11 --size 120,160 -o train.npz
    """
    from toolchain.doors.annotated import parse_size
    from toolchain.doors.colours import read_colours
    from toolchain.doors.masks import read_masks

    wanted = parse_size(size)

    def make() -> Contents:
        return read_masks(
            source / pictures,
            source / masks,
            size=wanted,
            void=void or (),
            binary=binary,
            colours=None if colours is None else read_colours(colours),
            limit=limit,
            progress=progress,
        )

    _write(output, make, as_json=as_json)


@data.command("coco")
def coco(
    source: Annotated[Path, typer.Argument(help="Annotations: instances_*.json.")],
    output: Output,
    pictures: Annotated[
        Path | None, typer.Option(help="Where names of pictures start.  [default: beside the annotations]")
    ] = None,
    classes: Classes = None,
    size: Stretch = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Turn COCO's boxes and their pictures into a data file; boxes of crowds are left out.

    Example: adafire data coco instances_val2017.json --pictures val2017 --size 320,320 --limit 500 -o val.npz
    """
    from toolchain.doors.annotated import parse_size
    from toolchain.doors.coco import read_coco
    from toolchain.specs import parse_names

    wanted, names = parse_size(size), parse_names(classes)

    def make() -> Contents:
        return read_coco(source, pictures, classes=names, size=wanted, limit=limit, progress=progress)

    _write(output, make, as_json=as_json)


@data.command("voc")
def voc(
    source: Annotated[Path, typer.Argument(help="A folder with Annotations and JPEGImages, or with both in it.")],
    output: Output,
    classes: Classes = None,
    size: Stretch = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Turn Pascal VOC's boxes and their pictures into a data file; difficult objects are left out.

    Example: adafire data voc VOC2007 --size 320,320 -o val.npz
    """
    from toolchain.doors.annotated import parse_size
    from toolchain.doors.voc import read_voc
    from toolchain.specs import parse_names

    wanted, names = parse_size(size), parse_names(classes)
    _write(
        output, lambda: read_voc(source, classes=names, size=wanted, limit=limit, progress=progress), as_json=as_json
    )


@data.command("points")
def points(
    source: Annotated[Path, typer.Argument(help="A cloud, a folder of clouds, or a folder of them for every class.")],
    output: Output,
    points: Annotated[
        int | None, typer.Option(min=1, help="Points of a sample: drawn, from a mesh by area.  [default: all]")
    ] = None,
    columns: Annotated[int, typer.Option(min=2, help="Numbers of a point, the first ones of a row.")] = 3,
    label_column: Annotated[
        int | None, typer.Option(help="Position of a point's class in its row, negative from the end.")
    ] = None,
    unit_sphere: Annotated[
        bool, typer.Option("--unit-sphere", help="Move the middle to 0 and the farthest point to distance 1.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Turn clouds of points (.npy, .txt, .xyz, .pts, .ply, .off) into a data file.

    Example: adafire data points ModelNet10 --points 1024 --unit-sphere -o clouds.npz
    """
    from toolchain.doors.points import Sampling, read_points

    sampling = Sampling(points, columns, label_column, unit_sphere, seed)
    _write(output, lambda: read_points(source, sampling, limit=limit, progress=progress), as_json=as_json)


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
    from toolchain.doors.annotated import Contents, parse_size
    from toolchain.recordings import Framing, read_frames

    framing = Framing(timesteps, window, count, "surface" if surface else "counts", parse_size(size))
    pixels = parse_size(sensor, "sensor")

    def make() -> Contents:
        frames, labels, classes = read_frames(source, framing, sensor=pixels, limit=limit, progress=progress)
        if labels is None:
            return Contents({"frames": frames})
        counts = {name: int((labels == i).sum()) for i, name in enumerate(classes)}
        return Contents({"frames": frames, "labels": labels}, counts)

    _write(output, make, as_json=as_json)
