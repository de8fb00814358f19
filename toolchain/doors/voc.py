"""Boxes in Pascal VOC's XML (M. Everingham et al., "The Pascal visual object classes challenge", 2010)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, parse

from toolchain.display import Progress, silent
from toolchain.doors.annotated import Contents
from toolchain.doors.boxes import Marked, MarkedPicture, with_boxes
from toolchain.doors.folder import evenly
from toolchain.doors.pictures import Size, files_of
from toolchain.netlist import FormatError, InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

#: Largest annotation of a picture, in bytes.
MAX_BYTES = 1 << 24


def read_voc(
    source: Path,
    *,
    classes: tuple[str, ...] | None = None,
    size: Size | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Contents:
    """Read VOC's boxes and the pictures they are in.

    Corners count pixels from 1 and lie inside the box; ours lie on its outer edge: (xmin - 1, ymin - 1, xmax, ymax).

    Parameters
    ----------
    source : Path
        A folder with `Annotations` and `JPEGImages`, or with annotations (.xml) and pictures of the same names.
    classes : tuple of str, optional
        In the order of their labels; by default all that were found, sorted. Others are left out.
    size : (height, width), optional
        Pictures are stretched to it, and boxes with them.
    limit : int, optional
        Most pictures, evenly from all.
    progress : Progress
        Objects that are marked as difficult are left out.

    Raises
    ------
    InputError
        When there are no annotations, or a picture is not there or does not fit.
    FormatError
        When an annotation is not VOC's, or a picture is damaged.
    """
    if not source.is_dir():
        raise InputError(str(source), "no such folder", "name a folder with Annotations and JPEGImages")
    notes = source / "Annotations" if (source / "Annotations").is_dir() else source
    folder = source / "JPEGImages" if (source / "JPEGImages").is_dir() else source
    found = sorted(p for p in notes.iterdir() if p.suffix.lower() == ".xml" and not p.name.startswith("."))
    if not found:
        raise InputError(str(notes), "no annotations found, expected files that end in .xml")
    pictures = {path.stem: path for path in files_of(folder)}
    # All of them, whatever the limit: the labels of classes do not depend on it.
    marked = [_read(path, pictures, folder) for path in found]
    names = classes or tuple(sorted({one.name for picture in marked for one in picture.objects}))
    return with_boxes([marked[i] for i in evenly(len(marked), limit)], names, size, progress)


def _read(path: Path, pictures: dict[str, Path], folder: Path) -> MarkedPicture:
    if path.stat().st_size > MAX_BYTES:
        raise InputError(str(path), f"{path.stat().st_size} bytes found, expected at most {MAX_BYTES}")
    if path.stem not in pictures:
        raise InputError(str(path), f"no picture {path.stem} found in {folder}")
    try:
        root = parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException:
        raise FormatError(str(path), "a document type or entities found, expected none") from None
    except (ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that Python does not know
        raise FormatError(str(path), f"is no XML or damaged ({error})") from None
    if root is None or root.tag != "annotation":
        raise FormatError(str(path), "is no VOC annotation: no <annotation> found")
    objects = tuple(_marked(path, element) for element in root.iter("object"))
    return MarkedPicture(pictures[path.stem], str(path), _size(path, root), objects)


def _marked(path: Path, element: Element) -> Marked:
    name = (element.findtext("name") or "").strip()
    box = element.find("bndbox")
    if not name or box is None:
        raise FormatError(str(path), "an object without name or bndbox found")
    x0, y0, x1, y1 = (_number(path, box, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    difficult = (element.findtext("difficult") or "").strip() == "1"
    return Marked(name, (x0 - 1, y0 - 1, x1, y1), "difficult" if difficult else None)


def _number(path: Path, element: Element, key: str) -> float:
    text = element.findtext(key)
    try:
        return float(text or "")
    except ValueError:
        raise FormatError(str(path), f"{key} {text!r} found, expected a number") from None


def _size(path: Path, root: Element) -> Size | None:
    """Return the size that an annotation says, which tools that do not know it leave at 0."""
    element = root.find("size")
    if element is None:
        return None
    height, width = _number(path, element, "height"), _number(path, element, "width")
    return (int(height), int(width)) if 0 < height < 1 << 31 and 0 < width < 1 << 31 else None
