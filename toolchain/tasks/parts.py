"""Parts of point clouds: scores over all points, and cloud by cloud as ShapeNet's part annotation has it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.netlist import Score
from toolchain.tasks.confusion import Confusion
from toolchain.tasks.tally import Tally


@dataclass(frozen=True, eq=False)
class Parts(Tally):
    """Points of clouds, by class.

    Parameters
    ----------
    points : Confusion
        Of all clouds together.
    right, true, predicted : ndarray (N, classes), int64
        Points of every cloud.
    categories : ndarray (N,), integer, or None
        What each cloud is, where that is known.
    """

    points: Confusion
    right: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    categories: np.ndarray | None

    @classmethod
    def count(cls, predicted: np.ndarray, true: np.ndarray, classes: int, categories: np.ndarray | None) -> Parts:
        """Count predictions (N, P); `true` holds classes below `classes`, or `VOID`, which is left out."""
        each = [Confusion.count(p, t, classes, "point_accuracy") for p, t in zip(predicted, true, strict=True)]
        matrices = np.stack([e.matrix for e in each])
        return cls(
            Confusion(matrices.sum(0), "point_accuracy"),
            np.diagonal(matrices, axis1=1, axis2=2),
            matrices.sum(2),
            matrices.sum(1),
            categories,
        )

    def __add__(self, other: Parts) -> Parts:
        """Join two batches."""
        one, two = ([p.right, p.true, p.predicted] for p in (self, other))
        both = None
        if self.categories is not None and other.categories is not None:
            both = np.concatenate([self.categories, other.categories])
        right, true, predicted = map(np.concatenate, zip(one, two, strict=True))
        return Parts(self.points + other.points, right, true, predicted, both)

    def score(self) -> Score:
        """Return what `Confusion` does, and "part_mIoU".

        Notes
        -----
        The IoU of a part that a cloud neither has nor is said to have is 1; the mean over the parts of a cloud's
        category is the cloud's, and the mean over clouds is the score: C. R. Qi et al., "PointNet: deep learning on
        point sets for 3D classification and segmentation", CVPR 2017, section 5.1, on L. Yi et al., "A scalable active
        framework for region annotation in 3D shape collections", ACM Trans. Graph. 35 (2016). Where categories are
        known, the parts of one are those that any of its clouds has; else all classes are parts of every cloud.
        """
        found = self.points.score()
        either = self.true + self.predicted - self.right
        shares = np.where(either == 0, 1.0, self.right / np.maximum(either, 1))
        belongs = np.ones(shares.shape, bool)
        if self.categories is not None:
            for category in np.unique(self.categories):
                clouds = self.categories == category
                belongs[clouds] = self.true[clouds].any(axis=0)
        clouds = [float(s[b].mean()) for s, b in zip(shares, belongs, strict=True) if b.any()]
        return replace(found, further={**found.further, "part_mIoU": float(np.mean(clouds))})
