"""A function of one variable as a sum of clipped pieces, of least squared error on the values that it takes.

    f(x) ~ constant + sum over k of gain_k * clip(sign_k * (x - start_k), 0, width_k)

is a line through K + 1 knots, level beyond them, and each piece what a population does that saturates at its width. The
values at the knots are the solution of a linear least-squares problem; the knots are moved, from several starts, as
long as that lowers the error. Good knots lie dense where values are frequent and the function bends: of piecewise
linear interpolation the error is least where their density goes with the 1/5 power of frequency times the square of the
second derivative (de Boor, A Practical Guide to Splines, 1978, chapter XII), which is one of the starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np
import torch

from toolchain.netlist import InputError
from toolchain.network import Function

#: Pieces of a function unless more are asked for.
MOST = 4
#: Relative error (root of the mean squared error over the standard deviation of the function's values) that is small
#: enough: that of some 32 evenly spaced levels on activations, what T * phi = 32 spikes say anyway.
SMALL = 0.03
#: Errors within this factor of the least are as good: rounding, say, is not approximated better by more pieces.
_NEARLY = 1.25
#: Bins of a distribution.
BINS = 2048
#: Share of the weight that is spread evenly over the range: pieces stay sensible where values are rare.
_EVEN = 1e-3
#: How often steps of knots are halved, from a quarter of the range on: to compare starts, then to finish the best.
_COARSE, _FINE = 8, 20
#: Share of values beyond the last knot that do not keep it from going on.
_RARE = 2e-3
#: Relative to their size: by how much values of a constant may differ.
_ROUNDING = 1e-12
#: Pieces that change the function by less of its standard deviation than this are left out.
_NEGLIGIBLE = 2e-3


@dataclass(frozen=True, eq=False)
class Distribution:
    """Values that a function takes.

    Parameters
    ----------
    low, high : float
        The least and the greatest.
    counts : ndarray (BINS,), float64
        Of evenly spaced bins from `low` to `high`.
    """

    low: float
    high: float
    counts: np.ndarray

    @classmethod
    def of(cls, values: torch.Tensor) -> Distribution:
        """Count values, of any shape."""
        low, high = span(float(values.min()), float(values.max()))
        return cls(low, high, count(values, low, high))

    @property
    def bin(self) -> float:
        """Width of a bin."""
        return (self.high - self.low) / BINS

    @property
    def values(self) -> np.ndarray:
        """Centre of every bin, (BINS,) float64."""
        return np.asarray(self.low + (np.arange(BINS) + 0.5) * self.bin)


def span(low: float, high: float) -> tuple[float, float]:
    """Return the range from the least to the greatest of some values; of equal ones, one that is not empty."""
    return low, high if high > low else low + 1.0


def count(values: torch.Tensor, low: float, high: float) -> np.ndarray:
    """Count values in evenly spaced bins between `low` and `high`, (BINS,) float64."""
    return torch.histc(values.double(), BINS, low, high).numpy()


@dataclass(frozen=True)
class Piece:
    """``gain * clip(sign * (x - start), 0, width)``; a width of ``inf`` goes on for ever."""

    gain: float
    start: float
    sign: int
    width: float


@dataclass(frozen=True)
class Pieces:
    """A function as a sum of pieces.

    Parameters
    ----------
    constant : float
    pieces : tuple of Piece
    error : float
        On the distribution that they were fitted to: root of the mean squared error, over the standard deviation of the
        function's values.
    """

    constant: float
    pieces: tuple[Piece, ...]
    error: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the sum at `x`, float64, in its shape."""
        total = np.full(np.shape(x), self.constant)
        for p in self.pieces:
            total += p.gain * np.clip(p.sign * (x - p.start), 0, p.width)
        return total


