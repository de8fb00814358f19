"""What the payloads of a run mean: how layers run, and how what they emit is sent, counted and read out.

Rates run for all timesteps. Numbers run for one: a window adds up digits times the values of their places, and
connections are linear, so one product of the numbers serves all their digits, under the bounds of the whole numbers.
What travels are digits all the same, and whoever records or counts a run is given them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sim.activity import Counter
from sim.currents import CompiledConnection, Emitting, compile_current
from sim.layer import Layer, LayerResult
from sim.lines import LayerGroup, Lines, run_group
from sim.processor import exact_arithmetic
from sim.steps import constants
from toolchain.netlist import AdaFire, Connection, LeakyReadout, Netlist, Radix, Readout, bound_current, window_offset


class Code(Protocol):
    """How the payloads of a compiled netlist are to be understood."""

    @property
    def steps(self) -> int:
        """Timesteps that layers run for."""

    def run(self, group: LayerGroup, lines: Lines) -> Iterator[tuple[Layer, LayerResult]]:
        """Take a batch through a group of layers and put what they emit on the lines.

        Of a `Readout` the result has what it holds at every timestep that is sent.
        """

    def sent(self, name: str, values: Tensor) -> Tensor:
        """Return what layers pass on, (T or 1, N, *shape), as it is sent, timestep by timestep."""

    def count(self, counter: Counter, name: str, values: Tensor) -> None:
        """Add what was sent to a counter."""


@dataclass(frozen=True, eq=False)
class RateCode:
    """Bursts add up over time: payloads are what they are."""

    steps: int

    def run(self, group: LayerGroup, lines: Lines) -> Iterator[tuple[Layer, LayerResult]]:
        """Run all timesteps."""
        return run_group(group, lines, {})

    def sent(self, name: str, values: Tensor) -> Tensor:
        """Return the payloads; held ones are the same at every timestep."""
        return values

    def count(self, counter: Counter, name: str, values: Tensor) -> None:
        """Add payloads; held ones count at every timestep."""
        counter.count(name, values, self.steps)


@dataclass(frozen=True, eq=False)
class RadixCode:
    """Layers pass whole numbers on, (1, N, *shape); their digits are sent.

    Parameters
    ----------
    netlist : Netlist
        In radix code; layers are those of its `numbers`.
    radix : Radix
    """

    netlist: Netlist
    radix: Radix
    steps: int = 1

    def run(self, group: LayerGroup, lines: Lines) -> Iterator[tuple[Layer, LayerResult]]:
        """Run layer by layer: nothing runs backwards, for a number knows no delay."""
        for layer in group.layers:
            result = self._run(layer, lines.spikes)
            if layer.population.emits:
                lines.spikes[layer.population.name] = result.output
            yield layer, result

    def _run(self, layer: Layer, spikes: Mapping[str, Tensor]) -> LayerResult:
        """Run one product; where a potential leaves its range in a window, that window digit by digit."""
        population = layer.population
        if isinstance(population, Readout):
            return LayerResult(self._sums(layer, population, spikes), 0, None)
        # MaxPool: the greatest number is that of the greatest leading digits, whose growth a window emits.
        if population.name not in self._clips_unseen:
            result = layer.run(spikes, timesteps=1)
            if not result.saturations:
                return result
        assert isinstance(population, AdaFire)
        return self._digit_by_digit(population, spikes)

    def sent(self, name: str, values: Tensor) -> Tensor:
        """Return digits (K, N, *shape); the input's number is sent whole, with the last."""
        if name == self.netlist.input.name:
            return torch.cat([torch.zeros_like(values).expand(self.radix.digits - 1, *values.shape[1:]), values])
        # Bytes hold every base but 256, of which a number is its own digit.
        return values if self.radix.digits == 1 else self._leading(values) % self.radix.base

    def count(self, counter: Counter, name: str, values: Tensor) -> None:
        """Add digits, without writing them out."""
        if name == self.netlist.input.name:
            counter.count(name, values, 1)
        else:
            counter.count(name, values, 1, digits=self._tables)

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        return self.radix.digit_sums.astype(np.int32), self.radix.digit_counts.astype(np.int32)

    def _leading(self, numbers: Tensor) -> Tensor:
        """Return the leading 1 to K digits of numbers (1, N, *shape), as numbers: (K, N, *shape) uint8."""
        places = [int(place) for place in self.radix.places]
        if self.radix.base & (self.radix.base - 1) == 0:
            # A shift takes a tenth of the time of a division of bytes.
            return torch.cat([numbers >> (place.bit_length() - 1) for place in places])
        return torch.cat([numbers // place for place in places])

    def _sums(self, layer: Layer, population: Readout, spikes: Mapping[str, Tensor]) -> Tensor:
        """Return what a readout holds after each digit, (K, N, *shape) int64."""
        bias = constants(population.bias, population.shape, next(iter(spikes.values())))
        total = torch.stack([torch.zeros_like(bias)] * (self.radix.digits - 1) + [bias]).unsqueeze(1)
        with exact_arithmetic():
            for name, current in layer.currents:
                values = spikes[name]
                held = self.sent(name, values) if name == self.netlist.input.name else self._leading(values)
                value = current(held.flatten(0, 1)).to(torch.int64)
                total = total + value.reshape(*held.shape[:2], *value.shape[1:])
        return total

    @cached_property
    def _clips_unseen(self) -> frozenset[str]:
        """Populations whose potential may leave its range on the way and be back at the end.

        With c no less than the current of one digit, and nothing clipped yet, ``u(K) = B**j u(K - j) + rest``, where
        ``|rest| <= c (B**j - 1) / (B - 1)``. So while ``|u(K)| <= limit + |bias + initial|``, every u before keeps to
        ``(limit + |bias + initial|) / B + c / (B - 1)``: within the limit, if that is. All sums are of whole numbers.
        """
        found, base, limit = set(), self.radix.base, self.netlist.membrane_limit
        for population in self.netlist.populations:
            if isinstance(population, AdaFire):
                digit = sum(bound_current(c, self.netlist[c.source]).magnitude for c in self._digit_inputs(population))
                reach = limit + int(np.abs(window_offset(population)).max())
                if self.radix.digits > 1 and reach * (base - 1) + digit * base > limit * base * (base - 1):
                    found.add(population.name)
        return frozenset(found)

    def _digit_inputs(self, population: AdaFire) -> list[Connection]:
        """Return the connections into a population that deliver digits; the input's number comes with the last."""
        return [c for c in self.netlist.inputs(population.name) if c.source != self.netlist.input.name]

    def _digit_by_digit(self, population: AdaFire, spikes: Mapping[str, Tensor]) -> LayerResult:
        """Run a window as a chip does, in plain torch and int64."""
        digits, limit, clipped = self.radix.digits, self.netlist.membrane_limit, 0
        sent = {c.source: self.sent(c.source, spikes[c.source]) for c in self.netlist.inputs(population.name)}
        samples = next(iter(sent.values())).shape[1]
        like = next(iter(sent.values()))
        potential = torch.zeros((samples, *population.shape), dtype=torch.int64, device=like.device)
        offset = constants(window_offset(population), population.shape, like)
        with exact_arithmetic():
            for k in range(digits):
                free = self.radix.base * potential + (offset if k == digits - 1 else 0)
                for name, current in self._plain_currents(population.name):
                    free = free + current(sent[name][k]).to(torch.int64)
                potential = free.clamp(-limit, limit)
                clipped += int((potential != free).sum())
        theta = constants(population.threshold, population.shape, like)
        number = torch.div(potential, theta, rounding_mode="floor").clamp_(0, self.radix.greatest)
        return LayerResult(number.to(torch.uint8).unsqueeze(0), clipped, None)

    def _plain_currents(self, name: str) -> list[tuple[str, CompiledConnection]]:
        return [
            (c.source, compile_current(c, _emitting(self.netlist, c), plain=True)) for c in self.netlist.inputs(name)
        ]


def _emitting(netlist: Netlist, connection: Connection) -> Emitting:
    source = netlist[connection.source]
    assert not isinstance(source, Readout | LeakyReadout)
    return source


def code_of(netlist: Netlist, timesteps: int) -> Code:
    """Return what the payloads of a netlist mean in a run of some timesteps."""
    return RateCode(timesteps) if netlist.radix is None else RadixCode(netlist, netlist.radix)
