"""Pictures with boxes: what COCO's and VOC's readers share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.display import Progress
from toolchain.doors.annotated import Contents, read_stretched
from toolchain.doors.pictures import Size
from toolchain.netlist import FormatError, InputError


@dataclass(frozen=True)
class Marked:
    """An object in a picture, as its annotation says.

    Parameters
    ----------
    name : str
        Of its class.
    corners : (x0, y0, x1, y1)
        In pixels of the file; (0, 0) is the outer corner of the top left pixel.
    left_out : str or None
        Why it is not taken: the annotation says that it should not be judged.
    """

    name: str
    corners: tuple[float, float, float, float]
    left_out: str | None = None


@dataclass(frozen=True)
class MarkedPicture:
    """A picture and the objects in it.

    Parameters
    ----------
    path : Path
    where : str
        What errors about its annotation name.
    size : (height, width) or None
        As the annotation says it.
    objects : tuple of Marked
    """

    path: Path
    where: str
    size: Size | None
    objects: tuple[Marked, ...]


def with_boxes(
    pictures: Sequence[MarkedPicture], classes: tuple[str, ...], size: Size | None, progress: Progress
) -> Contents:
    """Read pictures, and scale their boxes with them.

    Boxes are cut at the picture's edge; without area they are left out, and so are those of other classes.

    Parameters
    ----------
    pictures : sequence of MarkedPicture
    classes : tuple of str
        Labels are positions in it.
    size : (height, width), optional
        Pictures are stretched to it.
    progress : Progress

    Raises
    ------
    InputError
        When a picture has another size than its annotation says, or sizes differ where none is asked for.
    FormatError
        When a picture is damaged, or a box holds NaN or infinite numbers.
    """
    images, sizes = read_stretched([p.path for p in pictures], size, progress)
    number = {name: index for index, name in enumerate(classes)}
    boxes: list[np.ndarray] = []
    labels: list[int] = []
    samples: list[int] = []
    left_out: Counter[str] = Counter()
    for index, (picture, found) in enumerate(zip(pictures, sizes, strict=True)):
        if picture.size is not None and picture.size != found:
            stated = f"{picture.size[0]} x {picture.size[1]}"
            raise InputError(picture.where, f"{stated} pixels stated, {picture.path} has {found[0]} x {found[1]}")
        edge = np.array(found[::-1])
        scale = images.shape[2:0:-1] / edge
        for marked in picture.objects:
            corners = np.array(marked.corners, float).reshape(2, 2)
            if not np.isfinite(corners).all():
                raise FormatError(picture.where, f"a box of {marked.corners} found, expected numbers")
            corners = np.clip(corners, 0, edge)
            reason = marked.left_out or _unfit(corners, marked.name, number)
            if reason is not None:
                left_out[reason] += 1
                continue
            boxes.append((corners * scale).reshape(4))
            labels.append(number[marked.name])
            samples.append(index)
    arrays = {
        "images": images,
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "box_labels": np.array(labels, np.int64),
        "box_samples": np.array(samples, np.int64),
    }
    counts = {name: labels.count(index) for name, index in number.items()}
    notes = tuple(f"{times:,} boxes left out: {reason}" for reason, times in sorted(left_out.items()))
    return Contents(arrays, counts, notes)


def _unfit(corners: np.ndarray, name: str, classes: dict[str, int]) -> str | None:
    """Say why a box is not taken; None where it is."""
    if name not in classes:
        return "of other classes"
    return "without area" if np.any(corners[1] <= corners[0]) else None