def fit(
    where: str, function: Function, data: Distribution, *, pieces: int | None = None, rising: bool = False
) -> Pieces:
    """Fit pieces to a function.

    Parameters
    ----------
    where : str
        The unit, for errors.
    function : Function
    data : Distribution
    pieces : int, optional
        At most so many; by default as few as make the error `SMALL`, or nearly as small as `MOST` of them do.
    rising : bool
        Whether every piece must rise with x: what a maximum may go through.

    Raises
    ------
    InputError
        When the function is not finite on the values.
    """
    x = data.values
    y = function(torch.from_numpy(x)).double().numpy()
    used = data.counts > 0
    if not np.all(np.isfinite(y[used])):
        raise InputError(
            where,
            f"{function} is not finite between {data.low:g} and {data.high:g}, where its values lie",
            "keep its values where it is defined",
        )
    x, y, weight = x[used], y[used], data.counts[used] / data.counts.sum()
    weight = (1 - _EVEN) * weight + _EVEN / weight.size
    problem = _Problem(x, y, weight, data, rising)
    if np.ptp(y) <= _ROUNDING * np.abs(y).max():
        return Pieces(float(y[0]), (), 0.0)
    if pieces is not None:
        return problem.pieces(problem.knots(pieces), function)
    tried: list[Pieces] = []
    for count in range(1, MOST + 1):
        tried.append(problem.pieces(problem.knots(count), function))
        if tried[-1].error <= SMALL:
            return tried[-1]
    least = min(t.error for t in tried)
    return next(t for t in tried if t.error <= _NEARLY * least)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Values x (B,), increasing, the function there and how much they count."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    data: Distribution
    rising: bool

    @property
    def spread(self) -> float:
        """Standard deviation of the function's values."""
        return float(np.sqrt(self.weight @ (self.y - self.weight @ self.y) ** 2))

    def solve(self, knots: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the values at the knots (K + 1,) and the mean squared error."""
        hats = np.stack([np.interp(self.x, knots, row) for row in np.eye(knots.size)], axis=1)
        weighted = hats * self.weight[:, None]
        gram = weighted.T @ hats
        gram[np.diag_indices_from(gram)] += 1e-12 * np.trace(gram) + 1e-300
        values = np.linalg.solve(gram, weighted.T @ self.y)
        if self.rising:
            values = np.maximum.accumulate(values)
        return values, float(self.weight @ (self.y - hats @ values) ** 2)

    def _starts(self, count: int) -> Iterator[np.ndarray]:
        low, high = self.data.low, self.data.high
        at = np.linspace(0, 1, count + 1)
        yield low + at * (high - low)
        cumulative = np.cumsum(self.weight)
        yield np.interp(at, cumulative / cumulative[-1], self.x)
        if self.x.size > 4:
            bend = np.gradient(np.gradient(self.y, self.x), self.x)
            dense = np.cumsum((self.weight * bend**2 + 1e-12) ** 0.2)
            yield np.interp(at, dense / dense[-1], self.x)

    def knots(self, count: int) -> np.ndarray:
        """Return the knots of `count` pieces with the least error that was found."""
        found = [self._moved(self._apart(start), 0, _COARSE) for start in self._starts(count)]
        best = min(found, key=lambda knots: self.solve(knots)[1])
        return self._moved(best, _COARSE, _FINE)

    def _apart(self, knots: np.ndarray) -> np.ndarray:
        """Move knots that coincide apart, by a bin at least."""
        least = knots[0] + self.data.bin * np.arange(knots.size)
        return np.maximum(knots, least)

    def _moved(self, knots: np.ndarray, first: int, last: int) -> np.ndarray:
        """Move one knot at a time, by steps that are halved, as long as the error gets less."""
        reach = self.data.high - self.data.low
        _, error = self.solve(knots)
        for halvings in range(first, last):
            step = reach / 4 / 2**halvings
            improving = True
            while improving:
                improving = False
                for index in range(knots.size):
                    for moved in (knots[index] - step, knots[index] + step):
                        below = knots[index - 1] if index else self.data.low - self.data.bin
                        above = knots[index + 1] if index + 1 < knots.size else self.data.high + self.data.bin
                        if not below + self.data.bin <= moved <= above - self.data.bin:
                            continue
                        tried = knots.copy()
                        tried[index] = moved
                        _, found = self.solve(tried)
                        if found < error * (1 - 1e-6):
                            knots, error, improving = tried, found, True
        return knots

    def pieces(self, knots: np.ndarray, function: Function) -> Pieces:
        """Return the line through knots as pieces, each in the direction in which it is silent more."""
        values, _ = self.solve(knots)
        open_left, open_right = self._open(knots, values, function)
        constant, found = float(values[0]), []
        for k, (start, stop) in enumerate(pairwise(knots)):
            width, change = float(stop - start), float(values[k + 1] - values[k])
            if abs(change) < _NEGLIGIBLE * self.spread:
                constant += change / 2
                continue
            gain = change / width
            emitted = float(self.weight @ np.clip(self.x - start, 0, width))
            onward = open_right and k == knots.size - 2
            if self.rising or onward or not (emitted > width / 2 or (open_left and k == 0)):
                found.append(Piece(gain, float(start), 1, inf if onward else width))
            else:
                constant += change
                found.append(Piece(-gain, float(stop), -1, inf if open_left and k == 0 else width))
        sum_of = Pieces(constant, tuple(found), 0.0)
        squares = float(self.weight @ (sum_of(self.x) - self.y) ** 2)
        return Pieces(constant, tuple(found), float(np.sqrt(squares)) / self.spread)

    def _open(self, knots: np.ndarray, values: np.ndarray, function: Function) -> tuple[bool, bool]:
        """Return whether the function goes on like the first and like the last piece where the values end."""
        further = (self.data.high - self.data.low) / 4

        def goes_on(end: int, inner: int, direction: int) -> bool:
            if self.weight[direction * (self.x - knots[end]) > 0].sum() > _RARE:
                return False
            slope = (values[end] - values[inner]) / (knots[end] - knots[inner])
            beyond = knots[end] + direction * further
            there = float(function(torch.tensor([beyond], dtype=torch.float64)))
            return bool(abs(there - values[end] - slope * direction * further) < abs(there - values[end]))

        return goes_on(0, 1, -1), goes_on(-1, -2, 1)
