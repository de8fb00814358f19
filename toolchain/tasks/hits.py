"""Classes of samples: how often the right one is first, or among the first five."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.netlist import Score
from toolchain.tasks.tally import Tally

#: How many guesses the second measure allows, as ImageNet's does: O. Russakovsky et al., "ImageNet large scale visual
#: recognition challenge", Int. J. Comput. Vis. 115 (2015).
GUESSES = 5


def decide(readout: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """Return the class with the largest logit, or, of a single logit, 1 where it is positive.

    Parameters
    ----------
    readout : ndarray (..., classes)
        Logits, or the running sum.
    scale : ndarray (classes,) or float
        Logit of one unit of the sum.
    """
    logits = readout * scale
    return (logits[..., 0] > 0).astype(np.int64) if logits.shape[-1] == 1 else np.argmax(logits, axis=-1)


@dataclass(frozen=True)
class Hits(Tally):
    """Samples by whether their class was guessed.

    Parameters
    ----------
    samples : int
    first : int
        Whose class has the largest logit.
    among : int or None
        Whose class has one of the `GUESSES` largest; None of so few classes that all do.
    """

    samples: int
    first: int
    among: int | None = None

    @classmethod
    def count(cls, logits: np.ndarray, labels: np.ndarray) -> Hits:
        """Count samples.

        Parameters
        ----------
        logits : ndarray (N, classes), floating point
            A single one decides between two classes, at 0. Of equal ones the first is the larger.
        labels : ndarray (N,), integer
        """
        first = int((decide(logits) == labels).sum())
        classes = logits.shape[1]
        if classes <= GUESSES:
            return cls(len(labels), first)
        own = np.take_along_axis(logits, labels[:, None], axis=1)
        before = (logits > own) | ((logits == own) & (np.arange(classes) < labels[:, None]))
        return cls(len(labels), first, int((before.sum(axis=1) < GUESSES).sum()))

    def __add__(self, other: Hits) -> Hits:
        """Join two batches."""
        among = None if self.among is None or other.among is None else self.among + other.among
        return Hits(self.samples + other.samples, self.first + other.first, among)

    def score(self) -> Score:
        """Return the accuracy, and that of `GUESSES` guesses ("top5")."""
        further = {} if self.among is None else {"top5": self.among / self.samples}
        return Score("accuracy", self.first / self.samples, further, samples=self.samples)
