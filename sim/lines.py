"""Lines: a source's payloads, as they reach a layer within the timestep or a number of timesteps later.

A layer without loops runs all timesteps of a block at once; the layers of a loop run one timestep after the other,
each handed what the others have emitted by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sim.layer import Layer, LayerResult
from toolchain.netlist import Connection, Netlist

#: Separates a source's name from a delay; no name has it in it.
_MARK = "@"


def line(connection: Connection) -> str:
    """Return the line of a connection of one delay: the source's name, and the delay where there is one."""
    delay = connection.least_delay
    return f"{connection.source}{_MARK}{delay}" if delay else connection.source


def _ends(name: str) -> tuple[str, int]:
    source, _, delay = name.partition(_MARK)
    return source, int(delay or 0)


@dataclass(frozen=True, eq=False)
class LayerGroup:
    """Layers that run together: one alone, or all of a loop."""

    layers: tuple[Layer, ...]
    loops: bool


def group_layers(netlist: Netlist, layers: Iterable[Layer]) -> tuple[LayerGroup, ...]:
    """Return compiled layers as `Netlist.groups` joins them."""
    by_name = {layer.population.name: layer for layer in layers}
    found = ((tuple(by_name[n] for n in group.names if n in by_name), group.loops) for group in netlist.groups)
    return tuple(LayerGroup(layers, loops) for layers, loops in found if layers)


@dataclass
class Lines:
    """Payloads of one batch over a block of timesteps, and what came before the block.

    Parameters
    ----------
    length : int
        Timesteps of the block.
    spikes : dict of str to Tensor (length, N, *shape)
        Payloads by source, as far as they are known. A first axis of 1 is held.
    past : dict of str to Tensor (D, N, *shape)
        The last payloads, before this block, of sources with delayed connections; fewer where there were fewer.
    """

    length: int
    spikes: dict[str, Tensor]
    past: dict[str, Tensor] = field(default_factory=dict)

    def read(self, name: str) -> Tensor:
        """Return the payloads on a line over the whole block; zeros where nothing was sent yet."""
        source, delay = _ends(name)
        values = self.spikes[source]
        if delay == 0:
            return values
        past = self.past.get(source, values[:0])[-delay:]
        zeros = values.new_zeros((delay - past.shape[0], *values.shape[1:]))
        return torch.cat([zeros, past, values.expand(self.length, *values.shape[1:])])[: self.length]

    def at(self, name: str, step: int) -> Tensor:
        """Return the payload (1, N, *shape) on a line at one timestep of the block."""
        source, delay = _ends(name)
        values = self.spikes[source]
        if step >= delay:
            place = 0 if values.shape[0] == 1 else step - delay
            return values[place : place + 1]
        past, back = self.past.get(source, values[:0]), delay - step
        if back > past.shape[0]:
            return torch.zeros_like(values[:1])
        return past[past.shape[0] - back :][:1]

    def longest_past(self, connections: Iterable[Connection]) -> dict[str, Tensor]:
        """Return what the next block needs of this one: `past` for it."""
        delays: dict[str, int] = {}
        for connection in connections:
            longest = max(delay for delay, _ in connection.parts)
            delays[connection.source] = max(delays.get(connection.source, 0), longest)
        kept = {}
        for source, longest in delays.items():
            if longest:
                values = self.spikes[source].expand(self.length, *self.spikes[source].shape[1:])
                kept[source] = torch.cat([self.past.get(source, values[:0]), values])[-longest:]
        return kept


def run_group(
    group: LayerGroup,
    lines: Lines,
    states: dict[str, Tensor],
    *,
    rows: Tensor | None = None,
    keep_state: bool = False,
) -> Iterator[tuple[Layer, LayerResult]]:
    """Run a group over a block and put what its layers emit on the lines.

    Parameters
    ----------
    group : LayerGroup
    lines : Lines
        All sources outside the group are there.
    states : dict of str to Tensor
        Where to go on from, by population; those after the block, where they are kept.
    rows : Tensor (N,), int64, optional
        Where in the states that of each sample is, as for `Layer.run`.
    keep_state : bool
    """
    if not group.loops:
        (layer,) = group.layers
        name = layer.population.name
        spikes = {source: lines.read(source) for source in layer.sources}
        result = layer.run(spikes, state=states.get(name), rows=rows, timesteps=lines.length, keep_state=keep_state)
        if layer.population.emits:
            lines.spikes[name] = result.output
        if keep_state and result.state is not None:
            states[name] = result.state
        yield layer, result
        return
    samples = next(iter(lines.spikes.values()))
    outputs: dict[str, Tensor] = {}
    own = {layer.population.name: states.get(layer.population.name) for layer in group.layers}
    saturations = dict.fromkeys(own, 0)
    for layer in group.layers:
        population = layer.population
        kind = torch.uint8 if population.emits else torch.int64
        shape = (lines.length, samples.shape[1], *population.shape)
        outputs[population.name] = torch.zeros(shape, dtype=kind, device=samples.device)
        if population.emits:
            lines.spikes[population.name] = outputs[population.name]
    for t in range(lines.length):
        for layer in group.layers:
            name = layer.population.name
            spikes = {source: lines.at(source, t) for source in layer.sources}
            result = layer.run(spikes, state=own[name], rows=rows, timesteps=1, keep_state=True)
            outputs[name][t] = result.output[0]
            own[name] = result.state
            saturations[name] += result.saturations
    for layer in group.layers:
        name = layer.population.name
        state = own[name]
        if keep_state and state is not None:
            states[name] = state
        yield layer, LayerResult(outputs[name], saturations[name], state)
