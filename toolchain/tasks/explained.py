"""Values that are predicted: how much of what is true of them a network explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.netlist import Score
from toolchain.tasks.tally import Tally

#: Decimals of the score: sums of reals depend in their last bits on how samples were batched, and a score does not.
_DECIMALS = 9


@dataclass(frozen=True, eq=False)
class Explained(Tally):
    """Sums over samples and positions, per channel (C,) float64.

    Parameters
    ----------
    values : int
        Of a channel.
    mean : ndarray
        Of what is true.
    spread : ndarray
        Sum of squared distances of what is true from that mean.
    error : ndarray
        Sum of squared distances of what is predicted from what is true.
    """

    values: int
    mean: np.ndarray
    spread: np.ndarray
    error: np.ndarray

    @classmethod
    def count(cls, predicted: np.ndarray, true: np.ndarray) -> Explained:
        """Compare values, (N, C, ...) both."""
        found, wanted = (np.moveaxis(x.astype(np.float64).reshape(*x.shape[:2], -1), 1, 0) for x in (predicted, true))
        mean = wanted.mean(axis=(1, 2))
        spread = ((wanted - mean[:, None, None]) ** 2).sum(axis=(1, 2))
        return cls(wanted[0].size, mean, spread, ((found - wanted) ** 2).sum(axis=(1, 2)))

    def __add__(self, other: Explained) -> Explained:
        """Join two batches.

        Means and spreads as in T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance",
        The American Statistician 37 (1983), equations 1.5.
        """
        values, step = self.values + other.values, other.mean - self.mean
        return Explained(
            values,
            self.mean + step * (other.values / values),
            self.spread + other.spread + step**2 * (self.values * other.values / values),
            self.error + other.error,
        )

    def score(self) -> Score:
        """Return the coefficient of determination, ``R2 = 1 - error / spread``, its mean over channels and per channel.

        1 where all is right; 0 for who always says the mean, and below for who is farther off. Channels of which always
        the same is true are left out.
        """
        varies = self.spread > 0
        share = 1 - self.error / np.where(varies, self.spread, 1.0)
        per_channel = tuple(round(float(s), _DECIMALS) if v else None for s, v in zip(share, varies, strict=True))
        return Score("R2", round(float(share[varies].mean()), _DECIMALS), {}, {"R2": per_channel})
