"""One population with its incoming connections, run over all timesteps of a batch in one call.

A layer needs no netlist: calibration and search change one population at a time and run only that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sim import steps
from sim.currents import Current, Diagonal, Source, compile_arranged, compile_current, compile_diagonal
from sim.parts import Constants, LayerResult, run_parts, scan_constants, scan_dtype, uses_loops
from sim.processor import exact_arithmetic
from toolchain.netlist import (
    AdaFire,
    Connection,
    Input,
    InputError,
    MaxPool,
    NetlistError,
    Population,
    Readout,
    bound_membrane,
)

__all__ = ["Layer", "LayerResult", "compile_layer"]


@dataclass(frozen=True, eq=False)
class Layer:
    """A compiled population: see `compile_layer`.

    Parameters
    ----------
    population : AdaFire, MaxPool or Readout
    currents : sequence of (source name, Current)
        Connections that deliver a current.
    skip : (source name, Diagonal) or None
        A connection that the neuron scan multiplies itself.
    timesteps : int
        T, of a whole run.
    limit : int or None
        Where the membrane saturates; None where the bound shows that it cannot.
    dtype : torch.dtype
        Carries the sum of all currents and the membrane potential exactly.
    device : torch.device
    """

    population: AdaFire | MaxPool | Readout
    currents: Sequence[tuple[str, Current]]
    skip: tuple[str, Diagonal] | None
    timesteps: int
    limit: int | None
    dtype: torch.dtype
    device: torch.device

    def run(
        self,
        spikes: Mapping[str, Tensor],
        *,
        state: Tensor | None = None,
        timesteps: int | None = None,
        keep_state: bool = False,
    ) -> LayerResult:
        """Take a batch through the layer.

        Parameters
        ----------
        spikes : mapping of str to Tensor (T, N, *shape), uint8 or int8
            Payloads of each source. A first axis of 1 is a *held* payload, the same at every
            timestep (direct coding): its current is computed once.
        state : Tensor, optional
            As a previous call returned it; the state before the first timestep by default.
        timesteps : int, optional
            Steps to run; the layer's own number by default.
        keep_state : bool
            Whether the result holds the state.

        Returns
        -------
        LayerResult

        Raises
        ------
        InputError
            When a source's payloads have another number of timesteps.
        """
        length = timesteps or self.timesteps
        for name in self.sources:
            if spikes[name].shape[0] not in (1, length):
                raise InputError(
                    name, f"{spikes[name].shape[0]} timesteps of spikes found, expected {length}, or 1 if held"
                )
        with exact_arithmetic():
            if uses_loops(self.population, self.device):
                return run_parts(self, spikes, length, state, keep_state)
            return self._run_plain(spikes, length, state)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the populations whose payloads it reads."""
        return (*(name for name, _ in self.currents), *([self.skip[0]] if self.skip else []))

    @cached_property
    def constants(self) -> Constants:
        """What the neuron scan reads."""
        if not isinstance(self.population, AdaFire):
            raise TypeError(f"{self.population.name} does not fire")
        return scan_constants(self.population, self.skip[1] if self.skip else None, self.dtype)

    def _run_plain(self, spikes: Mapping[str, Tensor], length: int, state: Tensor | None) -> LayerResult:
        """Run in plain torch, on any device."""
        currents = []
        for name, current in self.currents:
            payload = spikes[name]
            value = current(payload.flatten(0, 1)).to(torch.int64)
            currents.append(value.reshape(*payload.shape[:2], *value.shape[1:]))
        total = sum(currents[1:], start=currents[0])
        match self.population:
            case AdaFire():
                output, last, clipped = steps.fire(self.population, total, length, self.limit, state)
                return LayerResult(output, clipped, last)
            case Readout():
                output = steps.accumulate(self.population, total, length, state)
                return LayerResult(output, 0, output[-1])
            case MaxPool():
                output, last = steps.grow_maxima(self.population, total, length, state)
                return LayerResult(output, 0, last)


def _emitting(population: Population) -> Source:
    if isinstance(population, Readout):
        raise NetlistError(population.name, "a readout emits no payload")
    return population


def compile_layer(
    population: Population,
    connections: Sequence[Connection],
    sources: Mapping[str, Population],
    membrane_limit: int,
    timesteps: int,
    device: str | torch.device = "cpu",
) -> Layer:
    """Prepare a population and the connections into it to run.

    Parameters
    ----------
    population : AdaFire, MaxPool or Readout
    connections : sequence of Connection
        All of its incoming connections.
    sources : mapping of str to Population
        At least the populations that the connections come from.
    membrane_limit : int
        Magnitude at which the membrane saturates (`Netlist.membrane_limit`).
    timesteps : int
        T, the longest run: the saturation bound holds for it.
    device : str or torch.device
        Where the payloads will be.

    Returns
    -------
    Layer

    Raises
    ------
    NetlistError
        When nothing reaches the population, or its sums are too large for exact arithmetic.
    """
    if isinstance(population, Input):
        raise NetlistError(population.name, "an input is not a layer")
    if not connections:
        raise NetlistError(population.name, "no connection reaches it")
    place = torch.device(device)
    fed = [(c, _emitting(sources[c.source])) for c in connections]
    loops = uses_loops(population, place)
    if loops and isinstance(population, MaxPool) and len(fed) == 1 and (bytes_only := compile_arranged(*fed[0])):
        return Layer(population, [(fed[0][1].name, bytes_only)], None, timesteps, None, torch.uint8, place)
    skip: tuple[str, Diagonal] | None = None
    currents: list[tuple[str, Current]] = []
    for connection, source in fed:
        # One residual identity is left to the neuron scan, which needs some other current to add it to.
        if loops and isinstance(population, AdaFire) and skip is None and len(fed) > 1:
            diagonal = compile_diagonal(connection, source)
            if diagonal is not None and (currents or connection is not connections[-1]):
                skip = (connection.source, diagonal)
                continue
        currents.append((connection.source, compile_current(connection, source, plain=not loops)))
    potential, limit = 0, None
    if isinstance(population, AdaFire):
        potential = bound_membrane(population, fed, timesteps).magnitude
        limit = membrane_limit if potential > membrane_limit else None
    sums = sum(c.bound for _, c in currents) + (skip[1].bound if skip else 0)
    dtype = scan_dtype(population, sums, potential if limit is None else limit)
    return Layer(population, currents, skip, timesteps, limit, dtype, place)
