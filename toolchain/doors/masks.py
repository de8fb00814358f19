"""Pictures and the masks that belong to them: a class for every pixel."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image

from toolchain.data import VOID
from toolchain.display import Progress, silent
from toolchain.doors.annotated import Contents, fitted, read_stretched
from toolchain.doors.colours import Colours
from toolchain.doors.folder import evenly
from toolchain.doors.pictures import Size, files_of, load, open_picture
from toolchain.netlist import InputError

#: Modes of a mask: black and white, grey, palette.
_MODES = ("1", "L", "P")
#: What may stand between a picture's name and what makes it a mask's.
_JOINTS = ("_", "-", ".")


def read_masks(
    pictures: Path,
    masks: Path,
    *,
    size: Size | None = None,
    void: Collection[int] = (),
    binary: bool = False,
    colours: Colours | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Contents:
    """Read a folder of pictures and one of masks.

    Parameters
    ----------
    pictures, masks : Path
        A mask has its picture's name, or that and more behind one of ``_``, ``-``, ``.``; its values (grey, or the
        numbers of a palette) are classes.
    size : (height, width), optional
        Pictures are stretched to it (bilinear), masks as well (nearest).
    void : collection of int
        Values of masks that are not counted, as 255 is not.
    binary : bool
        Every value but 0 (and `void`) is class 1.
    colours : Colours, optional
        Of the classes, where masks are painted.
    limit : int, optional
        Most pictures, evenly from all.
    progress : Progress

    Raises
    ------
    InputError
        When a picture has no mask or several, they differ in size, or a mask holds colours.
    FormatError
        When a picture or a mask is damaged.
    """
    for name, folder in (("pictures", pictures), ("masks", masks)):
        if not folder.is_dir():
            raise InputError(str(folder), "no such folder", f"name the folder of `{name}`")
    named = files_of(pictures)
    if not named:
        raise InputError(str(pictures), "no pictures found")
    paths = [named[i] for i in evenly(len(named), limit)]
    found = _pairs([p.stem for p in named], files_of(masks))
    for path in paths:
        if len(of := found[path.stem]) != 1:
            names = ", ".join(p.name for p in of) or "no mask"
            raise InputError(
                str(path), f"{names} found in {masks}, expected one file whose name begins with {path.stem}"
            )
    images, sizes = read_stretched(paths, size, progress)
    values = np.empty(images.shape[:3], np.uint8)
    with progress("masks", len(paths)) as advance:
        for index, path in enumerate(paths):
            values[index] = _read(found[path.stem][0], sizes[index], (images.shape[1], images.shape[2]), size, colours)
            advance()
    classes = _classes(str(masks), values, void, binary)
    held, pixels = np.unique(classes, return_counts=True)
    share = {str(c): int(n) for c, n in zip(held, pixels, strict=True) if c != VOID}
    left_out = int((classes == VOID).sum())
    notes = (f"{left_out / classes.size:.2%} of the pixels are not counted",) if left_out else ()
    return Contents({"images": images, "masks": classes}, share, notes)


def _pairs(stems: list[str], masks: list[Path]) -> dict[str, list[Path]]:
    """Return the masks of every picture: the one of its own name, else those whose names go on after it."""
    known = set(stems)
    pairs: dict[str, list[Path]] = {stem: [] for stem in stems}
    by_name = {mask.stem: mask for mask in masks}
    for mask in masks:
        # The longest picture's name that it begins with, so that `a_1_mask` is no mask of `a`.
        cuts = [i for i, c in enumerate(mask.stem) if c in _JOINTS]
        fits = [mask.stem[:cut] for cut in cuts if mask.stem[:cut] in known]
        if mask.stem not in known and fits and max(fits, key=len) not in by_name:
            pairs[max(fits, key=len)].append(mask)
        elif mask.stem in known:
            pairs[mask.stem].append(mask)
    return pairs


def _read(path: Path, expected: Size, wanted: Size, size: Size | None, colours: Colours | None) -> np.ndarray:
    with open_picture(path) as image:
        if colours is None and image.mode not in _MODES:
            raise InputError(
                str(path),
                f"a mask of mode {image.mode} found, expected a class per pixel: grey or of a palette",
                "say with `colours` which class each colour is",
            )
        if (image.height, image.width) != expected:
            raise InputError(
                str(path),
                f"{image.height} x {image.width} pixels found, its picture has {expected[0]} x {expected[1]}",
            )
        load(image)
        if colours is not None:
            painted = fitted(path, image.convert("RGB"), wanted, size, Image.Resampling.NEAREST)
            return colours.classes(str(path), np.asarray(painted))
        grey = image.convert("L") if image.mode == "1" else image
        return np.asarray(fitted(path, grey, wanted, size, Image.Resampling.NEAREST))


def _classes(where: str, values: np.ndarray, void: Collection[int], binary: bool) -> np.ndarray:
    """Return the classes that values of masks stand for."""
    for value in void:
        if not 0 <= value <= 255:
            raise InputError("void", f"{value} found, expected 0 to 255")
    # Of two classes, 255 is the other one: nobody means by it that all of it is not counted.
    if not binary and set(np.unique(values).tolist()) == {0, VOID} and VOID not in void:
        raise InputError(where, "only 0 and 255 found, of which 255 is not counted", "use `binary`, or `void` 255")
    table = np.arange(256, dtype=np.uint8)
    if binary:
        table[1:] = 1
    table[list(void)] = VOID
    return table[values]
