"""One recording of an event sensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.netlist import FormatError, InputError

#: Largest sensor that is taken, in pixels along an axis: coordinates of the formats have 16 bits at most.
LARGEST = 1 << 16


@dataclass(frozen=True, eq=False)
class Events:
    """Events in the order of their time.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    x, y : ndarray (E,), int64
        Column and row; (0, 0) is the top left pixel.
    t : ndarray (E,), int64
        Microseconds, of any origin, never decreasing.
    p : ndarray (E,), int64
        1 where the intensity rose (ON), 0 where it fell (OFF).
    width, height : int
        Of the sensor, in pixels.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    p: np.ndarray
    width: int
    height: int

    def __post_init__(self) -> None:
        if not 0 < self.width <= LARGEST or not 0 < self.height <= LARGEST:
            raise InputError(
                self.name, f"a sensor of {self.width} x {self.height} found, expected 1 to {LARGEST} pixels"
            )
        for axis, values, limit in (("x", self.x, self.width), ("y", self.y, self.height)):
            if values.size and not (values.min() >= 0 and values.max() < limit):
                raise FormatError(
                    self.name, f"{axis} from {values.min()} to {values.max()} found, expected 0 to {limit - 1}"
                )

    def __len__(self) -> int:
        return int(self.t.size)

    @property
    def duration(self) -> int:
        """Microseconds from the first event to the last, that one included; 0 where there is none."""
        return int(self.t[-1] - self.t[0]) + 1 if len(self) else 0


def in_order(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    t: np.ndarray,
    p: np.ndarray,
    size: tuple[int, int] | None = None,
) -> Events:
    """Return events of whole numbers, in any type, sorted by time where they are not.

    Parameters
    ----------
    name : str
    x, y, t, p : ndarray (E,)
    size : (height, width), optional
        By default as large as the coordinates need.

    Raises
    ------
    InputError
        When there are no events, or numbers with fractions: times in seconds, say, all of which would be 0.
    FormatError
        When a coordinate lies outside, or a polarity is other than 0, 1 or -1.
    """
    if not t.size:
        raise InputError(name, "no events found")
    for axis, values in (("x", x), ("y", y), ("t", t), ("p", p)):
        parts = values[np.rint(values) != values]
        if parts.size:
            fix = "give whole microseconds" if axis == "t" else "give whole pixels, and 0 or 1 as polarity"
            raise InputError(name, f"{axis} of {parts[0]:g} found, expected whole numbers", fix)
    x, y, t, p = (np.asarray(a).astype(np.int64) for a in (x, y, t, p))
    if not np.isin(p, (-1, 0, 1)).all():
        raise FormatError(name, f"polarities from {p.min()} to {p.max()} found, expected 0 or -1 (OFF) and 1 (ON)")
    if np.any(np.diff(t) < 0):
        # Stable: events of one microsecond stay as they were read out.
        order = np.argsort(t, kind="stable")
        x, y, t, p = x[order], y[order], t[order], p[order]
    height, width = size or (max(1, int(y.max()) + 1), max(1, int(x.max()) + 1))
    return Events(name, x, y, t, np.maximum(p, 0), width, height)
