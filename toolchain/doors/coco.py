"""Boxes in COCO's JSON: T.-Y. Lin et al., "Microsoft COCO: common objects in context" (2014), "object detection"."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from toolchain.display import Progress, silent
from toolchain.doors.annotated import Contents
from toolchain.doors.boxes import Marked, MarkedPicture, with_boxes
from toolchain.doors.folder import evenly
from toolchain.doors.pictures import Size
from toolchain.files import parse_json
from toolchain.netlist import FormatError, InputError

#: Largest file of annotations, in bytes; that of COCO's training set has half of it.
MAX_BYTES = 1 << 30


def read_coco(
    annotations: Path,
    pictures: Path | None = None,
    *,
    classes: tuple[str, ...] | None = None,
    size: Size | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Contents:
    """Read COCO's boxes and the pictures they are in.

    Parameters
    ----------
    annotations : Path
        ``instances_*.json``.
    pictures : Path, optional
        The folder that file names start from; by default that of the annotations.
    classes : tuple of str, optional
        In the order of their labels; by default all categories in the order of their numbers.
    size, limit, progress
        As of `toolchain.doors.voc.read_voc`. Boxes of crowds (``iscrowd``) are left out.

    Raises
    ------
    InputError
        When a picture is not there or does not fit.
    FormatError
        When the file is not COCO's, or a picture is damaged.
    """
    if not annotations.is_file():
        raise InputError(str(annotations), "no such file", "name a COCO .json")
    if annotations.stat().st_size > MAX_BYTES:
        raise InputError(str(annotations), f"{annotations.stat().st_size} bytes found, expected at most {MAX_BYTES}")
    where = str(annotations)
    try:
        document = parse_json(where, annotations.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise FormatError(where, f"is no text ({error})") from None
    names = {_whole(where, c, "id"): _text(where, c, "name") for c in _list(where, document, "categories")}
    objects: dict[int, list[Marked]] = defaultdict(list)
    for entry in _list(where, document, "annotations"):
        category = _whole(where, entry, "category_id")
        if category not in names:
            raise FormatError(where, f"category_id {category} found, which is none of the categories")
        left_out = "crowds" if entry.get("iscrowd") else None
        objects[_whole(where, entry, "image_id")].append(Marked(names[category], _corners(where, entry), left_out))
    entries = _list(where, document, "images")
    if not entries:
        raise InputError(where, "no images found")
    folder = pictures or annotations.parent
    chosen = [_picture(where, folder, entries[i], objects) for i in evenly(len(entries), limit)]
    return with_boxes(chosen, classes or tuple(names[key] for key in sorted(names)), size, progress)


def _picture(where: str, folder: Path, entry: dict[str, Any], objects: dict[int, list[Marked]]) -> MarkedPicture:
    number, name = _whole(where, entry, "id"), _text(where, entry, "file_name")
    inner = PurePosixPath(name)
    if inner.is_absolute() or ".." in inner.parts:
        raise FormatError(where, f"file_name {name!r} found, expected one within the folder of pictures")
    if not (folder / inner).is_file():
        raise InputError(where, f"{folder / inner} is not there", "name the folder of `pictures`")
    size = (_whole(where, entry, "height"), _whole(where, entry, "width"))
    return MarkedPicture(folder / inner, f"{where}, image {number}", size, tuple(objects.get(number, ())))


def _list(where: str, document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise FormatError(where, f"no list of {key} found, expected images, annotations and categories")
    return found


def _whole(where: str, entry: dict[str, Any], key: str) -> int:
    found = entry.get(key)
    if not isinstance(found, int):
        raise FormatError(where, f"{key} {found!r} found, expected a whole number")
    return found


def _text(where: str, entry: dict[str, Any], key: str) -> str:
    found = entry.get(key)
    if not isinstance(found, str) or not found or "\0" in found:
        raise FormatError(where, f"{key} {found!r} found, expected a name")
    return found


def _bounds(polygons: object) -> list[float] | None:
    """Return the box around polygons, lists of x and y in turn; None where they are something else."""
    if not isinstance(polygons, list) or not all(isinstance(p, list) and p and len(p) % 2 == 0 for p in polygons):
        return None
    if not polygons or not all(isinstance(n, int | float) for polygon in polygons for n in polygon):
        return None
    xs, ys = ([float(n) for polygon in polygons for n in polygon[start::2]] for start in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _corners(where: str, entry: dict[str, Any]) -> tuple[float, float, float, float]:
    try:
        found = entry.get("bbox") or _bounds(entry.get("segmentation"))
        if not isinstance(found, list) or len(found) != 4 or not all(isinstance(n, int | float) for n in found):
            raise FormatError(where, f"bbox {found!r} found, expected [x, y, width, height]")
        x, y, width, height = map(float, found)
    except OverflowError:
        raise FormatError(where, "a bbox of endless numbers found") from None
    return x, y, x + width, y + height
