"""How many samples are enough to calibrate a unit on.

Biases and potentials are means, weights a fit: what is estimated of a unit gets no better once the samples say many
times as much as is asked of them. Thresholds are chosen on all, for the rare activation is what they wait for.
"""

from __future__ import annotations

from itertools import accumulate
from math import prod

from toolchain.netlist import Conv, Linear
from toolchain.network import FloatNetwork

#: Samples at the least: a mean error is known to a sixteenth of its deviation from sample to sample.
LEAST = 256
#: Samples' positions for each of the weights that a neuron has, at the least.
POSITIONS_PER_WEIGHT = 8


def enough_samples(network: FloatNetwork, samples: int, *, fitted: bool) -> dict[str, int]:
    """Return on how many samples each unit is calibrated.

    Parameters
    ----------
    network : FloatNetwork
    samples : int
        How many there are.
    fitted : bool
        Whether weights are fitted.
    """

    def enough(name: str) -> int:
        last = [c.operators[-1] for c in network.inputs(name) if c.operators]
        weights = max((o.weight[0].size for o in last if isinstance(o, Conv | Linear)), default=0)
        positions = prod(network[name].shape[1:])
        return min(samples, max(LEAST, -(-POSITIONS_PER_WEIGHT * weights // positions) if fitted else 0))

    return {unit.name: enough(unit.name) for unit in network.units}


def running_samples(network: FloatNetwork, calibrated: dict[str, int]) -> dict[str, int]:
    """Return how many samples run through each unit: as many as it, or any unit behind it, is calibrated on."""
    names = [unit.name for unit in reversed(network.units)]
    return dict(zip(names, accumulate((calibrated[name] for name in names), max), strict=True))
