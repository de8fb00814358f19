"""How many decisions two sets of logits share, and would share on samples that the ANN is less sure of.

Calibration samples are mostly those that the ANN was trained on, and it is surer of them than of any others: decisions
stay where on new samples they would not. Noise of the outputs is the same on both. So the share of decisions is also
estimated from the noise, as if the ANN's margins were spread evenly from none at all to twice their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import pi, sqrt

import numpy as np

from toolchain.tasks import decide

#: Decisions of a sample that are compared, of those of its pixels or points.
_PLACES = 1024


@dataclass(frozen=True, eq=False)
class Logits:
    """What is decided on, by the ANN and by its netlist.

    Parameters
    ----------
    ann, netlist : ndarray (decisions, classes), float64
        Of a single logit, the decision is its sign.
    """

    ann: np.ndarray
    netlist: np.ndarray

    def alike(self, share: float = 1.0) -> float:
        """Return the share of decisions that are alike if the netlist's errors were so much of what they are."""
        there = self.ann + share * (self.netlist - self.ann)
        return float((decide(there) == decide(self.ann)).mean())

    def expected(self, share: float = 1.0) -> float:
        """Return the share of decisions alike were the ANN's margins spread evenly from 0 to twice their mean m.

        Noise of standard deviation s is beyond a margin x with probability Phi(-x / s). Over all x >= 0 that adds up to
        s / sqrt(2 pi), and the density of margins is 1 / 2m.

        Parameters
        ----------
        share : float
            As of `alike`.
        """
        gain, noise = self._gain_and_noise
        gain = 1 + share * (gain - 1)
        return max(0.0, 1 - share * noise / (gain * 2 * sqrt(2 * pi))) if gain > 0 else 0.0

    @cached_property
    def _gain_and_noise(self) -> tuple[float, float]:
        """How differences of the ANN's two greatest logits are in the netlist.

        Returns
        -------
        gain : float
            Slope of the line through the origin that fits them best.
        noise : float
            Standard deviation from it, in mean margins; 0 where the ANN tells no classes apart.
        """
        if self.ann.shape[1] == 1:
            wanted, got = np.abs(self.ann[:, 0]), self.netlist[:, 0] * np.sign(self.ann[:, 0])
        else:
            second, first = np.argpartition(self.ann, (-2, -1), axis=1)[:, -2:].T
            every = np.arange(len(self.ann))
            wanted, got = (values[every, first] - values[every, second] for values in (self.ann, self.netlist))
        if not wanted.any():
            return 1.0, 0.0
        gain = float(wanted @ got / (wanted @ wanted))
        return gain, float(np.sqrt(np.mean((got - gain * wanted) ** 2)) / wanted.mean())


def decided_on(values: np.ndarray) -> np.ndarray:
    """Return the logits of every decision, (decisions, classes): of maps (N, classes, ...) at places in equal steps."""
    rows = np.moveaxis(values.reshape(*values.shape[:2], -1), 1, 2)
    return rows[:, :: -(-rows.shape[1] // _PLACES)].reshape(-1, rows.shape[2])
