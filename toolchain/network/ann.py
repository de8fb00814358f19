"""Running a float network: what its units' values are on real data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from sim import kernels
from toolchain.netlist import InputError, last_reads, per_channel
from toolchain.network.float_network import Activation, FloatNetwork, MaxUnit, Output, Source, Unit

#: Samples of the ANN that run together.
_BATCH = 128


def activations(network: FloatNetwork, x: Tensor) -> dict[str, Tensor]:
    """Return every unit's value, in topological order.

    Parameters
    ----------
    network : FloatNetwork
    x : Tensor (N, *input shape), floating point
        Normalised as the network expects; its dtype is the one computed in.

    Returns
    -------
    dict of str to Tensor (N, *unit shape)

    Raises
    ------
    InputError
        When `x` does not have the input's shape.
    """
    return dict(iterate(network, x, keep=True))


def outputs(network: FloatNetwork, x: Tensor) -> tuple[Tensor, ...]:
    """Return the values of the network's `Output` units, in order; memory of the others is freed."""
    return tuple(v for name, v in iterate(network, x) if isinstance(network[name], Output))


@torch.inference_mode()
def reference_outputs(network: FloatNetwork, x: Tensor) -> tuple[Tensor, ...]:
    """Return the ANN's outputs (N, ...) on normalised data, one per output unit."""
    parts = [outputs(network, x[start : start + _BATCH]) for start in range(0, x.shape[0], _BATCH)]
    return tuple(torch.cat(o) for o in zip(*parts, strict=True))


def iterate(network: FloatNetwork, x: Tensor, *, keep: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, value) of each unit in topological order.

    A value is dropped once its last reader has been computed, unless `keep`; so a pass over many
    samples holds a few layers at a time.
    """
    source = network.source
    if tuple(x.shape[1:]) != source.shape or not x.is_floating_point():
        raise InputError(
            source.name, f"data of shape {tuple(x.shape)} {x.dtype} found, expected (N, {source.shape}), floating point"
        )
    done = last_reads((unit.name for unit in network.units), network.connections)
    values: dict[str, Tensor] = {}
    for unit in network.units:
        values[unit.name] = x if isinstance(unit, Source) else value_of(network, unit, values)
        yield unit.name, values[unit.name]
        if not keep:
            for name in done[unit.name]:
                del values[name]


def value_of(network: FloatNetwork, unit: Unit, values: dict[str, Tensor]) -> Tensor:
    """Return one unit's value from the values of the units it reads, each (N, *shape)."""
    if isinstance(unit, Source):
        raise TypeError("the source's value is given")
    return respond(unit, current(network, unit, values))


def current(network: FloatNetwork, unit: Unit, values: dict[str, Tensor]) -> Tensor:
    """Return the sum of what the unit's connections deliver, without its bias: (N, *current shape)."""
    total: Tensor | None = None
    for connection in network.inputs(unit.name):
        term = kernels.apply_chain(connection.operators, values[connection.source])
        total = term if total is None else total + term
    if total is None:
        like = next(iter(values.values()))
        return like.new_zeros(like.shape[0], *unit.shape)
    return total


def respond(unit: Activation | MaxUnit | Output, total: Tensor) -> Tensor:
    """Return the unit's value for a current: bias added, clipped, or the maximum taken."""
    if isinstance(unit, MaxUnit):
        return _maxima(unit, total)
    biased = total + kernels.tensor_like(per_channel(unit.bias, unit.shape), total)
    return biased.clamp(0, unit.upper) if isinstance(unit, Activation) else biased


def _maxima(unit: MaxUnit, x: Tensor) -> Tensor:
    x = F.pad(x, [n for pair in reversed(unit.padding) for n in pair])
    for axis, (kernel, stride) in enumerate(zip(unit.kernel, unit.stride, strict=True), start=2):
        x = x.unfold(axis, kernel, stride).amax(-1)
    return x
