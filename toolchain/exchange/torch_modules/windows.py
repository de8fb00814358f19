"""A netlist in radix code as one stateful module: a digit per call, a window per layer.

Within a call there is no delay, as in the other modules of this package. A neuron that fires has its number with the
last digit of a window, and sends it in the next window; so layers follow each other window by window, whoever skips
some waits for as many, and the answer of a picture is there after `calls` calls. The next picture begins K calls later.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sim.steps import maxima
from toolchain.exchange.torch_modules.synapses import synapse_layers
from toolchain.netlist import (
    AdaFire,
    Connection,
    Input,
    MaxPool,
    Netlist,
    Population,
    Readout,
    UnsupportedError,
    per_channel,
    window_offset,
)

#: By name: calls so far, potentials and numbers of neurons, sums of the others, what waits on a connection.
State = dict[str, Tensor]


class WindowCell(nn.Module):
    """One timestep of a netlist in radix code (semantics, section 10); integers travel in float64.

    Parameters
    ----------
    netlist : Netlist
        In radix code, with one readout.

    Examples
    --------
    >>> cell, state = WindowCell(netlist), None
    >>> for _ in range(cell.calls):
    ...     total, state = cell(payload, state)
    """

    def __init__(self, netlist: Netlist) -> None:
        super().__init__()
        if len(netlist.readouts) != 1:
            names = ", ".join(p.name for p in netlist.readouts)
            raise UnsupportedError("netlist", f"readouts {names} found, and a module returns one value")
        if netlist.radix is None:
            raise UnsupportedError("netlist", "rates found, expected radix code", "use NetlistCell")
        self.netlist, self.radix = netlist, netlist.radix
        self.synapses = nn.ModuleList(synapse_layers(c, netlist[c.source]) for c in netlist.connections)
        self.windows: dict[str, int] = {}
        self._sends: dict[str, int] = {}
        for population in netlist.populations:
            name = population.name
            self.windows[name] = max((self._sends[c.source] for c in netlist.inputs(name)), default=0)
            self._sends[name] = self.windows[name] + isinstance(population, AdaFire)

    @property
    def calls(self) -> int:
        """Calls from the first one with a picture to its answer, both counted."""
        return (self.windows[self.netlist.readouts[0].name] + 1) * self.radix.digits

    def forward(self, payload: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Advance by one timestep.

        Parameters
        ----------
        payload : Tensor (N, *input shape)
            Integers in any type, the same in all calls of a window.
        state : dict of str to Tensor, optional
            None before the first timestep.

        Returns
        -------
        what the readout holds (N, classes) float64, next state
        """
        before = state or {}
        call = int(before["calls"]) if before else 0
        digit = call % self.radix.digits
        whole = payload.double() if digit == self.radix.digits - 1 else torch.zeros_like(payload, dtype=torch.float64)
        emitted, after = {self.netlist.input.name: whole}, {"calls": torch.tensor(call + 1)}
        for population in self.netlist.populations[1:]:
            current = self._current(population, emitted, before, after)
            held = before.get(population.name)
            # A window begins with nothing.
            total = current if held is None or digit == 0 else self.radix.base * held + current
            emitted[population.name] = self._advance(population, total, digit, before, after)
        return emitted[self.netlist.readouts[0].name], after

    def _current(self, population: Population, emitted: State, before: State, after: State) -> Tensor:
        """Sum the currents of all connections, each after the windows that it skips."""
        assert not isinstance(population, Input)
        first = next(iter(emitted.values()))
        total = first.new_zeros((len(first), *population.current_shape))
        for index, connection in enumerate(self.netlist.connections):
            if connection.target == population.name:
                arrived = self._waited(connection, f"connection {index}", emitted, before, after)
                total = total + self.synapses[index](arrived)
        return total

    def _waited(self, connection: Connection, key: str, emitted: State, before: State, after: State) -> Tensor:
        payload = emitted[connection.source]
        waits = (self.windows[connection.target] - self._sends[connection.source]) * self.radix.digits
        if not waits:
            return payload
        queue = before.get(key)
        if queue is None:
            queue = payload.new_zeros((waits, *payload.shape))
        after[key] = torch.cat([queue[1:], payload[None]])
        return queue[0]

    def _advance(self, population: Population, total: Tensor, digit: int, before: State, after: State) -> Tensor:
        """Keep what a population holds after a digit, and return what it emits, or a readout holds."""
        name, last = population.name, digit == self.radix.digits - 1
        match population:
            case AdaFire():
                limit = self.netlist.membrane_limit
                offset = torch.from_numpy(window_offset(population)).double() if last else 0
                after[name] = (total + offset).clamp(-limit, limit)
                number = before.get(f"number {name}", torch.zeros_like(total))
                after[f"number {name}"] = self._number(population, after[name]) if last else number
                return torch.floor(number / float(self.radix.places[digit])) % self.radix.base
            case MaxPool():
                after[name] = total
                greatest = maxima(total, population)
                held = before.get(name)
                led = torch.zeros_like(greatest) if held is None or digit == 0 else maxima(held, population)
                return greatest - self.radix.base * led
            case Readout():
                # What is held goes on in the next window from nothing: the bias may stay in it.
                bias = torch.from_numpy(per_channel(population.bias, population.shape)).double()
                after[name] = total + bias if last else total
                return after[name]
        raise UnsupportedError(name, f"{type(population).__name__} takes no digits")

    def _number(self, population: AdaFire, potential: Tensor) -> Tensor:
        # Exact: k - 1/theta, the nearest quotient below k, is a float64 of its own while k * theta < 2**53.
        theta = torch.from_numpy(per_channel(population.threshold, population.shape)).double()
        return torch.floor(potential / theta).clamp(0, self.radix.greatest)
