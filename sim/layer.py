"""One population with its incoming connections, run over all timesteps of a batch in one call.

A layer needs no netlist: calibration and search change one population at a time and run only that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sim.currents import Current, compile_current
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
    per_channel,
)


@dataclass(frozen=True, eq=False)
class LayerResult:
    """What a layer did.

    Parameters
    ----------
    output : Tensor (T, N, *shape)
        Bursts, uint8; of a `Readout` the running sum, int64.
    saturations : int
        How often a membrane potential was clipped.
    state : Tensor (N, *current shape), int64
        Membrane potential, running sum or (max-pooling) cumulative payload after the last
        timestep: pass it to `Layer.run` to go on.
    """

    output: Tensor
    saturations: int
    state: Tensor


@dataclass(frozen=True, eq=False)
class Layer:
    """A compiled population: see `compile_layer`.

    Parameters
    ----------
    population : AdaFire, MaxPool or Readout
    currents : sequence of (source name, Current)
    timesteps : int
        T, of a whole run.
    limit : int or None
        Where the membrane saturates; None where the bound shows that it cannot.
    """

    population: AdaFire | MaxPool | Readout
    currents: Sequence[tuple[str, Current]]
    timesteps: int
    limit: int | None

    def run(
        self, spikes: Mapping[str, Tensor], *, state: Tensor | None = None, timesteps: int | None = None
    ) -> LayerResult:
        """Take a batch through the layer.

        Parameters
        ----------
        spikes : mapping of str to Tensor (T, N, *shape), uint8 or int8
            Payloads of each source. A first axis of 1 is a *held* payload, the same at every
            timestep (direct coding): its current is computed once.
        state : Tensor, optional
            As the previous call returned it; the state before the first timestep by default.
        timesteps : int, optional
            Steps to run; the layer's own number by default.

        Returns
        -------
        LayerResult
        """
        steps = timesteps or self.timesteps
        held, moving = self._currents(spikes, steps)
        match self.population:
            case AdaFire():
                return self._fire(held, moving, steps, state)
            case Readout():
                return self._accumulate(held, moving, steps, state)
            case MaxPool():
                return self._pool(held, moving, steps, state)

    def _currents(self, spikes: Mapping[str, Tensor], steps: int) -> tuple[Tensor | None, Tensor | None]:
        """Sum the currents that are the same at all timesteps (N, ...) and those that are not (T, N, ...)."""
        held: Tensor | None = None
        moving: Tensor | None = None
        for name, current in self.currents:
            payload = spikes[name]
            if payload.shape[0] not in (1, steps):
                raise InputError(name, f"{payload.shape[0]} timesteps of spikes found, expected {steps}, or 1 if held")
            value = current(payload.flatten(0, 1)).to(torch.int64)
            value = value.reshape(*payload.shape[:2], *value.shape[1:])
            if payload.shape[0] == 1:
                held = value[0] if held is None else held + value[0]
            else:
                moving = value if moving is None else moving + value
        return held, moving

    def _at(self, held: Tensor | None, moving: Tensor | None, t: int) -> Tensor:
        if moving is None:
            if held is None:
                raise NetlistError(self.population.name, "no connection reaches it")
            return held
        return moving[t] if held is None else moving[t] + held

    def _constants(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(per_channel(values, self.population.shape), dtype=np.int64))

    def _fire(self, held: Tensor | None, moving: Tensor | None, steps: int, state: Tensor | None) -> LayerResult:
        population = self.population
        assert isinstance(population, AdaFire)
        theta, bias = self._constants(population.threshold), self._constants(population.bias)
        first = self._at(held, moving, 0)
        potential = self._constants(population.initial).expand_as(first) if state is None else state
        output = torch.empty((steps, *first.shape), dtype=torch.uint8)
        saturations = 0
        for t in range(steps):
            potential = potential + self._at(held, moving, t) + bias
            if self.limit is not None:
                clipped = potential.clamp(-self.limit, self.limit)
                saturations += int((clipped != potential).sum())
                potential = clipped
            burst = torch.div(potential, theta, rounding_mode="floor").clamp_(0, population.phi)
            potential = potential - burst * theta
            output[t] = burst
        return LayerResult(output, saturations, potential)

    def _accumulate(self, held: Tensor | None, moving: Tensor | None, steps: int, state: Tensor | None) -> LayerResult:
        assert isinstance(self.population, Readout)
        bias = self._constants(self.population.bias)
        output = torch.stack([self._at(held, moving, t) + bias for t in range(steps)])
        if state is not None:
            output[0] += state
        output = output.cumsum(0)
        return LayerResult(output, 0, output[-1])

    def _pool(self, held: Tensor | None, moving: Tensor | None, steps: int, state: Tensor | None) -> LayerResult:
        population = self.population
        assert isinstance(population, MaxPool)
        total = torch.zeros_like(self._at(held, moving, 0)) if state is None else state
        before = _max_over_windows(total, population)
        output = torch.empty((steps, *before.shape), dtype=torch.uint8)
        for t in range(steps):
            total = total + self._at(held, moving, t)
            after = _max_over_windows(total, population)
            output[t] = after - before
            before = after
        return LayerResult(output, 0, total)


def _max_over_windows(x: Tensor, population: MaxPool) -> Tensor:
    """Maximum over the windows of `population`; `x` is (N, *input_shape), never negative."""
    x = F.pad(x, [n for pair in reversed(population.padding) for n in pair])
    for axis, (kernel, stride) in enumerate(zip(population.kernel, population.stride, strict=True), start=2):
        x = x.unfold(axis, kernel, stride).amax(-1)
    return x


def compile_layer(
    population: Population,
    connections: Sequence[Connection],
    sources: Mapping[str, Population],
    membrane_limit: int,
    timesteps: int,
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
    fed = [(c, sources[c.source]) for c in connections]
    currents = [(c.source, compile_current(c, source)) for c, source in fed]
    limit: int | None = None
    if isinstance(population, AdaFire) and bound_membrane(population, fed, timesteps).magnitude > membrane_limit:
        limit = membrane_limit
    return Layer(population, currents, timesteps, limit)
