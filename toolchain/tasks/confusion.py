"""Classes of pixels and points: the confusion matrix, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.data import VOID
from toolchain.netlist import Score
from toolchain.tasks.tally import Tally


@dataclass(frozen=True, eq=False)
class Confusion(Tally):
    """Pixels or points by true class and by predicted class.

    Parameters
    ----------
    matrix : ndarray (classes, classes), int64
        Rows are what is true.
    accuracy : str
        What the share of right ones is called.
    """

    matrix: np.ndarray
    accuracy: str = "pixel_accuracy"

    @classmethod
    def count(
        cls, predicted: np.ndarray, true: np.ndarray, classes: int, accuracy: str = "pixel_accuracy"
    ) -> Confusion:
        """Count predictions; both arrays hold classes below `classes`, in `true` also `VOID`, which is left out."""
        counted = true != VOID
        pairs = true[counted].astype(np.int64) * classes + predicted[counted]
        return cls(np.bincount(pairs, minlength=classes**2).reshape(classes, classes), accuracy)

    def __add__(self, other: Confusion) -> Confusion:
        """Join two batches."""
        return Confusion(self.matrix + other.matrix, self.accuracy)

    def score(self) -> Score:
        """Return the mIoU, the share of right pixels or points, and Dice, per class and their mean.

        Notes
        -----
        Of a class with TP right ones, FP predicted wrongly and FN missed, ``IoU = TP / (TP + FP + FN)`` (M. Everingham
        et al., "The PASCAL visual object classes challenge: a retrospective", Int. J. Comput. Vis. 111, 2015) and
        ``Dice = 2 TP / (2 TP + FP + FN)`` (L. R. Dice, "Measures of the amount of ecologic association between
        species", Ecology 26, 1945). Means are over the classes that occur, in what is true or predicted.
        """
        right, true, predicted = np.diag(self.matrix), self.matrix.sum(1), self.matrix.sum(0)
        shares = {"IoU": (right, true + predicted - right), "dice": (2 * right, true + predicted)}
        per_class = {name: _shares(*pair) for name, pair in shares.items()}
        mean = {name: float(np.mean([v for v in values if v is not None])) for name, values in per_class.items()}
        further = {self.accuracy: float(right.sum() / self.matrix.sum()), "dice": mean["dice"]}
        return Score("mIoU", mean["IoU"], further, per_class)


def _shares(parts: np.ndarray, whole: np.ndarray) -> tuple[float | None, ...]:
    return tuple(int(p) / int(w) if w else None for p, w in zip(parts, whole, strict=True))
