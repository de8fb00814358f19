"""From events to frames: what a network sees of a recording at each timestep."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from toolchain.netlist import InputError
from toolchain.recordings.events import Events

#: Largest array of frames that is made, in bytes.
MAX_BYTES = 1 << 34


@dataclass(frozen=True)
class Framing:
    """How events become samples of T frames with two channels, OFF and ON.

    Parameters
    ----------
    timesteps : int
        T, frames of a sample.
    window : int, optional
        Microseconds of a frame: a long recording gives many samples, one after the other.
    count : int, optional
        Events of a frame, instead of a fixed time. With neither, a recording is one sample, cut into T equal times.
    values : {"counts", "surface"}
        Events of each pixel, at most 255; or the surface of active events: when the last one came, from 0 for the
        frame's begin to 1 for its end, and 0 where none did (R. Benosman et al., "Event-based visual flow", 2014).
    size : (height, width), optional
        Pixels of a frame; by default the sensor's. Several pixels of the sensor are then one.

    Raises
    ------
    InputError
        When a number is not positive, or both `window` and `count` are given.
    """

    timesteps: int = 8
    window: int | None = None
    count: int | None = None
    values: Literal["counts", "surface"] = "counts"
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("timesteps", "window", "count"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InputError(name, f"{number} found, expected at least 1")
        if self.window is not None and self.count is not None:
            raise InputError(
                "count", "frames of a fixed time and of a fixed number of events found", "give one of both"
            )
        if self.size is not None and min(self.size) < 1:
            raise InputError("size", f"{self.size} found, expected positive numbers of pixels")


def frames(events: Events, framing: Framing, limit: int | None = None) -> np.ndarray:
    """Cut a recording into samples of frames.

    Parameters
    ----------
    events : Events
    framing : Framing
    limit : int, optional
        Most samples to take, from the beginning.

    Returns
    -------
    ndarray (N, T, 2, height, width)
        uint8 counts or float32 surfaces; channel 0 is OFF, 1 is ON. Frames that fill no sample are left out, but for a
        recording shorter than one, whose last frames stay empty.

    Raises
    ------
    InputError
        When the frames would be larger than the sensor, or take too much memory.
    """
    height, width = framing.size or (events.height, events.width)
    if height > events.height or width > events.width:
        raise InputError(
            events.name,
            f"`size` {height} x {width} found, expected at most the sensor's {events.height} x {events.width} pixels",
        )
    whole = _whole_frames(events, framing)
    samples = max(1, whole // framing.timesteps)
    samples = samples if limit is None else min(samples, limit)
    dtype = np.dtype(np.uint8 if framing.values == "counts" else np.float32)
    pixels = 2 * height * width
    if (needed := samples * framing.timesteps * pixels * dtype.itemsize) > MAX_BYTES:
        raise InputError(events.name, f"{needed} bytes of frames needed, expected at most {MAX_BYTES}", "use `limit`")
    place = (events.p * height + events.y * height // events.height) * width + events.x * width // events.width
    made = np.zeros((samples * framing.timesteps, pixels), dtype)
    frame, begin, length = _cut(events, framing, min(whole, len(made)))
    for index, (start, stop) in enumerate(pairwise(np.searchsorted(frame, np.arange(len(begin) + 1)))):
        where = place[start:stop]
        if framing.values == "counts":
            made[index] = np.minimum(np.bincount(where, minlength=pixels), 255)
        else:
            # Of several events of a pixel the last one stays.
            made[index, where] = (events.t[start:stop] - begin[index] + 1) / length[index]
    return made.reshape(samples, framing.timesteps, 2, height, width)


def _whole_frames(events: Events, framing: Framing) -> int:
    """Return how many frames a recording fills: of fewer events than one takes, a single one."""
    if framing.count is not None:
        return max(1, len(events) // framing.count)
    return framing.timesteps if framing.window is None else -(-events.duration // framing.window)


def _cut(events: Events, framing: Framing, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the frame of every event (E,), and of the first frames their begin in microseconds and their length."""
    since = events.t - events.t[0]
    if framing.count is not None:
        first = np.arange(frames) * framing.count
        last = np.minimum(first + framing.count, len(events)) - 1
        return np.arange(len(events)) // framing.count, events.t[first], events.t[last] - events.t[first] + 1
    if framing.window is not None:
        begin = events.t[0] + np.arange(frames) * framing.window
        return since // framing.window, begin, np.full(frames, framing.window)
    # Equal times in exact integers: frame k holds what comes from k * duration / T on.
    edges = -(-np.arange(frames + 1) * events.duration // framing.timesteps)
    return since * framing.timesteps // events.duration, events.t[0] + edges[:-1], np.maximum(np.diff(edges), 1)
