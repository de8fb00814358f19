"""A netlist as stateful modules in norse's manner: state in, state out.

Every module is called with a value and a state (None at first) and returns a value and the next state, so that
`norse.torch.SequentialState` and `norse.torch.Lift` take it. Integers travel in float64; the
results are those of the reference simulator, bit for bit.
"""

from __future__ import annotations

import itertools

import norse.torch as norse
import numpy as np
import torch
from torch import Tensor, nn

from sim import steps
from toolchain.exchange.torch_modules.synapses import synapse_layers
from toolchain.exchange.torch_modules.windows import WindowCell
from toolchain.netlist import (
    AdaFire,
    CubaLif,
    Input,
    LeakyReadout,
    MaxPool,
    Netlist,
    Population,
    Readout,
    UnsupportedError,
    per_channel,
)

State = dict[str, Tensor]


class Fire(nn.Module):
    """``n = clip(floor(u / theta), 0, phi)``: the part of a population that emits, for tools that hook it."""

    def __init__(self, population: AdaFire) -> None:
        super().__init__()
        self.phi = population.phi
        self.register_buffer("threshold", _constant(population.threshold, population))
        self.threshold: Tensor

    def forward(self, potential: Tensor) -> Tensor:
        """Return the bursts of membrane potentials (N, *shape)."""
        # Exact: k - 1/theta, the nearest quotient below k, is a float64 of its own while k * theta < 2**53.
        return torch.floor(potential / self.threshold).clamp(0, self.phi)


class AdaFireCell(nn.Module):
    """One timestep of an AdaFire population.

    As in semantics, section 2::

        u <- clip(u + I + bias, -limit, limit);  n <- fire(u);  u <- u - n * theta

    Parameters
    ----------
    population : AdaFire
    limit : int
        Where the membrane potential saturates.
    """

    def __init__(self, population: AdaFire, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.fire = Fire(population)
        self.register_buffer("bias", _constant(population.bias, population))
        self.register_buffer("initial", _constant(population.initial, population))
        self.bias: Tensor
        self.initial: Tensor

    def forward(self, current: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return bursts and membrane potential (N, *shape) for a current (N, *shape)."""
        potential = self.initial if state is None else state
        potential = (potential + current + self.bias).clamp(-self.limit, self.limit)
        burst: Tensor = self.fire(potential)
        return burst, potential - burst * self.fire.threshold


class MaxPoolCell(nn.Module):
    """One timestep of spiking max-pooling; the state is the summed payload, (N, *input shape)."""

    def __init__(self, population: MaxPool) -> None:
        super().__init__()
        self.population = population

    def forward(self, payload: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the growth of the maxima and the state."""
        before = None if state is None else state.long()
        growth, total = steps.grow_maxima(self.population, payload.long()[None], 1, before)
        return growth[0].double(), total.double()


class ReadoutCell(nn.Module):
    """One timestep of a readout; the state, and the output, is the running sum (N, *shape)."""

    def __init__(self, population: Readout) -> None:
        super().__init__()
        self.register_buffer("bias", _constant(population.bias, population))
        self.bias: Tensor

    def forward(self, current: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the running sum, twice."""
        total = current + self.bias + (0 if state is None else state)
        return total, total


class NetlistCell(nn.Module):
    """One timestep of a whole netlist, branches included.

    Parameters
    ----------
    netlist : Netlist
        With one readout.

    Examples
    --------
    >>> cell, state = NetlistCell(netlist), None
    >>> for _ in range(netlist.timesteps):
    ...     running_sum, state = cell(payload, state)
    """

    def __init__(self, netlist: Netlist) -> None:
        super().__init__()
        if len(netlist.readouts) != 1:
            names = ", ".join(p.name for p in netlist.readouts)
            raise UnsupportedError("netlist", f"readouts {names} found, and a module returns one value")
        if netlist.radix is not None:
            raise UnsupportedError("netlist", "digits found, expected rates", "use WindowCell")
        self.netlist = netlist
        # Names of populations may hold dots, which names of modules may not: both go by position.
        self.synapses = nn.ModuleList(synapse_layers(c, netlist[c.source]) for c in netlist.connections)
        self.cells = nn.ModuleList(_cell(p, netlist.membrane_limit) for p in netlist.populations[1:])

    def forward(self, payload: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Advance by one timestep.

        Parameters
        ----------
        payload : Tensor (N, *input shape)
            Integers in any type.
        state : dict of str to Tensor, optional
            By population; None before the first timestep.

        Returns
        -------
        running sum of the readout (N, classes) float64, next state
        """
        netlist, before, after = self.netlist, state or {}, {}
        emitted: State = {netlist.input.name: payload.double()}
        positions = {id(c): i for i, c in enumerate(netlist.connections)}
        for population, cell in zip(netlist.populations[1:], self.cells, strict=True):
            current = payload.new_zeros((len(payload), *_current_shape(population)), dtype=torch.float64)
            for connection in netlist.inputs(population.name):
                current = current + self.synapses[positions[id(connection)]](emitted[connection.source])
            emitted[population.name], after[population.name] = cell(current, before.get(population.name))
        return emitted[netlist.readouts[0].name], after


def to_norse(netlist: Netlist) -> norse.SequentialState:
    """Return a netlist as a norse model: layer by layer where it is one chain, as one cell where it branches.

    In radix code it is one cell too, which takes a window per layer (`WindowCell`).

    Parameters
    ----------
    netlist : Netlist

    Returns
    -------
    norse.torch.SequentialState
        Takes payloads (N, *input shape) and a state, returns the running sum of the readout and
        the next state; one call per timestep.

    Raises
    ------
    UnsupportedError
        When there are several readouts.
    """
    if netlist.radix is not None:
        return norse.SequentialState(WindowCell(netlist))
    populations = netlist.populations
    pairs = [(a.name, b.name) for a, b in itertools.pairwise(populations)]
    if [(c.source, c.target) for c in netlist.connections] != pairs:
        return norse.SequentialState(NetlistCell(netlist))
    layers: list[nn.Module] = [_ToDouble()]
    for connection in netlist.connections:
        layers += synapse_layers(connection, netlist[connection.source])
        layers.append(_cell(netlist[connection.target], netlist.membrane_limit))
    return norse.SequentialState(*layers)


class _ToDouble(nn.Module):
    def forward(self, payload: Tensor) -> Tensor:
        return payload.double()


def _cell(population: Population, limit: int) -> nn.Module:
    match population:
        case AdaFire():
            return AdaFireCell(population, limit)
        case MaxPool():
            return MaxPoolCell(population)
        case Readout():
            return ReadoutCell(population)
        case CubaLif() | LeakyReadout():
            raise UnsupportedError(population.name, "leaky neurons have no cell here", "write NIR, which norse reads")
        case Input():
            raise UnsupportedError(population.name, "an input is no cell")


def _current_shape(population: Population) -> tuple[int, ...]:
    if isinstance(population, Input):
        raise UnsupportedError(population.name, "an input takes no current")
    return population.current_shape


def _constant(values: np.ndarray, population: AdaFire | Readout) -> Tensor:
    """Return integers that broadcast over (N, *shape), in float64."""
    return torch.from_numpy(np.ascontiguousarray(per_channel(values, population.shape), dtype=np.float64))
