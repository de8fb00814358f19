"""Which readout labels judge, what it decides, and how sure an accuracy is."""

from __future__ import annotations

from math import sqrt

import numpy as np

from toolchain.data import Dataset
from toolchain.netlist import AnyReadout, InputError, Netlist, Shape

#: Standard deviations of a normal distribution that 95 % of it lie within.
_WITHIN = 1.959964


def scored_readout(netlist: Netlist, readout: str | None = None) -> AnyReadout | None:
    """Return the readout that labels judge: the named one, or the only one; None where there is no such.

    Raises
    ------
    InputError
        When no readout has that name, or it is no list of classes.
    """
    if readout is None:
        return netlist.classifier
    found = {r.name: r for r in netlist.readouts}.get(readout)
    if found is None:
        raise InputError("readout", f"{readout!r} found, expected one of {', '.join(r.name for r in netlist.readouts)}")
    if len(found.shape) != 1:
        raise InputError("readout", f"{readout!r} of shape {found.shape} found, accuracy needs a list of classes")
    return found


def why_unscored(netlist: Netlist, data: Dataset, readout: str | None = None) -> str | None:
    """Say why there is no accuracy; None where there is one."""
    if data.labels is None:
        return "no labels"
    if scored_readout(netlist, readout) is not None:
        return None
    if len(netlist.readouts) > 1:
        names = ", ".join(r.name for r in netlist.readouts)
        return f"labels not scored: name the readout that they are for, one of {names}"
    return f"labels not scored: a readout of shape {netlist.readouts[0].shape} is no list of classes"


def classes(shape: Shape) -> int:
    """Return how many classes a list of logits decides on: a single logit on two."""
    return max(2, shape[0])


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


def interval_text(share: float, samples: int) -> str:
    """Return the interval of an accuracy in words."""
    low, high = interval(share, samples)
    return f"95 % interval {low:.2%} to {high:.2%}"


def accuracy_text(share: float, samples: int) -> str:
    """Return an accuracy with its interval."""
    return f"{share:.2%} ({interval_text(share, samples)})"
