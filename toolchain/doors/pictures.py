"""One picture of a file, decoded with suspicion and brought to a size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from toolchain.netlist import AdafireError, FormatError, InputError

#: Most pixels of a picture that is decoded: some 200 MB as RGB.
MAX_PIXELS = 1 << 26
#: What counts as a picture in a folder: the endings that torchvision's `ImageFolder` takes.
ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_GREY = ("1", "L", "LA", "La")

#: Height and width in pixels.
Size = tuple[int, int]


@dataclass(frozen=True)
class Crop:
    """How pictures of any size come to one: the short side to a length, then the middle is cut out.

    What torchvision's ``Resize(short)`` and ``CenterCrop((height, width))`` make of a PIL picture (bilinear,
    antialiased).

    Parameters
    ----------
    height, width : int
    short : int, optional
        Pixels of the short side before the cut; by default as few as cover height and width, so that a picture of
        their proportions loses nothing.

    Raises
    ------
    InputError
        When a number is not positive, or the cut would be larger than what it is cut from.
    """

    height: int
    width: int
    short: int | None = None

    def __post_init__(self) -> None:
        found = (self.height, self.width, *([] if self.short is None else [self.short]))
        if min(found) < 1 or self.height * self.width > MAX_PIXELS:
            raise InputError("size", f"{found} found, expected positive numbers of pixels, at most {MAX_PIXELS} in all")
        if self.short is not None and self.short < max(self.height, self.width):
            raise InputError(
                "size",
                f"a short side of {self.short} found, expected at least {max(self.height, self.width)}",
                "give H,W/SHORT with a short side that the cut fits in",
            )

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return a picture of this size."""
        scaled = self._scaled(image.height, image.width)
        if scaled != (image.height, image.width):
            image = image.resize(scaled[::-1], Image.Resampling.BILINEAR)
        # Python's rounding of halves, to even: torchvision rounds alike.
        top, left = round((scaled[0] - self.height) / 2), round((scaled[1] - self.width) / 2)
        return image.crop((left, top, left + self.width, top + self.height))

    def _scaled(self, height: int, width: int) -> Size:
        if self.short is not None:
            long = int(self.short * max(height, width) / min(height, width))
            return (self.short, long) if height <= width else (long, self.short)
        if self.height * width >= self.width * height:  # the height decides
            return self.height, max(self.width, int(self.height * width / height))
        return max(self.height, int(self.width * height / width)), self.width


def parse_crop(text: str) -> Crop:
    """Read ``H,W`` or ``H,W/SHORT``.

    Raises
    ------
    InputError
        When the text is something else.

    Examples
    --------
    >>> parse_crop("224,224/256")
    Crop(height=224, width=224, short=256)
    """
    sides, _, short = text.partition("/")
    try:
        height, width = (int(part) for part in sides.split(","))
        return Crop(height, width, int(short) if short else None)
    except InputError:
        raise
    except ValueError:
        raise InputError("size", f"{text!r} found, expected H,W or H,W/SHORT in pixels") from None


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Open a picture: its header is read, its pixels are not yet.

    Raises
    ------
    FormatError
        When the file is no picture or a damaged one, here or while it is decoded within.
    InputError
        When it moves, has more than 8 bits per number, or more pixels than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes, which are checked here, and odd but harmless headers
            with Image.open(path, formats=_FORMATS) as image:
                _check(path, image)
                yield image
    except AdafireError:
        raise
    except Image.DecompressionBombError:
        raise InputError(str(path), f"more than {MAX_PIXELS} pixels found, expected at most that") from None
    except Exception as error:  # noqa: BLE001  # Pillow's decoders raise whatever they hit
        raise FormatError(str(path), f"is no picture or a damaged one ({error})") from None


def _check(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(str(path), f"{image.height} x {image.width} pixels found, expected at most {MAX_PIXELS}")
    # Cameras put a preview beside a JPEG: that is no motion.
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        raise InputError(str(path), f"{frames} pictures in one file found, expected one", "save one of them")
    if image.mode[0] in "IF":
        raise InputError(
            str(path),
            f"numbers of more than 8 bits found (mode {image.mode}), expected 8",
            "save it with 8 bits, or give its numbers as a .npz file",
        )


def is_grey(path: Path) -> bool:
    """Return whether a picture has no colours."""
    with open_picture(path) as image:
        return image.mode in _GREY


def load(image: Image.Image) -> None:
    """Decode an open picture."""
    if image.format != "TIFF":
        image.load()
        return
    # libtiff says on stderr itself what it finds, past Python, before Pillow raises the error that we report.
    shown, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        image.load()
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        os.close(nowhere)


def upright(path: Path, image: Image.Image, channels: int) -> Image.Image:
    """Decode an open picture: as grey (1 channel) or RGB (3), turned as its camera says (EXIF), without transparency.

    Raises
    ------
    InputError
        When it has colours and one channel is asked for.
    """
    if channels == 1 and image.mode not in _GREY:
        raise InputError(str(path), "colours found, those before are grey", "make all of them alike")
    load(image)
    return ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")


def pixels(image: Image.Image) -> np.ndarray:
    """Return a picture's numbers.

    Returns
    -------
    ndarray (C, H, W), uint8
    """
    values = np.asarray(image)
    return values[np.newaxis] if values.ndim == 2 else np.moveaxis(values, -1, 0)


def files_of(folder: Path) -> list[Path]:
    """Return the pictures that lie in a folder, by name; what is hidden (.name) or has another ending is left out."""
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith(".") and p.is_file()
    )
