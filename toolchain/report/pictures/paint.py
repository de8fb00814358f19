"""Samples, and what is said of them, as small pictures: masks over photographs, boxes on them, coloured points, events.

All are arrays (H, W, 4) uint8 of red, green, blue and opacity. What is no photograph stands on nothing, so that a page
in light colours and one in dark can share it.
"""

from __future__ import annotations

import base64
import colorsys
import io

import numpy as np
from PIL import Image

#: Longest side of a picture, in pixels.
LARGEST = 256
#: Colours of the first classes that people with any sight tell apart, on light and on dark: those of M. Okabe and
#: K. Ito ("Color Universal Design", 2008) without black and white, then darker and lighter ones.
_COLOURS = (
    "0072b2",
    "e69f00",
    "009e73",
    "cc79a7",
    "d55e00",
    "56b4e9",
    "f0e442",
    "7f7f7f",
    "8c510a",
    "5e3c99",
    "66c2a5",
)
#: Of events that fell and that rose.
_OFF, _ON = "56b4e9", "d55e00"
#: How much of a class's colour covers a photograph.
_COVER = 0.6


def colour(label: int) -> str:
    """Return the colour of a class, #rrggbb; beyond those that are told apart easily, some other hue."""
    if label < len(_COLOURS):
        return f"#{_COLOURS[label]}"
    red, green, blue = colorsys.hls_to_rgb(label * 0.381966 % 1, 0.55, 0.6)  # the golden angle: far from those before
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _rgb(code: str) -> np.ndarray:
    return np.array([int(code.lstrip("#")[i : i + 2], 16) for i in (0, 2, 4)], np.float64)


def photograph(values: np.ndarray) -> np.ndarray:
    """Show a sample (C, H, W): three channels as colours, two as events that fell and rose, else their mean as grey.

    Numbers that are no uint8 are stretched from the least to the greatest.
    """
    values = _shrunk(np.asarray(values))
    if values.shape[0] == 2:
        return _events(values.astype(np.float64))
    if values.dtype != np.uint8:
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255 / (high - low or 1.0))
    grey = values if values.shape[0] == 3 else values.mean(axis=0, keepdims=True).repeat(3, axis=0)
    opaque = np.full((1, *grey.shape[1:]), 255)
    return np.moveaxis(np.concatenate([grey, opaque]), 0, -1).astype(np.uint8)


def _shrunk(values: np.ndarray) -> np.ndarray:
    """Average pixels until the longer side fits."""
    factor = -(-max(values.shape[1:]) // LARGEST)
    if factor == 1:
        return values
    rows, columns = (n // factor * factor for n in values.shape[1:])
    cut = values[:, :rows, :columns].reshape(values.shape[0], rows // factor, factor, columns // factor, factor)
    small = cut.mean(axis=(2, 4))
    return np.rint(small).astype(np.uint8) if values.dtype == np.uint8 else small


def _events(counts: np.ndarray) -> np.ndarray:
    """Colour events by what there were more of, the more of them the more opaque."""
    off, on = counts
    strength = np.abs(counts).sum(axis=0)
    # One event is seen, and few hot pixels do not pale all others.
    most = float(np.quantile(strength[strength > 0], 0.95)) if np.any(strength > 0) else 1.0
    drawn = np.zeros((*off.shape, 4))
    drawn[..., :3] = np.where((on >= off)[..., None], _rgb(_ON), _rgb(_OFF))
    drawn[..., 3] = np.where(strength > 0, 80 + 175 * np.minimum(strength / most, 1), 0)
    return drawn.astype(np.uint8)


def covered(picture: np.ndarray, mask: np.ndarray, void: int = 255) -> np.ndarray:
    """Lay a mask (h, w) of classes over a picture; `void` is left as it is, sizes may differ."""
    height, width = picture.shape[:2]
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    mask = mask[rows[:, None], columns]
    drawn = picture.astype(np.float64)
    for label in np.unique(mask[mask != void]):
        where = mask == label
        drawn[where, :3] = (1 - _COVER) * drawn[where, :3] + _COVER * _rgb(colour(int(label)))
        drawn[where, 3] = 255
    return np.rint(drawn).astype(np.uint8)


def boxed(picture: np.ndarray, boxes: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw the outlines of boxes (K, 4), x0 y0 x1 y1 in pixels of a sample of `size` (H, W), on its picture."""
    drawn = picture.copy()
    height, width = drawn.shape[:2]
    scale = np.array([width / size[1], height / size[0]] * 2)
    thick = max(1, max(height, width) // 120)
    for box, label in zip(np.asarray(boxes) * scale, labels, strict=True):
        left, top, right, bottom = np.rint(box).astype(int)
        left, right = np.clip([left, right], 0, width - 1)
        top, bottom = np.clip([top, bottom], 0, height - 1)
        paint = [*_rgb(colour(int(label))), 255]
        drawn[top : top + thick, left : right + 1] = paint
        drawn[max(0, bottom - thick + 1) : bottom + 1, left : right + 1] = paint
        drawn[top : bottom + 1, left : left + thick] = paint
        drawn[top : bottom + 1, max(0, right - thick + 1) : right + 1] = paint
    return drawn


def scattered(points: np.ndarray, labels: np.ndarray | None = None, *, side: int = 192) -> np.ndarray:
    """Show points (C, P), of which the first three numbers are a place, from above at an angle, coloured by class."""
    place = np.zeros((3, points.shape[1]))
    place[: min(3, len(points))] = points[:3]
    place -= (place.max(axis=1) + place.min(axis=1))[:, None] / 2
    turn, tilt = np.deg2rad(35), np.deg2rad(25)
    x = np.cos(turn) * place[0] - np.sin(turn) * place[1]
    depth = np.sin(turn) * place[0] + np.cos(turn) * place[1]
    y = np.cos(tilt) * place[2] + np.sin(tilt) * depth
    radius = 2 if points.shape[1] > 300 else 3
    span = max(float(np.abs(x).max()), float(np.abs(y).max())) or 1.0
    columns, rows = (np.rint((side / 2 - 1) + axis / span * (side / 2 - 2 - radius)).astype(int) for axis in (x, -y))
    drawn = np.zeros((side, side, 4), np.uint8)
    reach = np.arange(-radius, radius + 1)
    disc = np.argwhere(reach[:, None] ** 2 + reach**2 <= radius**2) - radius
    for index in np.argsort(-depth, kind="stable"):  # what is near covers what is far
        code = "#7f8b9b" if labels is None else colour(int(labels[index]))
        drawn[rows[index] + disc[:, 0], columns[index] + disc[:, 1]] = [*_rgb(code), 255]
    return drawn


def address(picture: np.ndarray) -> str:
    """Return a picture as a data address: photographs as WebP, what has few colours as PNG."""
    photo = bool((picture[..., 3] == 255).all()) and len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 256
    image, buffer = Image.fromarray(picture, "RGBA"), io.BytesIO()
    if photo:
        image.convert("RGB").save(buffer, "WEBP", quality=82)
    else:
        image.save(buffer, "PNG", optimize=True)
    kind = "webp" if photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
