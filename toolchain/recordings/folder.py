"""One recording, or a folder of them with a class each, as frames and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toolchain.display import Progress, silent
from toolchain.netlist import InputError
from toolchain.recordings.framing import Framing, frames
from toolchain.recordings.read import READERS, read_events


def read_frames(
    source: Path | str,
    framing: Framing,
    *,
    sensor: tuple[int, int] | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Read recordings into frames.

    Parameters
    ----------
    source : path
        A recording; a folder with a folder of recordings for each class; or a folder of recordings that are a class
        each. Classes are numbered in the order of their names.
    framing : Framing
    sensor : (height, width), optional
        As for `read_events`.
    limit : int, optional
        Most samples in all, taken evenly from the recordings.
    progress : Progress

    Returns
    -------
    frames : ndarray (N, T, 2, height, width)
    labels : ndarray (N,) int64 or None
        None of a single recording.
    classes : tuple of str

    Raises
    ------
    InputError
        When there is nothing to read, or the recordings come from sensors of different sizes and `size` is not set.
    FormatError
        When a recording is damaged.
    """
    source = Path(source)
    if limit is not None and limit < 1:
        raise InputError("limit", f"{limit} found, expected at least 1")
    if not source.is_dir():
        return frames(read_events(source, sensor=sensor), framing, limit), None, ()
    classes, recordings = _listed(source)
    most = None if limit is None else -(-limit // len(recordings))
    parts: list[np.ndarray] = []
    labels: list[int] = []
    with progress("recordings", len(recordings)) as advance:
        for path, label in recordings:
            part = frames(read_events(path, sensor=sensor), framing, most)
            if parts and part.shape[1:] != parts[0].shape[1:]:
                raise InputError(
                    str(path),
                    f"frames of {part.shape[3]} x {part.shape[4]} pixels found, those before have "
                    f"{parts[0].shape[3]} x {parts[0].shape[4]}",
                    "name one `size`, or the `sensor`",
                )
            parts.append(part)
            labels += [label] * len(part)
            advance()
    return np.concatenate(parts)[:limit], np.array(labels, np.int64)[:limit], classes


def _listed(folder: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """Return the classes of a folder, and its recordings with the number of their class."""
    inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if inner:
        found = [(path, label) for label, part in enumerate(inner) for path in _recordings(part)]
        classes = tuple(p.name for p in inner)
    else:
        found = [(path, label) for label, path in enumerate(_recordings(folder))]
        classes = tuple(path.stem for path, _ in found)
    if not found:
        raise InputError(str(folder), f"no recordings found, expected files that end in {', '.join(READERS)}")
    return classes, found


def _recordings(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in READERS and p.is_file())
