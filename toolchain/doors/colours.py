"""Masks that are painted: which class each colour stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.data import VOID
from toolchain.netlist import InputError

#: Most bytes of a file of colours: 255 lines need far less.
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Colours:
    """Colours of classes, in their order.

    Parameters
    ----------
    codes : tuple of int
        ``red * 65536 + green * 256 + blue`` of each.
    """

    codes: tuple[int, ...]

    def classes(self, where: str, pixels: np.ndarray) -> np.ndarray:
        """Return the class of every pixel.

        Parameters
        ----------
        where : str
            What an error names.
        pixels : ndarray (H, W, 3), uint8

        Returns
        -------
        ndarray (H, W), uint8

        Raises
        ------
        InputError
            When a colour is none of these.
        """
        codes = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        order = np.argsort(self.codes)
        known = np.asarray(self.codes)[order]
        place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        if (strange := codes[known[place] != codes]).size:
            colour = f"{strange[0] >> 16} {strange[0] >> 8 & 255} {strange[0] & 255}"
            raise InputError(where, f"colour {colour} found, which is no class", "give it a line in `colours`")
        return order[place].astype(np.uint8)


def read_colours(path: Path) -> Colours:
    """Read a file of colours: on every line red, green and blue, 0 to 255, and a name before or behind if you like.

    Raises
    ------
    InputError
        When it is not there, a line holds something else, or a colour stands twice.
    """
    if not path.is_file():
        raise InputError("colours", f"{path} is not there", "name a file with red, green and blue on every line")
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(str(path), f"{path.stat().st_size} bytes found, expected a line for each class")
    codes: list[int] = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = [int(n) for n in re.findall(r"(?<![\w.-])\d{1,3}(?![\w.])", line)]
        if len(found) != 3 or max(found) > 255:
            raise InputError(f"{path}, line {number}", f"{line.strip()[:60]!r} found, expected red, green and blue")
        codes.append(found[0] << 16 | found[1] << 8 | found[2])
        if codes.index(codes[-1]) < len(codes) - 1:
            raise InputError(f"{path}, line {number}", f"the colour of class {codes.index(codes[-1])} found again")
    if not 1 <= len(codes) <= VOID:
        raise InputError(str(path), f"{len(codes)} colours found, expected 1 to {VOID}")
    return Colours(tuple(codes))
