"""Running a float network: what its units' values are on real data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from sim import kernels
from toolchain.netlist import InputError, last_reads, per_channel
from toolchain.network.chunks import SampleTensor, chunks
from toolchain.network.float_network import Activation, Curve, FloatNetwork, Gated, MaxUnit, Output, Source, Unit


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
def reference_outputs(network: FloatNetwork, x: SampleTensor) -> tuple[Tensor, ...]:
    """Return the ANN's outputs (N, ...) on normalised data, one per output unit."""
    parts = [outputs(network, x[part]) for part in chunks(x.shape[0], network.widest)]
    return tuple(torch.cat(o) for o in zip(*parts, strict=True))


def iterate(network: FloatNetwork, x: Tensor, *, keep: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, value) of each unit in topological order.

    A value is dropped once its last reader has been computed, unless `keep`; so a pass over many
    samples holds a few layers at a time.
    """
    for unit, values in _steps(network, x, keep=keep):
        yield unit.name, values[unit.name]


def arguments(network: FloatNetwork, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, what its function takes) of each `Curve` and (name, its gate) of each `Gated`, (N, *shape)."""
    for unit, values in _steps(network, x):
        if isinstance(unit, Curve):
            yield unit.name, arriving(network, unit, values)
        elif isinstance(unit, Gated):
            yield unit.name, _gate(network, unit, values)


def _steps(network: FloatNetwork, x: Tensor, *, keep: bool = False) -> Iterator[tuple[Unit, dict[str, Tensor]]]:
    """Yield each unit once its value is among the values that are held."""
    source = network.source
    if tuple(x.shape[1:]) != source.shape or not x.is_floating_point():
        raise InputError(
            source.name, f"data of shape {tuple(x.shape)} {x.dtype} found, expected (N, {source.shape}), floating point"
        )
    done = last_reads((unit.name for unit in network.units), network.connections)
    values: dict[str, Tensor] = {}
    for unit in network.units:
        values[unit.name] = x if isinstance(unit, Source) else value_of(network, unit, values)
        yield unit, values
        if not keep:
            for name in done[unit.name]:
                del values[name]


def value_of(network: FloatNetwork, unit: Unit, values: dict[str, Tensor]) -> Tensor:
    """Return one unit's value from the values of the units it reads, each (N, *shape)."""
    if isinstance(unit, Source):
        raise TypeError("the source's value is given")
    total = current(network, unit, values)
    if isinstance(unit, Gated):
        return _biased(unit, total) * _gate(network, unit, values)
    return respond(unit, total)


def current(network: FloatNetwork, unit: Unit, values: dict[str, Tensor]) -> Tensor:
    """Return the sum of what the unit's connections deliver, bias and gate left out: (N, *current shape)."""
    gate = unit.gate if isinstance(unit, Gated) else None
    delivered = [
        kernels.apply_chain(c.operators, values[c.source]) for c in network.inputs(unit.name) if c.source != gate
    ]
    if not delivered:
        like = next(iter(values.values()))
        return like.new_zeros(like.shape[0], *unit.shape)
    total = delivered[0]
    for term in delivered[1:]:
        total = total + term
    return total


def _gate(network: FloatNetwork, unit: Gated, values: dict[str, Tensor]) -> Tensor:
    (connection,) = (c for c in network.inputs(unit.name) if c.source == unit.gate)
    return kernels.apply_chain(connection.operators, values[connection.source])


def respond(unit: Activation | Curve | MaxUnit | Output, total: Tensor) -> Tensor:
    """Return the unit's value for a current: bias added, clipped or bent, or the maximum taken."""
    return emit(unit, total if isinstance(unit, MaxUnit) else _biased(unit, total))


def arriving(network: FloatNetwork, unit: Activation | Curve | MaxUnit | Output, values: dict[str, Tensor]) -> Tensor:
    """Return what a unit's function takes: its current, and the bias where it has one, (N, *current shape)."""
    total = current(network, unit, values)
    return total if isinstance(unit, MaxUnit) else _biased(unit, total)


def emit(unit: Activation | Curve | MaxUnit | Output, arrived: Tensor) -> Tensor:
    """Return the unit's value for what arrives at its function: clipped or bent, or the maximum taken."""
    match unit:
        case MaxUnit():
            return _maxima(unit, arrived)
        case Activation():
            return arrived.clamp(0, unit.upper)
        case Curve():
            return unit.function(arrived)
        case Output():
            return arrived


def _biased(unit: Activation | Curve | Gated | Output, total: Tensor) -> Tensor:
    return total + kernels.tensor_like(per_channel(unit.bias, unit.shape), total)


def _maxima(unit: MaxUnit, x: Tensor) -> Tensor:
    x = F.pad(x, [n for pair in reversed(unit.padding) for n in pair], value=float("-inf"))
    for axis, (kernel, stride) in enumerate(zip(unit.kernel, unit.stride, strict=True), start=2):
        x = x.unfold(axis, kernel, stride).amax(-1)
    return x
