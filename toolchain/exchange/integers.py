"""From a foreign network's real numbers to the integers of a netlist.

Exact where the numbers allow it: weights that are integers, or integer multiples of a power of two, stay as
they are. Otherwise one scale per channel rounds its weights to the width, and the report says by
how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from toolchain.exchange.loss_report import Loss
from toolchain.netlist import Connection, Conv, FormatError, Linear, Operator, Scale, Shape, Weighted, per_channel

#: A power of two finer than this is no fixed-point scale of 8 to 16 bits.
FINEST = 24
#: No membrane holds more.
LARGEST = 2**53
RESCALE = "scale the network"


@dataclass(frozen=True, eq=False)
class RealCurrent:
    """What reaches one population, in real numbers.

    Parameters
    ----------
    name : str
        The population.
    shape : tuple of int
    paths : tuple of (str, tuple of Operator)
        Source population and operators, weights in float64.
    bias : ndarray `shape`, float64
    threshold, initial : ndarray `shape`, float64; None for a readout
    """

    name: str
    shape: Shape
    paths: tuple[tuple[str, tuple[Operator, ...]], ...]
    bias: np.ndarray
    threshold: np.ndarray | None = None
    initial: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class IntegerCurrent:
    """The same in integers: every real number is the integer times `scale`.

    Parameters
    ----------
    connections : tuple of Connection
    bias : ndarray (C,) or full shape, int64
    threshold, initial : ndarray (C,) and (C,) or full shape, int64; None for a readout
    scale : ndarray (C,), float64
    losses : tuple of Loss
    """

    connections: tuple[Connection, ...]
    bias: np.ndarray
    threshold: np.ndarray | None
    initial: np.ndarray | None
    scale: np.ndarray
    losses: tuple[Loss, ...]


def to_integers(current: RealCurrent, weight_bits: int, *, exactly: bool = False) -> IntegerCurrent:
    """Round one population's numbers to integers on a common scale.

    A path without weights delivers integers as they are; on another scale than 1 it takes a factor.

    Parameters
    ----------
    current : RealCurrent
    weight_bits : int
    exactly : bool
        Refuse to round.

    Raises
    ------
    FormatError
        When a number must be exact and is not, is too large, or a threshold would vanish.
    """
    top = 2 ** (weight_bits - 1) - 1
    channels = current.shape[0]
    bare = [(source, _merge_factors(operators)) for source, operators in current.paths]
    paths = [(source, o if _has_weights(o) else (*o, Scale(np.ones(channels)))) for source, o in bare]
    numbers = [o.weight for _, operators in paths for o in operators if isinstance(o, Weighted)]
    constants = {name: getattr(current, name) for name in ("bias", "threshold", "initial")}
    constants = {name: values for name, values in constants.items() if values is not None}
    common = 1.0 if exactly else _common_power([*numbers, *constants.values()], numbers, top)
    if common == 1.0:
        paths = bare
    if common is not None:
        scale = np.full(channels, common)
    elif current.threshold is not None and not any(_has_weights(operators) for _, operators in bare):
        scale = _closest(current.threshold, top)
    else:
        scale = _coarsest(paths, channels, top, max(float(np.abs(c).max()) for c in constants.values()))
    wide = per_channel(scale, current.shape)
    losses: list[Loss] = []
    connections = []
    for source, operators in paths:
        integers, error = _rounded(current.name, operators, scale, top, exactly=exactly)
        connections.append(Connection(source, current.name, integers))
        if error > 0:
            losses.append(Loss(f"{source}->{current.name}", "adafire", f"weights rounded by up to {error:.3g}"))
    rounded: dict[str, np.ndarray] = {}
    for what, real in constants.items():
        if float(np.abs(real / wide).max()) > LARGEST:
            raise FormatError(current.name, f"{what} {np.abs(real).max():g} is too large beside the weights", RESCALE)
        whole = np.rint(real / wide).astype(np.int64)
        error = float(np.abs(whole * wide - real).max())
        if error > 0 and exactly:
            raise FormatError(current.name, f"{what} is not made of integers")
        if error > 0:
            losses.append(Loss(current.name, "adafire", f"{what} rounded by up to {error:.3g}"))
        rounded[what] = _narrow(whole)
    if "threshold" in rounded and int(rounded["threshold"].min()) < 1:
        raise FormatError(current.name, "a threshold is not positive, or vanishes beside the weights", RESCALE)
    return IntegerCurrent(
        tuple(connections),
        rounded["bias"],
        rounded.get("threshold"),
        rounded.get("initial"),
        scale,
        tuple(losses),
    )


def _has_weights(operators: tuple[Operator, ...]) -> bool:
    return any(isinstance(o, Weighted) for o in operators)


def _closest(threshold: np.ndarray, top: int) -> np.ndarray:
    """Return the scale on which a factor of 1, at most `top`, and a channel's threshold are integers best, (C,).

    No other weight needs to be rounded beside it: the threshold becomes the closest fraction with such a denominator.
    """
    firsts = threshold.reshape(threshold.shape[0], -1)[:, 0]
    return np.array([1 / Fraction(float(t)).limit_denominator(top).denominator for t in firsts])


def _coarsest(
    paths: Sequence[tuple[str, tuple[Operator, ...]]], channels: int, top: int, otherwise: float
) -> np.ndarray:
    """Return the scale on which the largest weight of each channel is `top`, (C,).

    Channels have scales of their own where every path ends in weights whose rows they are. Where all weights are
    zero, the number `otherwise` is `top`.
    """
    ends = [operators[-1] for _, operators in paths if operators]
    rows = np.zeros(channels)
    for end in ends:
        if not isinstance(end, Conv | Linear | Scale):
            largest = max(
                (float(np.abs(o.weight).max()) for _, ops in paths for o in ops if isinstance(o, Weighted)), default=0
            )
            return np.full(channels, (largest or otherwise) / top)
        rows = np.maximum(rows, np.abs(end.weight).reshape(channels, -1).max(axis=1))
    rows[rows == 0] = rows.max() or otherwise
    return rows / top


def _narrow(values: np.ndarray) -> np.ndarray:
    """Return (C,) where all neurons of a channel agree, else the full array."""
    flat = values.reshape(values.shape[0], -1)
    return flat[:, 0].copy() if np.all(flat == flat[:, :1]) else values


def _common_power(numbers: Sequence[np.ndarray], weights: Sequence[np.ndarray], top: int) -> float | None:
    """Return the coarsest power of two that all numbers are multiples of and the weights fit with, or None."""
    for power in range(FINEST + 1):
        scale = 2.0**-power
        if all(np.array_equal(n / scale, np.rint(n / scale)) for n in numbers):
            fits = all(-top - 1 <= float(w.min()) / scale and float(w.max()) / scale <= top for w in weights)
            return scale if fits else None
    return None


def _merge_factors(operators: tuple[Operator, ...]) -> tuple[Operator, ...]:
    """Fold factors that are equal for all channels (average pooling) into the next or last weight."""
    kept: list[Operator] = []
    factor = 1.0
    for operator in operators:
        if isinstance(operator, Scale) and np.all(operator.weight == operator.weight[0]):
            factor *= float(operator.weight[0])
        elif isinstance(operator, Weighted) and factor != 1.0:
            kept.append(replace(operator, weight=operator.weight * factor))
            factor = 1.0
        else:
            kept.append(operator)
    if factor == 1.0:
        return tuple(kept)
    for i, operator in reversed(list(enumerate(kept))):
        if isinstance(operator, Weighted):
            kept[i] = replace(operator, weight=operator.weight * factor)
            return tuple(kept)
    first = next(o for o in operators if isinstance(o, Scale))
    return (replace(first, weight=np.full(first.weight.shape, factor)), *kept)


def _rounded(
    where: str, operators: tuple[Operator, ...], scale: np.ndarray, top: int, *, exactly: bool
) -> tuple[tuple[Operator, ...], float]:
    """Round the weights of a chain whose product is to be on `scale`; return them and the greatest error."""
    weighted = {i: o for i, o in enumerate(operators) if isinstance(o, Weighted)}
    out, worst, left = list(operators), 0.0, scale
    for i, operator in weighted.items():
        step: float | np.ndarray
        if exactly:
            step = 1.0
        elif i == max(weighted):
            uniform = bool(np.all(left == left[0]))
            step = float(left[0]) if uniform else left.reshape(-1, *(1 for _ in operator.weight.shape[1:]))
        else:
            whole = np.array_equal(operator.weight, np.rint(operator.weight))
            step = 1.0 if whole else float(np.abs(operator.weight).max()) / top
            left = left / step
        rounded = np.clip(np.rint(operator.weight / step), -top - 1, top)
        worst = max(worst, float(np.abs(rounded * step - operator.weight).max()))
        out[i] = replace(operator, weight=rounded.astype(np.int64))
    if exactly and worst > 0:
        raise FormatError(where, "weights are not integers")
    return tuple(out), worst
