"""What the makers of data files share: pictures stretched to one size, boxes with them, names of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from toolchain.display import Progress
from toolchain.doors.pictures import MAX_PIXELS, Size, open_picture, upright
from toolchain.netlist import InputError

#: Most bytes of pictures that a data file is made of.
MAX_BYTES = 1 << 34


@dataclass(frozen=True, eq=False)
class Contents:
    """What a data file will hold.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        As `toolchain.data.write_data` takes them.
    counts : mapping of str to int
        How many there are of every class.
    notes : tuple of str
        What was left out.
    """

    arrays: Mapping[str, np.ndarray]
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def parse_size(text: str | None, name: str = "size") -> Size | None:
    """Read ``H,W``; raise InputError, which names the field, where the text is something else."""
    if text is None:
        return None
    try:
        height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(name, f"{text!r} found, expected H,W, two numbers of pixels") from None
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise InputError(name, f"{text!r} found, expected positive numbers of pixels, at most {MAX_PIXELS} in all")
    return height, width


def read_stretched(paths: Sequence[Path], size: Size | None, progress: Progress) -> tuple[np.ndarray, list[Size]]:
    """Read pictures as RGB, stretched to one size, so that nothing that was marked in them is cut off.

    Parameters
    ----------
    paths : sequence of Path
    size : (height, width), optional
        Without, all must have the size of the first one.
    progress : Progress

    Returns
    -------
    images : ndarray (N, H, W, 3), uint8
    sizes : list of N (height, width)
        Of the pictures in their files, upright.

    Raises
    ------
    InputError
        When sizes differ, or the pictures take more than `MAX_BYTES`.
    FormatError
        When a picture is damaged.
    """
    sizes: list[Size] = []
    with progress("pictures", len(paths)) as advance:
        for index, path in enumerate(paths):
            with open_picture(path) as opened:
                image = upright(path, opened, 3)
                sizes.append((image.height, image.width))
                if index == 0:
                    images = room(len(paths), size or sizes[0])
                wanted = (images.shape[1], images.shape[2])
                images[index] = np.asarray(fitted(path, image, wanted, size, Image.Resampling.BILINEAR))
            advance()
    return images, sizes


def fitted(path: Path, image: Image.Image, wanted: Size, size: Size | None, by: Image.Resampling) -> Image.Image:
    """Return a picture of the wanted size: stretched where `size` was asked for; raise InputError where not."""
    if (image.height, image.width) == wanted:
        return image
    if size is None:
        raise InputError(
            str(path),
            f"{image.height} x {image.width} pixels found, those before have {wanted[0]} x {wanted[1]}",
            "give one `size`",
        )
    return image.resize(wanted[::-1], by)


def room(count: int, size: Size, channels: int = 3) -> np.ndarray:
    """Return an array for pictures, (N, H, W, C) uint8; raise InputError where it takes more than `MAX_BYTES`."""
    if (needed := count * size[0] * size[1] * channels) > MAX_BYTES:
        raise InputError("size", f"{needed} bytes of pictures needed, expected at most {MAX_BYTES}", "use `limit`")
    return np.empty((count, *size, channels), np.uint8)
