"""Gates: how far a closed population is held down, and the connection that does it.

`toolchain.netlist.membrane_bound` gives an interval [low, high] with every potential before firing, at
every timestep. It also holds what a closed neuron has gathered, ``rest + bias + part of the current``: each
payload range contains 0, so that the spikes that have arrived so far make up payloads that the bound allows
for. Closed, the potential so lies in [low - G, high - G], which is silent where ``high - G < theta``; the
least G for all neurons of a population is ``high - min(theta) + 1``, or 0 where none can ever fire. Open,
it lies in [low, high]: firing leaves what is negative, and takes what is not no lower than 0. No potential
is larger than ``max(G - low, high)``, the *reach*; where a membrane holds that, nothing saturates, neither
here nor in the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hw_targets.unroll.digits import digits
from toolchain.netlist import (
    AdaFire,
    Connection,
    Input,
    Linear,
    Netlist,
    Operator,
    Readout,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
    TargetError,
    membrane_bound,
    per_channel,
)
from toolchain.netlist.shapes import size


@dataclass(frozen=True)
class Gate:
    """What holds a population back until its timestep is complete.

    Parameters
    ----------
    height : int
        G, taken off the membrane potential while closed.
    reach : int
        Greatest magnitude of the potential, open or closed.
    """

    height: int
    reach: int


def gate_heights(netlist: Netlist) -> dict[str, Gate]:
    """Return the gate of each AdaFire population: just above every potential that can occur."""
    gates = {}
    for population in netlist.populations:
        if isinstance(population, AdaFire):
            # One timestep more than the run has: the last close adds a bias that nothing uses.
            bound = membrane_bound(netlist, population.name, netlist.timesteps + 1)
            low, high = int(bound.low.min()), int(bound.high.max())
            height = max(high - int(population.threshold.min()) + 1, 0)
            gates[population.name] = Gate(height, max(height - low, high))
    return gates


def gate_overflows(
    netlist: Netlist, gates: Mapping[str, Gate], membrane_bits: Mapping[str, int]
) -> Iterator[TargetError]:
    """Yield an error for each population whose potentials, gated, do not fit its membrane."""
    for name, gate in gates.items():
        bits = min(membrane_bits.get(name, netlist.membrane_bits), netlist.membrane_bits)
        limit = 2 ** (bits - 1) - 1
        if gate.reach > limit:
            yield TargetError(
                name,
                f"unrolled potentials can reach {gate.reach}, a membrane of {bits} bits holds +-{limit}",
                "use fewer weight bits, a lower `phi` or fewer `timesteps`",
            )


def gate_count(population: AdaFire | Readout) -> int:
    """Return how many binary inputs gate a population: open and close, or a readout's bias."""
    return 1 if isinstance(population, Readout) else 2


def gate_connection(
    population: AdaFire | Readout, inputs: Input, bit_channels: int, first: int, height: int, weight_bits: int
) -> Connection:
    """Connect a population to its gates.

    Parameters
    ----------
    population : AdaFire or Readout
    inputs : Input
        The binary input: bits of the payload, then gates, in C order.
    bit_channels : int
        How many of its channels are bits.
    first : int
        Number of the population's first gate.
    height : int
        G; of no meaning for a readout.
    weight_bits : int
    """
    bias = per_channel(population.bias, population.shape)
    flat = bias.reshape(-1).astype(np.int64)
    if isinstance(population, AdaFire):
        # Columns are open, close: close brings the bias of the next timestep along.
        currents = np.stack([np.full_like(flat, height), flat - height], axis=1)
    else:
        currents = flat[:, np.newaxis]
    gate_channels, space = inputs.shape[0] - bit_channels, inputs.shape[1:]
    operators: list[Operator] = [
        Slice(0, bit_channels, inputs.shape[0]),
        Reshape((gate_channels * size(space),)),
        Slice(0, first, first + currents.shape[1]),
        *_wide_linear(currents, weight_bits),
    ]
    if bias.size > population.shape[0] or len(population.shape) == 1:
        operators.append(Reshape(population.shape))
    else:
        # One current per channel: a column of ones repeats it along each axis.
        repeat = Resample(tuple(np.ones((n, 1), np.int64) for n in population.shape[1:]))
        operators += [Reshape((flat.size, *(1 for _ in population.shape[1:]))), repeat]
    return Connection(inputs.name, population.name, tuple(operators))


def _wide_linear(matrix: np.ndarray, weight_bits: int) -> list[Operator]:
    """Return operators that multiply by a matrix of any integers (out, in), with weights that fit.

    The matrix is ``sum(digit[k] * base**k)``. One `Linear` holds the digits on top of each other, the
    k-th scale multiplies the rows of digit k and of those above by the base, so that digit k gets
    base**k in all, and a sum pooling adds the digits of each row up.
    """
    base, found = digits(matrix, weight_bits)
    count, rows = len(found), len(matrix)
    place = np.arange(count * rows) // rows
    operators: list[Operator] = [Linear(np.concatenate(found))]
    operators += [Scale(np.where(place >= k, base, 1)) for k in range(1, count)]
    if count > 1:
        operators += [Reshape((1, count, rows)), SumPool((count, 1), (count, 1), ((0, 0), (0, 0)))]
    return operators
