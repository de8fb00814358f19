"""Run a float network: the ANN's own activations, unit by unit in forward order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from sim.kernels import apply_chain, tensor_like
from toolchain.netlist.shapes import per_channel
from toolchain.network import Activation, FloatNetwork, MaxUnit, Source


def last_uses(network: FloatNetwork) -> dict[str, int]:
    """Return, per unit, the position of the last unit that reads it (its own if none does)."""
    position = {u.name: i for i, u in enumerate(network.units)}
    last = dict(position)
    for connection in network.connections:
        last[connection.source] = max(last[connection.source], position[connection.target])
    return last


def unit_value(network: FloatNetwork, name: str, values: Mapping[str, Tensor]) -> Tensor:
    """Compute one unit from the values of the units that feed it.

    Parameters
    ----------
    network : FloatNetwork
    name : str
        Not the source.
    values : mapping of str to Tensor (N, *shape)

    Returns
    -------
    Tensor (N, *shape)
        After the activation function.
    """
    unit = network[name]
    currents = (apply_chain(c.operators, values[c.source]) for c in network.inputs(name))
    total = next(currents)
    for current in currents:
        total = total + current
    if isinstance(unit, MaxUnit):
        pad = [n for pair in reversed(unit.padding) for n in pair]
        total = F.pad(total, pad)
        for axis, (kernel, stride) in enumerate(zip(unit.kernel, unit.stride, strict=True), start=2):
            total = total.unfold(axis, kernel, stride).amax(-1)
        return total
    assert not isinstance(unit, Source)
    total = total + tensor_like(per_channel(unit.bias, unit.shape), total)
    return total.clamp(0, unit.upper) if isinstance(unit, Activation) else total


@torch.inference_mode()
def activations(network: FloatNetwork, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield each unit's value in forward order, forgetting what no later unit reads.

    Parameters
    ----------
    network : FloatNetwork
    x : Tensor (N, *source shape)
        Normalised data; its dtype is the dtype of the computation.

    Yields
    ------
    name, value : str, Tensor (N, *shape)
    """
    last = last_uses(network)
    values: dict[str, Tensor] = {}
    for position, unit in enumerate(network.units):
        values[unit.name] = x if isinstance(unit, Source) else unit_value(network, unit.name, values)
        yield unit.name, values[unit.name]
        for name in [n for n in values if last[n] <= position]:
            del values[name]
