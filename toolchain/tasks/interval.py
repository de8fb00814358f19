"""How sure a share is that was seen on a few samples."""

from __future__ import annotations

from math import sqrt

from toolchain.netlist import Score

#: Standard deviations of a normal distribution that 95 % of it lie within.
_WITHIN = 1.959964


def interval(share: float, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of a share that was seen on some samples.

    Wilson's score interval: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    J. Am. Stat. Assoc. 22 (1927).

    Examples
    --------
    >>> [round(end, 4) for end in interval(58 / 64, 64)]
    [0.8102, 0.9563]
    """
    spread = _WITHIN**2 / samples
    middle = share + spread / 2
    reach = sqrt(spread * (share * (1 - share) + spread / 4))
    return max(0.0, (middle - reach) / (1 + spread)), min(1.0, (middle + reach) / (1 + spread))


def score_interval(score: Score | None) -> tuple[float, float] | None:
    """Return the 95 % interval of a score; None where it is no share of independent samples.

    Pixels of a picture, points of a cloud and boxes are not independent.
    """
    return None if score is None or score.samples is None else interval(score.value, score.samples)


def interval_text(score: Score) -> str | None:
    """Return the interval of a score in words; None where there is none."""
    ends = score_interval(score)
    return None if ends is None else f"95 % interval {ends[0]:.2%} to {ends[1]:.2%}"


def score_text(score: Score) -> str:
    """Return a score with its interval, where there is one."""
    sure = interval_text(score)
    return f"{score.value:.2%}" + ("" if sure is None else f" ({sure})")
