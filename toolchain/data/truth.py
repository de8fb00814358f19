"""What is known to be true of samples, for scores: classes, masks, boxes, classes of points, values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolchain.netlist import InputError

#: The class of a pixel or a point that no score counts.
VOID = 255
#: Arrays that hold a row for every box and not for every sample, in the data file.
BOX_KEYS = ("boxes", "box_labels", "box_samples")
#: Axes of the arrays that hold something for every sample, beyond that of the samples.
_AXES: dict[str, tuple[str, ...]] = {"labels": (), "masks": ("H", "W"), "point_labels": ("P",)}
#: Types of arrays that hold something for every sample.
_KINDS = {"labels": "iu", "masks": "iu", "point_labels": "iu", "targets": "fiu"}


@dataclass(frozen=True, eq=False)
class Boxes:
    """Objects in pictures.

    Parameters
    ----------
    boxes : ndarray (M, 4), float32
        x0, y0, x1, y1 in pixels of the stored picture; (0, 0) is the outer corner of its top left pixel.
    labels : ndarray (M,), int64
        Their classes.
    samples : ndarray (M,), int64
        Positions of the pictures that they are in.
    """

    boxes: np.ndarray
    labels: np.ndarray
    samples: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, samples: np.ndarray) -> Boxes:
        """Return the boxes of pictures at these positions, in their order; of a picture named twice, twice."""
        order = np.argsort(self.samples, kind="stable")
        first, last = (np.searchsorted(self.samples[order], samples, side) for side in ("left", "right"))
        taken = [order[a:b] for a, b in zip(first, last, strict=True)]
        index = np.concatenate([np.empty(0, np.int64), *taken])
        return Boxes(self.boxes[index], self.labels[index], np.repeat(np.arange(len(samples)), last - first))


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of N samples; what is not known is None.

    Parameters
    ----------
    labels : ndarray (N,) int64, or None
        A class per sample.
    masks : ndarray (N, H, W) uint8, or None
        A class per pixel; 255 is not counted.
    boxes : Boxes or None
    point_labels : ndarray (N, P) int64, or None
        A class per point; 255 is not counted.
    targets : ndarray (N, ...) of numbers, or None
        What the network should say, in the shape of its output.
    """

    labels: np.ndarray | None = None
    masks: np.ndarray | None = None
    boxes: Boxes | None = None
    point_labels: np.ndarray | None = None
    targets: np.ndarray | None = None

    def select(self, samples: np.ndarray) -> Truth:
        """Return what is true of the samples at these positions (int64)."""
        boxes = None if self.boxes is None else self.boxes.select(samples)
        return replace(self, boxes=boxes, **{name: array[samples] for name, array in self._arrays().items()})

    def part(self, start: int, stop: int) -> Truth:
        """Return what is true of samples `start` to `stop`, or to the last one, where that comes first."""
        boxes = None if self.boxes is None else self.boxes.select(np.arange(start, stop))
        return replace(self, boxes=boxes, **{name: array[start:stop] for name, array in self._arrays().items()})

    def check(self, where: str, samples: int) -> None:
        """Raise InputError, which names `where` and the array, unless all of it fits `samples` samples."""
        _check_arrays(where, self._arrays(), samples)
        if self.boxes is not None:
            _check_boxes(where, self.boxes.boxes, self.boxes.labels, self.boxes.samples, samples)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: array for name in _KINDS if (array := getattr(self, name)) is not None}

    def content(self) -> Iterator[bytes]:
        """Yield the bytes that a hash of it is taken from: what is known, in the order of the fields."""
        for array in self._arrays().values():
            yield np.ascontiguousarray(array).tobytes()
        if self.boxes is not None:
            for array in (self.boxes.boxes, self.boxes.labels, self.boxes.samples):
                yield np.ascontiguousarray(array).tobytes()


#: Of samples that only calibrate.
UNKNOWN = Truth()


def truth_of(where: str, arrays: Mapping[str, np.ndarray], samples: int) -> Truth:
    """Return what arrays say of samples.

    Parameters
    ----------
    where : str
        What an error names.
    arrays : mapping of str to ndarray
        Numbers by the keys of the data file: `labels`, `masks`, `point_labels`, `targets`; `boxes`, `box_labels`,
        `box_samples`.
    samples : int
        How many there are.

    Raises
    ------
    InputError
        When an array does not fit the samples, or arrays that need each other are not all there.
    """
    whole = {name: arrays[name].astype(np.int64) for name in ("labels", "point_labels") if name in arrays}
    kept = whole | {name: arrays[name] for name in ("masks", "targets") if name in arrays}
    _check_arrays(where, kept, samples)
    found = [name for name in BOX_KEYS if name in arrays]
    if not found:
        return Truth(**kept)
    if len(found) < len(BOX_KEYS):
        raise InputError(where, f"{', '.join(found)} found, expected all of {', '.join(BOX_KEYS)}")
    with np.errstate(over="ignore"):  # what float32 does not hold is infinite, which the check names
        corners = arrays["boxes"].astype(np.float32)
    labels, positions = arrays["box_labels"].astype(np.int64), arrays["box_samples"].astype(np.int64)
    _check_boxes(where, corners, labels, positions, samples)
    return Truth(boxes=Boxes(corners, labels, positions), **kept)


def _check_arrays(where: str, arrays: Mapping[str, np.ndarray], samples: int) -> None:
    for name, array in arrays.items():
        axes = _AXES.get(name, ("...",) * bool(array.ndim))
        if (name in _AXES and array.ndim != len(axes) + 1) or array.shape[:1] != (samples,):
            expected = f"({samples},{' ' * bool(axes)}{', '.join(axes)})"
            advice = "name classes of pixels 'masks'" if name == "labels" and array.ndim == 3 else None
            raise InputError(where, f"{name} of shape {array.shape} found, expected {expected}", advice)
        if array.dtype.kind not in _KINDS[name]:
            expected = "integers" if name in _AXES else "numbers"
            raise InputError(where, f"{name} of {array.dtype} found, expected {expected}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(where, f"{name} hold NaN or infinite values", "clean the data first")
    if "point_labels" in arrays:
        _check_range(where, "point_labels", arrays["point_labels"], VOID)


def _check_boxes(where: str, boxes: np.ndarray, labels: np.ndarray, positions: np.ndarray, samples: int) -> None:
    """Raise unless every box has corners in order, a class, and a picture among the samples."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(where, f"boxes of shape {boxes.shape} found, expected (M, 4)")
    for name, found in (("box_labels", labels), ("box_samples", positions)):
        if found.shape != (len(boxes),):
            raise InputError(where, f"{name} of shape {found.shape} found, expected ({len(boxes)},)")
    if not np.isfinite(boxes).all():
        raise InputError(where, "boxes hold NaN or infinite values")
    turned = np.flatnonzero((boxes[:, :2] > boxes[:, 2:]).any(axis=1))
    if turned.size:
        corners = boxes[turned[0]].tolist()
        raise InputError(where, f"box {turned[0]} of {corners} found, expected x0 <= x1 and y0 <= y1")
    _check_range(where, "box_samples", positions, samples - 1)
    _check_range(where, "box_labels", labels, np.iinfo(np.int32).max)


def _check_range(where: str, name: str, found: np.ndarray, most: int) -> None:
    if found.size and not (found.min() >= 0 and found.max() <= most):
        raise InputError(where, f"{name} from {found.min()} to {found.max()} found, expected 0 to {most}")
