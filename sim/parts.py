"""A layer on a CPU: parts of a batch on all cores, each from the payloads to the bursts while in cache.

Payloads stay channels-last from layer to layer, sample after sample and timestep after timestep:
memory is (N, T, spatial..., C), seen as (T, N, C, spatial...). No part is copied on its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from sim import leaky, scan
from sim.arrange import arrange, pair
from sim.currents import EXACT, Diagonal
from sim.layer import Layer, LayerResult
from sim.threads import for_each, workers
from toolchain.netlist import (
    AdaFire,
    CubaLif,
    Leaky,
    LeakyReadout,
    MaxPool,
    NetlistError,
    Population,
    Readout,
    per_channel,
)

#: Currents of one part of a batch, in bytes: half of a second-level cache of 2 MiB (docs/performance.md).
PART_BYTES = 2**20

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


@dataclass(frozen=True, eq=False)
class Constants:
    """What `sim.scan.fire` and `fire_once` read, channels-last and repeated over a tile of neurons."""

    theta: np.ndarray
    inverse: np.ndarray
    bias: np.ndarray
    initial: np.ndarray
    skip_weight: np.ndarray
    offset: np.ndarray


def has_loops(population: Population, device: torch.device) -> bool:
    """Return whether the compiled loops serve a population: on a CPU, with up to two spatial axes."""
    return device.type == "cpu" and len(population.shape) <= 3


def scan_dtype(population: Population, sums: int, potential: int) -> torch.dtype:
    """Return the float type in which currents and membrane potentials are exact.

    Parameters
    ----------
    population : AdaFire, MaxPool or Readout
    sums : int
        Bound of all partial sums of the currents.
    potential : int
        Bound of the membrane potential.

    Raises
    ------
    NetlistError
        When there is none.
    """
    bias, division = 0, 0
    if isinstance(population, AdaFire | Readout):
        bias = int(np.abs(population.bias).max())
    if isinstance(population, AdaFire):
        # The quotient of sim.scan.fire is exact under this: its notes say why.
        division = 4 * (population.phi + 1) * int(population.threshold.max())
        potential = max(potential, int(np.abs(population.initial).max()))
    for dtype, limit in EXACT.items():
        # u + 0.5 takes a bit more than u. The scan adds skip, current and bias to u one by one: each sum on the way is
        # within that of all magnitudes.
        if 2 * (sums + bias + potential) < limit and division < limit:
            return dtype
    raise NetlistError(population.name, f"membrane potentials reach {sums + bias + potential}, expected at most 2**52")


def scan_constants(population: AdaFire, skip: Diagonal | None, dtype: torch.dtype) -> Constants:
    """Lay a population's constants out for `sim.scan.fire`."""
    shape, kind = population.shape, _NUMPY[dtype]
    channels = shape[0]
    # Constants per channel repeat from pixel to pixel. A tile is a whole number of pixels, so that every tile begins at
    # the first channel and reads the same constants from the start.
    repeats = min(max(1, scan.TILE // channels), prod(shape[1:]))

    def tile(values: np.ndarray) -> np.ndarray:
        if values.shape == (channels,):
            return np.tile(values.astype(kind), repeats)
        return np.ascontiguousarray(np.moveaxis(values, 0, -1).reshape(-1), dtype=kind)

    theta = tile(population.threshold)
    weight = np.zeros(channels) if skip is None else skip.weight
    bias, initial = population.bias, population.initial
    added = bias + initial if bias.shape == initial.shape else per_channel(bias, shape) + per_channel(initial, shape)
    offset = tile(added) + kind(0.5)
    return Constants(theta, kind(1) / theta, tile(bias), tile(initial), tile(weight), offset)


def _channels_last(x: Tensor) -> Tensor:
    """View (T, N, C, spatial...) as it lies in memory: (N, T, spatial..., C), contiguous."""
    return x.transpose(0, 1).movedim(2, -1).contiguous()


def _logical(x: Tensor) -> Tensor:
    """View (N, T, spatial..., C) as (T, N, C, spatial...)."""
    return x.movedim(-1, 2).transpose(0, 1)


def _flat(x: Tensor) -> Tensor:
    """View (N, T, spatial..., C) as a batch of payloads (N * T, C, spatial...)."""
    return x.flatten(0, 1).movedim(-1, 1)


@dataclass(frozen=True, eq=False)
class LoopLayer(Layer):
    """A layer of compiled loops, on a CPU."""

    def _run(self, spikes: Mapping[str, Tensor], length: int, state: Tensor | None, keep_state: bool) -> LayerResult:
        run = _LayerRun(self, spikes, length, state, keep_state)
        clipped = sum(for_each(run.part, run.parts()))
        last = None if run.state is None else run.state.movedim(-1, run.lead)
        return LayerResult(_logical(run.output), clipped, last)

    @cached_property
    def constants(self) -> Constants:
        """What the neuron scan reads."""
        if not isinstance(self.population, AdaFire):
            raise TypeError(f"{self.population.name} does not fire")
        return scan_constants(self.population, self.skip[1] if self.skip else None, self.dtype)

    @cached_property
    def leaky_constants(self) -> list[np.ndarray]:
        """What the scan of leaky neurons reads."""
        if not isinstance(self.population, CubaLif | LeakyReadout):
            raise TypeError(f"{self.population.name} has no decays")
        return leaky.flat_constants(self.population)


class _LayerRun:
    """One call of a layer on a batch."""

    def __init__(
        self, layer: LoopLayer, spikes: Mapping[str, Tensor], length: int, state: Tensor | None, keep_state: bool
    ) -> None:
        self.layer = layer
        self.length = length
        self.spikes = {name: spikes[name] for name in layer.sources}
        self.samples = next(iter(self.spikes.values())).shape[1]
        population = layer.population
        channels, *spatial = population.shape
        dtype = torch.uint8 if population.emits else torch.int64
        self.output = torch.empty((self.samples, length, *spatial, channels), dtype=dtype)
        self.state: Tensor | None = None
        self.resume = state is not None
        # Leaky populations keep a current beside the potential: axes in front of the channels.
        pair_of_states = (2,) if isinstance(population, CubaLif | LeakyReadout) else ()
        self.lead = 1 + len(pair_of_states)
        if state is not None:
            self.state = state.movedim(self.lead, -1).contiguous()
        elif keep_state or pair_of_states:
            # Potentials are whole numbers in the scan's float; sums of payloads stay below 255 * 4096 (MAX_TIMESTEPS).
            kind = {AdaFire: layer.dtype, MaxPool: torch.int32}.get(type(population), torch.int64)
            channels, *spatial = population.current_shape
            shape = (self.samples, *pair_of_states, *spatial, channels)
            # Firing neurons start from their own potential and only write what is here.
            blank = torch.empty if isinstance(population, AdaFire) else torch.zeros
            self.state = blank(shape, dtype=kind)

    def parts(self) -> list[slice]:
        """Cut the batch so that a part's currents stay in cache, and every core gets one.

        Between samples: they do not know of each other, while the timesteps of one go through the scan in order.
        """
        moving = max((s.shape[0] for s in self.spikes.values()), default=1)
        per_sample = self.layer.dtype.itemsize * moving * prod(self.layer.population.current_shape)
        count = max(1, min(PART_BYTES // per_sample, -(-self.samples // workers())))
        return [slice(start, start + count) for start in range(0, self.samples, count)]

    def part(self, part: slice) -> int:
        """Run some samples; return how often a membrane potential was clipped."""
        population = self.layer.population
        state = None if self.state is None else self.state[part]
        match population:
            case AdaFire():
                return self._fire(population, part, state)
            case Readout():
                self._accumulate(population, part, state)
            case MaxPool():
                self._pool(population, part, state)
            case CubaLif() | LeakyReadout():
                return self._leak(population, part, state)
        return 0

    def _current(self, part: slice) -> Tensor:
        """Sum the currents of some samples: (n, T or 1, spatial..., C), contiguous, in the layer's type."""
        total: Tensor | None = None
        for name, current in self.layer.currents:
            payload = _channels_last(self.spikes[name][:, part])
            value = current(_flat(payload), payload.shape[1]).to(self.layer.dtype).movedim(1, -1)
            value = value.reshape(*payload.shape[:2], *value.shape[1:])
            # A held current is added to one that moves, which has room for all timesteps. Both hold exact integers.
            if total is None:
                total = value
            elif total.shape[1] < value.shape[1]:
                total = value.add_(total)
            else:
                total = total.add_(value)
        if total is None:
            raise NetlistError(self.layer.population.name, "no connection delivers a current")
        return total.contiguous()

    def _fire(self, population: AdaFire, part: slice, state: Tensor | None) -> int:
        layer, constants = self.layer, self.layer.constants
        current = self._current(part)
        samples = current.shape[0]
        if layer.skip is None:
            skip = np.empty((samples, 0, 1), np.uint8)
        else:
            name, diagonal = layer.skip
            payload = _channels_last(self.spikes[name][:, part])
            moved = arrange(diagonal.before, _flat(payload)).movedim(1, -1).contiguous()
            skip = moved.reshape(*payload.shape[:2], -1).numpy()
        if self.length == 1 and state is None and layer.limit is None:
            output = self.output[part].flatten(1).numpy()
            once = skip.reshape(samples, -1), constants.skip_weight, constants.inverse, constants.offset
            scan.fire_once(current.flatten(1).numpy(), *once, population.phi, output)
            return 0
        potential = np.empty((0, 1), constants.theta.dtype) if state is None else state.flatten(1).numpy()
        clipped: int = scan.fire(
            current.flatten(2).numpy(),
            skip,
            constants.skip_weight,
            constants.theta,
            constants.inverse,
            constants.bias,
            constants.initial,
            potential,
            self.resume,
            population.phi,
            float(layer.limit or 0),
            self.output[part].flatten(2).numpy(),
        )
        return clipped

    def _accumulate(self, population: Readout, part: slice, state: Tensor | None) -> None:
        bias = population.bias
        if bias.shape == population.shape:
            bias = np.moveaxis(bias, 0, -1)
        step = self._current(part).to(torch.int64) + torch.from_numpy(np.ascontiguousarray(bias, dtype=np.int64))
        output = self.output[part]
        torch.cumsum(step.expand(step.shape[0], self.length, *step.shape[2:]), 1, out=output)
        if state is not None:
            output += state.unsqueeze(1)
            state.copy_(output[:, -1])

    def _pool(self, population: MaxPool, part: slice, state: Tensor | None) -> None:
        payload = self._current(part)
        total = torch.zeros((payload.shape[0], *payload.shape[2:]), dtype=torch.int32) if state is None else state
        output = self.output[part]
        if len(population.kernel) == 1:
            payload, total, output = payload.unsqueeze(2), total.unsqueeze(1), output.unsqueeze(2)
        scan.grow_maxima(
            payload.numpy(),
            total.numpy(),
            pair(population.kernel, 1),
            pair(population.stride, 1),
            pair(tuple(before for before, _ in population.padding), 0),
            output.numpy(),
        )

    def _leak(self, population: Leaky, part: slice, state: Tensor | None) -> int:
        assert state is not None
        limited: int = leaky.scan(
            self._current(part).flatten(2).numpy(),
            *self.layer.leaky_constants,
            leaky.ending(population),
            state.flatten(2).numpy(),
            self.output[part].flatten(2).numpy(),
        )
        return limited
