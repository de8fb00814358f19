"""Synapses: how many each neuron drives (semantics, section 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toolchain.netlist.graph import Connection
from toolchain.netlist.linear import fan_out


def fan_outs(connections: Sequence[Connection], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return the number of synapses that each neuron drives, summed over its connections."""
    total: dict[str, np.ndarray] = {}
    for connection in connections:
        count = fan_out(connection.operators, shapes[connection.source])
        total[connection.source] = total.get(connection.source, 0) + count
    return total
