"""Boxes: average precision as COCO defines it, computed by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.data import Boxes
from toolchain.netlist import Score
from toolchain.tasks.tally import Tally


@dataclass(frozen=True, eq=False)
class Detected:
    """What a detector says of one picture.

    Parameters
    ----------
    boxes : ndarray (K, 4), float64
        x0, y0, x1, y1 in pixels.
    scores : ndarray (K,), float64
    labels : ndarray (K,), int64
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture: what is true, and what was detected."""

    true: Boxes
    detected: Detected


@dataclass(frozen=True, eq=False)
class Detections(Tally):
    """Boxes of pictures. They are kept, since precision ranks those of all pictures together.

    Parameters
    ----------
    pictures : tuple of Picture
    """

    pictures: tuple[Picture, ...]

    @classmethod
    def collect(cls, detected: Sequence[Detected], true: Boxes) -> Detections:
        """Keep the boxes of samples; those of `true` name them by their position."""
        return cls(tuple(Picture(true.select(np.array([n])), found) for n, found in enumerate(detected)))

    def __add__(self, other: Detections) -> Detections:
        """Join two batches."""
        return Detections(self.pictures + other.pictures)

    def score(self) -> Score:
        """Return the mAP at an IoU of 0.5 ("mAP50"), and the mean over 0.5, 0.55, ... 0.95 ("mAP50_95").

        Notes
        -----
        T.-Y. Lin et al., "Microsoft COCO: common objects in context", ECCV 2014, as their evaluation computes it: 101
        recalls, at most 100 boxes of a picture and class, the mean over the classes that occur in the truth. Boxes of
        equal score rank in the order of the pictures.
        """
        classes = sorted({int(c) for p in self.pictures for c in p.true.labels})
        precision = _precisions(self.pictures, classes)
        each = {
            "AP50": precision[0].mean(0),
            "AP50_95": precision.mean((0, 1)),
        }
        per_class: dict[str, tuple[float | None, ...]] = {}
        for name, values in each.items():
            by_class = dict(zip(classes, values.tolist(), strict=True))
            per_class[name] = tuple(by_class.get(c) for c in range(classes[-1] + 1))
        further = {"mAP50_95": float(each["AP50_95"].mean())}
        return Score("mAP50", float(each["AP50"].mean()), further, per_class)


def _precisions(pictures: Sequence[Picture], classes: Sequence[int]) -> np.ndarray:
    """Return the interpolated precision (thresholds, recalls, classes), float64."""
    # Loaded where it is needed, with the parts of matplotlib that it brings.
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(
        {
            "info": {},
            "images": [{"id": n} for n in range(1, len(pictures) + 1)],
            "categories": [{"id": c} for c in classes],
            "annotations": [
                {"id": i, "iscrowd": 0, **annotation}
                for i, annotation in enumerate(_annotations([(p.true.boxes, p.true.labels) for p in pictures]), start=1)
            ],
        }
    )
    scored = [
        {**annotation, "score": score}
        for annotation, score in zip(
            _annotations([(p.detected.boxes, p.detected.labels) for p in pictures]),
            (float(s) for p in pictures for s in p.detected.scores),
            strict=True,
        )
        if annotation["category_id"] in set(classes)
    ]
    if not scored:
        return np.zeros((10, 101, len(classes)))
    evaluation: Any = COCOeval_faster(truth, truth.loadRes(scored), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    # (thresholds, recalls, classes, areas, most detections): all areas, 100 detections.
    return np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]


def _annotations(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[dict[str, Any]]:
    """Return boxes of pictures in COCO's form: corner and size, pictures counted from 1."""
    return [
        {"image_id": n, "category_id": int(label), "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
        for n, (boxes, labels) in enumerate(found, start=1)
        for (x0, y0, x1, y1), label in zip(boxes.astype(np.float64).tolist(), labels, strict=True)
    ]
