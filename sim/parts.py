"""A layer on a CPU: parts of a batch on all cores, each from the payloads to the bursts while in cache.

Payloads stay channels-last from layer to layer, sample after sample and timestep after timestep:
memory is (N, T, spatial..., C), seen as (T, N, C, spatial...). No part is copied on its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sim import leaky, memory, scan
from sim.arrange import arrange, pair
from sim.currents import ByteConv, ByteMatrix
from sim.events import EventConv
from sim.layer import Layer, LayerResult
from sim.scan_floats import NUMPY, Constants, scan_constants
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
)

#: Currents of one part of a batch, in bytes: small enough for a core's caches, and large enough that calls cost little
#: (docs/performance.md).
PART_BYTES = 3 * 2**19

#: Axes of (T, N, C, spatial...) as they lie in memory, by how many there are, and back.
_LAST = {axes: (1, 0, *range(3, axes), 2) for axes in range(3, 7)}
_FIRST = {axes: (1, 0, axes - 1, *range(2, axes - 1)) for axes in range(3, 7)}


def has_loops(population: Population, device: torch.device) -> bool:
    """Return whether the compiled loops serve a population: on a CPU, with up to two spatial axes."""
    return device.type == "cpu" and len(population.shape) <= 3


def _channels_last(x: Tensor) -> np.ndarray:
    """View (T, N, C, spatial...) as it lies in memory: (N, T, spatial..., C), contiguous."""
    return np.ascontiguousarray(x.numpy().transpose(_LAST[x.ndim]))


def _logical(x: np.ndarray) -> Tensor:
    """View (N, T, spatial..., C) as (T, N, C, spatial...)."""
    return torch.from_numpy(x.transpose(_FIRST[x.ndim]))


def _batch(x: np.ndarray) -> Tensor:
    """View (n, T, spatial..., C) as a batch of payloads (n * T, C, spatial...)."""
    flat = x.reshape(-1, *x.shape[2:])
    return torch.from_numpy(flat.transpose(0, flat.ndim - 1, *range(1, flat.ndim - 1)))


def _unbatched(x: Tensor, samples: int) -> np.ndarray:
    """View a batch (n * T, C, spatial...), channels-last, as (n, T, spatial..., C)."""
    rows = x.numpy().transpose(0, *range(2, x.ndim), 1)
    return rows.reshape(samples, -1, *rows.shape[1:])


def _cut(part: slice, count: int) -> list[slice]:
    return [slice(start, min(start + count, part.stop)) for start in range(part.start, part.stop, count)]


@dataclass(frozen=True, eq=False)
class LoopLayer(Layer):
    """A layer of compiled loops, on a CPU."""

    def _run(self, spikes: Mapping[str, Tensor], length: int, state: Tensor | None, keep_state: bool) -> LayerResult:
        return _LayerRun(self, spikes, length, state, None, keep_state).result()

    def _go_on(
        self, spikes: Mapping[str, Tensor], length: int, state: Tensor, rows: Tensor, keep_state: bool
    ) -> LayerResult:
        # Where potentials are most of a state, the scan finds the rows by itself.
        if not isinstance(self.population, AdaFire):
            return super()._go_on(spikes, length, state, rows, keep_state)
        return _LayerRun(self, spikes, length, state, rows.numpy(), keep_state).result()

    @cached_property
    def bytes_per_timestep(self) -> int:
        """Size of the currents of one sample at one timestep."""
        return self.dtype.itemsize * prod(self.population.current_shape)

    @cached_property
    def constants(self) -> Constants:
        """What the neuron scan reads."""
        if not isinstance(self.population, AdaFire):
            raise TypeError(f"{self.population.name} does not fire")
        return scan_constants(self.population, self.skip[1] if self.skip else None, self.dtype)

    @cached_property
    def events(self) -> EventConv | None:
        """Where products over events are all that reaches firing neurons, but for a skip: they run in one call."""
        if len(self.currents) != 1 or not isinstance(self.population, AdaFire):
            return None
        ((_, current),) = self.currents
        return current.events if isinstance(current, ByteConv | ByteMatrix) and not current.after else None

    @cached_property
    def leaky_constants(self) -> list[np.ndarray]:
        """What the scan of leaky neurons reads."""
        if not isinstance(self.population, CubaLif | LeakyReadout):
            raise TypeError(f"{self.population.name} has no decays")
        return leaky.flat_constants(self.population)


class _LayerRun:
    """One call of a layer on a batch.

    Arrays, not tensors, wherever no kernel of torch is called: a view of an array takes a tenth of the time, which a
    batch of one pays at every layer.
    """

    def __init__(
        self,
        layer: LoopLayer,
        spikes: Mapping[str, Tensor],
        length: int,
        state: Tensor | None,
        rows: np.ndarray | None,
        keep_state: bool,
    ) -> None:
        self.layer = layer
        self.length = length
        self.payloads = {name: _channels_last(spikes[name]) for name in layer.sources}
        self.samples = len(next(iter(self.payloads.values())))
        population = layer.population
        channels, *spatial = population.shape
        self.output = memory.empty(
            (self.samples, length, *spatial, channels), np.uint8 if population.emits else np.int64
        )
        self.state: np.ndarray | None = None
        self.rows = np.arange(self.samples) if rows is None else rows
        self.resume, self.keep = state is not None, keep_state
        # Leaky populations keep a current beside the potential: axes in front of the channels.
        pair_of_states = (2,) if isinstance(population, CubaLif | LeakyReadout) else ()
        self.lead = 1 + len(pair_of_states)
        if state is not None:
            self.state = np.ascontiguousarray(np.moveaxis(state.numpy(), self.lead, -1))
        elif keep_state or pair_of_states:
            # Potentials are whole numbers in the scan's float; sums of payloads stay below 255 * 4096 (MAX_TIMESTEPS).
            kind = {AdaFire: NUMPY[layer.dtype], MaxPool: np.int32}.get(type(population), np.int64)
            channels, *spatial = population.current_shape
            # Firing neurons start from their own potential and only write what is here.
            blank = memory.empty if isinstance(population, AdaFire) else np.zeros
            self.state = blank((self.samples, *pair_of_states, *spatial, channels), kind)

    def result(self) -> LayerResult:
        """Run all samples."""
        clipped = sum(for_each(self.part, self.parts()))
        last = None
        if self.state is not None and self.keep:
            last = torch.from_numpy(np.moveaxis(self.state, -1, self.lead))
        return LayerResult(_logical(self.output), clipped, last)

    def parts(self) -> list[slice]:
        """Cut the batch so that a part's currents stay in cache, and every core gets one.

        Between samples: they do not know of each other, while the timesteps of one go through the scan in order.
        Layers over events cut parts by themselves.
        """
        count = -(-self.samples // workers())
        if self.layer.events is None:
            count = min(count, self._cached)
        return _cut(slice(0, self.samples), count)

    @property
    def _cached(self) -> int:
        """Samples whose currents stay in cache."""
        moving = max((x.shape[1] for x in self.payloads.values()), default=1)
        return max(1, PART_BYTES // (self.layer.bytes_per_timestep * moving))

    def part(self, part: slice) -> int:
        """Run some samples; return how often a membrane potential was clipped."""
        if self.layer.events is None:
            return self._piece(part)
        clipped = self._fire_over_events(self.layer.events, part)
        return sum(self._piece(piece) for piece in _cut(part, self._cached)) if clipped is None else clipped

    def _piece(self, part: slice) -> int:
        """Run samples whose currents stay in cache."""
        population = self.layer.population
        state = None if self.state is None else self.state[part]
        match population:
            case AdaFire():
                return self._fire(population, part)
            case Readout():
                self._accumulate(population, part, state)
            case MaxPool():
                self._pool(population, part, state)
            case CubaLif() | LeakyReadout():
                return self._leak(population, part, state)
        return 0

    def _current(self, part: slice) -> np.ndarray:
        """Sum the currents of some samples: (n, T or 1, spatial..., C), contiguous, in the layer's type."""
        total: np.ndarray | None = None
        kind = NUMPY[self.layer.dtype]
        for name, current in self.layer.currents:
            payload = self.payloads[name][part]
            value = _unbatched(current(_batch(payload), payload.shape[1]), len(payload)).astype(kind, copy=False)
            # A held current is added to one that moves, which has room for all timesteps. Both hold exact integers.
            if total is None:
                total = value
            elif total.shape[1] < value.shape[1]:
                total = np.add(value, total, out=value)
            else:
                total += value
        if total is None:
            raise NetlistError(self.layer.population.name, "no connection delivers a current")
        return np.ascontiguousarray(total)

    def _skip(self, part: slice) -> np.ndarray:
        """Return the payloads (n, T or 1, M) that the scan multiplies; no timestep where there are none."""
        if self.layer.skip is None:
            return np.empty((part.stop - part.start, 0, 1), np.uint8)
        name, diagonal = self.layer.skip
        payload = self.payloads[name][part]
        if diagonal.before:
            payload = np.ascontiguousarray(_unbatched(arrange(diagonal.before, _batch(payload)), len(payload)))
        return payload.reshape(*payload.shape[:2], -1)

    def _neurons(self, population: AdaFire, part: slice, skip: np.ndarray) -> tuple[Any, ...]:
        """Return what `sim.scan.fire` takes, from `skip` to `limit`."""
        constants = self.layer.constants
        state = constants.no_state if self.state is None else self.state.reshape(len(self.state), -1)
        fixed = constants.skip_weight, constants.theta, constants.inverse, constants.bias, constants.initial
        kept = state, self.rows[part], self.resume, self.keep
        return skip, *fixed, *kept, population.phi, float(self.layer.limit or 0)

    def _fire_over_events(self, events: EventConv, part: slice) -> int | None:
        """Run some samples from payloads to bursts in one call; None where dense kernels are faster."""
        population, (name, current) = self.layer.population, self.layer.currents[0]
        assert isinstance(population, AdaFire)
        assert isinstance(current, ByteConv | ByteMatrix)
        payload = self.payloads[name][part]
        if current.before:
            payload = np.ascontiguousarray(_unbatched(arrange(current.before, _batch(payload)), len(payload)))
        if payload.shape[1] != self.length:
            return None
        neurons = self._neurons(population, part, self._skip(part))
        return events.fire(payload, self._cached, neurons, self.output[part])

    def _fire(self, population: AdaFire, part: slice) -> int:
        current, skip = self._current(part), self._skip(part)
        samples, steps = current.shape[:2]
        output = self.output[part].reshape(samples, self.length, -1)
        if self.length == 1 and self.state is None and self.layer.limit is None:
            constants = self.layer.constants
            once = skip.reshape(samples, -1), constants.skip_weight, constants.inverse, constants.offset
            scan.fire_once(current.reshape(samples, -1), *once, population.phi, output[:, 0])
            return 0
        clipped: int = scan.fire(current.reshape(samples, steps, -1), *self._neurons(population, part, skip), output)
        return clipped

    def _accumulate(self, population: Readout, part: slice, state: np.ndarray | None) -> None:
        bias = population.bias
        if bias.shape == population.shape:
            bias = np.moveaxis(bias, 0, -1)
        step = self._current(part).astype(np.int64) + bias
        output = self.output[part]
        np.cumsum(np.broadcast_to(step, output.shape), 1, out=output)
        if state is not None:
            np.add(output, state[:, np.newaxis], out=output)
            state[...] = output[:, -1]

    def _pool(self, population: MaxPool, part: slice, state: np.ndarray | None) -> None:
        payload = self._current(part)
        total = np.zeros((len(payload), *payload.shape[2:]), np.int32) if state is None else state
        output = self.output[part]
        if len(population.kernel) == 1:
            payload, total, output = payload[:, :, np.newaxis], total[:, np.newaxis], output[:, :, np.newaxis]
        scan.grow_maxima(
            payload,
            total,
            pair(population.kernel, 1),
            pair(population.stride, 1),
            pair(tuple(before for before, _ in population.padding), 0),
            output,
        )

    def _leak(self, population: Leaky, part: slice, state: np.ndarray | None) -> int:
        assert state is not None
        current = self._current(part)
        limited: int = leaky.scan(
            current.reshape(*current.shape[:2], -1),
            *self.layer.leaky_constants,
            leaky.ending(population),
            state.reshape(len(state), 2, -1),
            self.output[part].reshape(len(state), self.length, -1),
        )
        return limited
