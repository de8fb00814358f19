"""From a foreign network's real numbers to the integers of a netlist.

Exact where the numbers allow it: weights that are integers, or integer multiples of a power of two, stay as
they are. Otherwise one scale per channel rounds its weights to the width, and the report says by
how much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from toolchain.exchange.loss_report import Loss
from toolchain.netlist import (
    Connection,
    Conv,
    FormatError,
    Linear,
    Operator,
    Scale,
    Shape,
    Weighted,
    per_channel,
)

#: A power of two finer than this is no fixed-point scale of 8 to 16 bits.
FINEST = 24
#: No membrane holds more.
LARGEST = 2**53
#: Threshold and biases among weights in a row reach no more: 1/8 of a membrane of 24 bits.
ROOM = 2**20
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


def to_integers(
    current: RealCurrent, weight_bits: int, *, exactly: bool = False, largest_threshold: int | None = None
) -> IntegerCurrent:
    """Round one population's numbers to integers on a common scale.

    A path without weights delivers integers as they are; on another scale than 1 it takes a factor.

    Parameters
    ----------
    current : RealCurrent
    weight_bits : int
    exactly : bool
        Refuse to round.
    largest_threshold : int, optional
        Choose scales on which thresholds up to this are whole numbers, and weights are rounded all the more.

    Raises
    ------
    FormatError
        When a number must be exact and is not, is too large, or a threshold would vanish.
    """
    top = 2 ** (weight_bits - 1) - 1
    channels = current.shape[0]
    bare = [(source, _merge_factors(operators)) for source, operators in current.paths]
    if not exactly:
        bare = [(source, _fold_scales(operators)) for source, operators in bare]
    paths = [(source, o if _has_weights(o) else (*o, Scale(np.ones(channels)))) for source, o in bare]
    products = [_products(operators, top) for _, operators in paths]
    constants = {name: getattr(current, name) for name in ("bias", "threshold", "initial")}
    constants = {name: values for name, values in constants.items() if values is not None}
    common = 1.0 if exactly else _common_power([*products, *constants.values()], products, top)
    if common == 1.0:
        paths = bare
    if common is not None:
        scale = np.full(channels, common)
    elif current.threshold is not None and not any(_has_weights(operators) for _, operators in bare):
        scale = _closest(current.threshold, top)
    else:
        reach = max(float(np.abs(c).max()) for c in constants.values())
        scale = _coarsest(paths, channels, top, reach)
        if any(sum(isinstance(o, Weighted) for o in operators) > 1 for _, operators in paths):
            # Weights in a row make fine products, and a membrane holds so many of them.
            scale = np.maximum(scale, reach / ROOM)
    if common is None and largest_threshold is not None and current.threshold is not None:
        scale = _on_thresholds(scale, current.threshold, largest_threshold)
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
        if error > 1e-12 * float(np.abs(real).max()):
            losses.append(Loss(current.name, "adafire", f"{what} rounded by up to {error:.3g}"))
        rounded[what] = narrow(whole)
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


def _on_thresholds(scale: np.ndarray, threshold: np.ndarray, largest: int) -> np.ndarray:
    """Return the next coarser scale, (C,), on which each channel's threshold is a whole number."""
    firsts = threshold.reshape(threshold.shape[0], -1)[:, 0]
    whole = np.clip(np.floor(firsts / scale), 1, largest)
    # Below one unit the threshold vanishes beside the weights, which is refused further on.
    return np.asarray(np.where(firsts < scale, scale, firsts / whole))


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
    zero, the number `otherwise` is `top`. Of weights in a row the last is on the scale of what the others leave.
    """
    rows, own = np.zeros(channels), True
    for _, operators in paths:
        largest = np.abs(_products(operators, top))
        own = own and isinstance(operators[-1], Conv | Linear | Scale)
        rows = np.maximum(rows, largest.reshape(channels, -1).max(axis=1) if own else largest.max())
    if not own:
        rows[:] = rows.max()
    rows[rows == 0] = rows.max() or otherwise
    return rows / top


def _step(weight: np.ndarray, top: int) -> float:
    """Return what weights before the last of a path are rounded to: a power of two that is exact, if there is one."""
    return _common_power([weight], [weight], top) or float(np.abs(weight).max()) / top


def _products(operators: tuple[Operator, ...], top: int) -> np.ndarray:
    """Return a path's last weights, times the steps of those before."""
    *before, last = (o.weight for o in operators if isinstance(o, Weighted))
    return np.asarray(last * math.prod(_step(weight, top) for weight in before))


def _fold_scales(operators: tuple[Operator, ...]) -> tuple[Operator, ...]:
    """Multiply factors into the weights next to them, which are then rounded once; integers before others stay."""
    weights = [o.weight for o in operators if isinstance(o, Weighted)]
    if all(np.array_equal(weight, np.rint(weight)) for weight in weights[:-1]):
        return operators
    kept: list[Operator] = []
    for operator in operators:
        match kept[-1] if kept else None, operator:
            case Conv() | Linear() | Scale() as before, Scale(factor):
                kept[-1] = replace(before, weight=before.weight * _along_rows(factor, before.weight))
            case Scale(factor), Linear() as after:
                kept[-1] = replace(after, weight=after.weight * factor)
            case Scale(factor), Conv() as after:
                inputs = factor.reshape(after.groups, -1).repeat(len(after.weight) // after.groups, axis=0)
                kept[-1] = replace(
                    after, weight=after.weight * inputs.reshape(*inputs.shape, *(1 for _ in after.stride))
                )
            case _:
                kept.append(operator)
    return tuple(kept)


def _along_rows(factor: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return factor.reshape(-1, *(1 for _ in weight.shape[1:]))


def narrow(values: np.ndarray) -> np.ndarray:
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
            step = float(left[0]) if uniform else _along_rows(left, operator.weight)
        else:
            step = _step(operator.weight, top)
            left = left / step
        rounded = np.clip(np.rint(operator.weight / step), -top - 1, top)
        worst = max(worst, float(np.abs(rounded * step - operator.weight).max()))
        out[i] = replace(operator, weight=rounded.astype(np.int64))
    if exactly and worst > 0:
        raise FormatError(where, "weights are not integers")
    return tuple(out), worst
