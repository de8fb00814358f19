"""A folder of pictures with a folder for every class, read a slice at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.data import Dataset, Truth
from toolchain.display import Progress, silent
from toolchain.doors.annotated import Contents, room
from toolchain.doors.pictures import ENDINGS, Crop, Size, files_of, is_grey, open_picture, pixels, upright
from toolchain.netlist import InputError, Shape

#: Pictures that are looked at to tell whether a folder is grey: a colour found later is refused by name.
LOOKED_AT = 64


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """Pictures that are decoded when they are asked for: `Values` of a data set.

    Parameters
    ----------
    paths : tuple of Path
    channels : {1, 3}
    size : (height, width)
    crop : Crop, optional
        How they come to the size; without, they must have it.
    """

    paths: tuple[Path, ...]
    channels: int
    size: Size
    crop: Crop | None

    @property
    def shape(self) -> Shape:
        """Of all samples, (N, C, H, W)."""
        return (len(self.paths), self.channels, *self.size)

    @property
    def dtype(self) -> np.dtype:
        """Of one number: uint8."""
        return np.dtype(np.uint8)

    def __getitem__(self, samples: slice | np.ndarray) -> np.ndarray:
        """Decode samples."""
        chosen = np.arange(len(self.paths))[samples]
        made = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for place, index in enumerate(chosen):
            made[place] = self._read(self.paths[index])
        return made

    def _read(self, path: Path) -> np.ndarray:
        with open_picture(path) as opened:
            image = upright(path, opened, self.channels)
            if self.crop is not None:
                image = self.crop(image)
            elif (image.height, image.width) != self.size:
                raise InputError(
                    str(path),
                    f"{image.height} x {image.width} pixels found, those before have {self.size[0]} x {self.size[1]}",
                    "give one `size`",
                )
            return pixels(image)


@dataclass(frozen=True, eq=False)
class Listing:
    """What a folder holds.

    Parameters
    ----------
    classes : tuple of str
        Names of the class folders, sorted: labels are their positions. Empty where pictures lie loose.
    paths : tuple of Path
        Pictures, class by class and then by name.
    labels : ndarray (N,) int64, or None
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: np.ndarray | None


def list_pictures(folder: Path, limit: int | None = None) -> Listing:
    """List a folder of class folders, which may hold folders again, or of loose pictures, which have no labels.

    Parameters
    ----------
    folder : Path
    limit : int, optional
        Most pictures, taken evenly over the list, so that all classes are among them.

    Raises
    ------
    InputError
        When there are no pictures, a class has none, or some lie beside the class folders.
    """
    inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    loose = files_of(folder)
    if inner and loose:
        raise InputError(
            str(folder), f"{loose[0].name} beside class folders found", "put it into a class folder, or elsewhere"
        )
    by_class = [_below(part) for part in inner] if inner else [loose]
    for part, found in zip(inner or [folder], by_class, strict=True):
        if not found:
            raise InputError(str(part), f"no pictures found, expected files that end in {', '.join(ENDINGS)}")
    paths = [path for found in by_class for path in found]
    labels = np.repeat(np.arange(len(by_class)), [len(found) for found in by_class])
    taken = evenly(len(paths), limit)
    return Listing(tuple(p.name for p in inner), tuple(paths[i] for i in taken), labels[taken] if inner else None)


def evenly(count: int, limit: int | None) -> np.ndarray:
    """Return positions of `limit` out of `count`, at equal distances, (N,) int64; all of them without a limit."""
    taken = count if limit is None else min(limit, count)
    return np.arange(taken) * count // max(taken, 1)


def _below(folder: Path) -> list[Path]:
    """Return the pictures in a class folder and in the folders within, which hidden ones are not among."""
    found: list[Path] = []
    for place, inner, _ in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += files_of(Path(place))
    return found


def open_folder(folder: Path, *, crop: Crop | None = None, limit: int | None = None) -> Dataset:
    """Return a folder of pictures as a data set of which nothing is held but the names.

    Pictures have three channels, or one where all that are looked at are grey.

    Parameters
    ----------
    folder : Path
        See `list_pictures`.
    crop : Crop, optional
        How pictures come to one size; without, they must have one.
    limit : int, optional
        Most pictures, evenly from all classes.

    Raises
    ------
    InputError
        As `list_pictures`; when a picture that is looked at cannot be used; later, when one is read.
    FormatError
        Likewise, when it is damaged.
    """
    listing = list_pictures(folder, limit)
    return Dataset(folder.name, picture_files(listing.paths, crop), Truth(listing.labels))


def read_pictures(
    folder: Path, *, crop: Crop | None = None, limit: int | None = None, progress: Progress = silent
) -> Contents:
    """Read a folder of pictures whole, for a data file; parameters and errors as of `open_folder`.

    Raises
    ------
    InputError
        When the pictures take more than `toolchain.doors.annotated.MAX_BYTES`.
    """
    if not folder.is_dir():
        raise InputError(str(folder), "no such folder", "name a folder with a folder of pictures for every class")
    listing = list_pictures(folder, limit)
    values = picture_files(listing.paths, crop)
    images = room(values.shape[0], values.size, values.channels)
    with progress("pictures", len(images)) as advance:
        for index in range(len(images)):
            images[index] = np.moveaxis(values[index : index + 1][0], 0, -1)
            advance()
    if listing.labels is None:
        return Contents({"images": images})
    counts = {name: int((listing.labels == index).sum()) for index, name in enumerate(listing.classes)}
    return Contents({"images": images, "labels": listing.labels}, counts)


def picture_files(paths: tuple[Path, ...], crop: Crop | None) -> PictureFiles:
    """Look at some pictures, and return all of them."""
    channels = 1 if all(is_grey(paths[i]) for i in evenly(len(paths), LOOKED_AT)) else 3
    if crop is not None:
        return PictureFiles(paths, channels, (crop.height, crop.width), crop)
    with open_picture(paths[0]) as opened:
        image = upright(paths[0], opened, channels)
    return PictureFiles(paths, channels, (image.height, image.width), None)
