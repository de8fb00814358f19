"""How the real value of one payload unit travels through a chain of operators.

The amplitude of a source (Vth per channel, or the input's scale) is folded into the first weighted
operator, per input channel (semantics, section 3): ``W_eff = W * Vth_in``. Until then it has to be
carried through the structural operators in front.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.netlist import (
    Conv,
    ConvTranspose,
    Linear,
    NetlistError,
    Operator,
    Resample,
    Scale,
    Shape,
    SumPool,
    Weighted,
    apply,
    per_channel,
)


def channelwise(where: str, amplitude: np.ndarray) -> np.ndarray:
    """Reduce an amplitude per neuron (C, ...) to one per channel (C,).

    Neurons that never emit (zero padding) carry amplitude 0 and do not count; a channel of nothing else is 0.

    Raises
    ------
    NetlistError
        When neurons of one channel stand for different values: no per-channel fold exists.
    """
    flat = amplitude.reshape(amplitude.shape[0], -1)
    top = flat.max(axis=1)
    if np.any((flat != 0) & (flat != top[:, None])):
        raise NetlistError(
            where,
            "neurons with different thresholds meet in one channel of a shared weight",
            "use one threshold per layer (`threshold_per_layer`)",
        )
    return np.asarray(top)


def through_structure(where: str, operator: Operator, amplitude: np.ndarray, shape: Shape) -> np.ndarray:
    """Carry an amplitude per neuron through an operator without weights.

    Parameters
    ----------
    where : str
        What an error calls it: the connection or the unit.
    operator : Operator
    amplitude : ndarray `shape`, float64
    shape : tuple of int
        Of the neurons in front of the operator.

    Returns
    -------
    ndarray, float64
        Per neuron behind it; 0 where nothing arrives (padding).

    Raises
    ------
    NetlistError
        When the operator sums neurons that stand for different values.
    """
    # A sum over neurons of one channel stands for what each of them does; where windows reach the padding too.
    if isinstance(operator, SumPool | Resample):
        out = operator.output_shape(shape)
        return np.broadcast_to(per_channel(channelwise(where, amplitude), out), out).copy()
    return np.asarray(apply(operator, amplitude, shape))


def fold(where: str, operator: Weighted, amplitude: np.ndarray) -> Weighted:
    """Multiply the weights of `operator` by the amplitude (C_in, ...) of its input, in float64.

    A linear operator has a weight for every neuron and takes an amplitude per neuron; the others share their weights
    over a channel's neurons, which must agree.

    Parameters
    ----------
    where : str
        What an error calls it: the connection.
    operator : Weighted
    amplitude : ndarray (C_in, ...), float64
        0 for neurons that never emit: so are their weights, which would otherwise set the scale of those that matter.

    Raises
    ------
    NetlistError
        When neurons of one channel stand for different values.
    """
    weight = operator.weight.astype(np.float64)
    match operator:
        case Conv():
            c_in = channelwise(where, amplitude).reshape(operator.groups, -1)
            rows = np.repeat(c_in, weight.shape[0] // operator.groups, axis=0)
            return replace(operator, weight=weight * rows.reshape(*rows.shape, *(1 for _ in weight.shape[2:])))
        case ConvTranspose():
            c_in = channelwise(where, amplitude)
            return replace(operator, weight=weight * c_in.reshape(-1, *(1 for _ in weight.shape[1:])))
        case Linear():
            return replace(operator, weight=weight * amplitude)
        case Scale():
            return replace(operator, weight=weight * channelwise(where, amplitude))


def output_channels(operator: Weighted, values: np.ndarray) -> np.ndarray:
    """Broadcast one value per output channel (C_out,) so that it divides or multiplies the weights."""
    weight = operator.weight
    match operator:
        case Conv() | Linear():
            return values.reshape(-1, *(1 for _ in weight.shape[1:]))
        case ConvTranspose():
            per_group = values.reshape(operator.groups, 1, -1)
            rows = np.repeat(per_group, weight.shape[0] // operator.groups, axis=1).reshape(weight.shape[:2])
            return rows.reshape(*rows.shape, *(1 for _ in weight.shape[2:]))
        case Scale():
            return values


def largest_weight(operator: Weighted) -> np.ndarray:
    """Return the greatest magnitude of the weights into each output channel, (C_out,)."""
    magnitude = np.abs(operator.weight)
    match operator:
        case Conv() | Linear():
            return np.asarray(magnitude.reshape(magnitude.shape[0], -1).max(axis=1))
        case ConvTranspose():
            grouped = magnitude.reshape(operator.groups, -1, magnitude.shape[1], int(np.prod(magnitude.shape[2:])))
            return np.asarray(grouped.max(axis=(1, 3)).reshape(-1))
        case Scale():
            return magnitude
