"""A netlist as NIR nodes: what both profiles share, which is all but its neurons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from toolchain.exchange.loss_report import refuse_digits
from toolchain.exchange.lowering import KEEP, Lowered, carries_bias, flattening, identity, lower, zeros
from toolchain.exchange.nir.structure import VERSION, describe
from toolchain.files import canonical_json
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    CubaLif,
    Input,
    Leaky,
    LeakyReadout,
    Linear,
    MaxPool,
    Netlist,
    Readout,
    Reshape,
    Shape,
    SumPool,
    UnsupportedError,
    per_channel,
)

#: Seconds that a timestep is written as, where nodes have times.
DT = 1e-3


class GrowingGraph:
    """A NIR graph that is being made: nodes are numbered as they come, so that names sort in this order."""

    def __init__(self, netlist: Netlist) -> None:
        self.netlist = netlist
        self.nodes: list[tuple[str, nir.NIRNode]] = []
        self.edges: list[tuple[int, int]] = []
        #: Node of each population; nodes of each connection, by its position.
        self.place: dict[str, int] = {}
        self.chains: dict[int, list[int]] = {}
        #: Sources that come later, with the nodes that they lead to: loops.
        self.pending: list[tuple[str, int]] = []

    def add(self, kind: str, node: nir.NIRNode, *sources: int) -> int:
        """Add a node with edges from others; return its number."""
        self.nodes.append((kind, node))
        index = len(self.nodes) - 1
        self.edges += [(source, index) for source in sources]
        return index

    @property
    def names(self) -> list[str]:
        """Names of the nodes so far."""
        digits = max(3, len(str(len(self.nodes))))
        return [f"n{i:0{digits}d}_{kind}" for i, (kind, _) in enumerate(self.nodes)]

    def deliver(self, population: AdaFire | Readout | Leaky) -> list[int]:
        """Add the synapses of all connections into a population; return the nodes that reach it.

        They carry its bias, but for leaky populations, whose nodes have it themselves.
        """
        netlist, bias = self.netlist, None if isinstance(population, CubaLif | LeakyReadout) else _bias(population)
        arriving = [(i, c) for i, c in enumerate(netlist.connections) if c.target == population.name]
        chains = [lower(c.name, c.operators, netlist[c.source].shape) for _, c in arriving]
        if not arriving:
            source = netlist.input
            arriving = [(-1, Connection(source.name, population.name, ()))]
            chains = [zeros(population.name, source.shape, population.shape)]
        carrier = next((i for i, chain in enumerate(chains) if carries_bias(chain)), 0)
        if bias is not None and not carries_bias(chains[carrier]):
            chains[carrier] = (*chains[carrier], identity(population.name, population.shape))
        ends: list[int] = []
        for i, ((position, connection), chain) in enumerate(zip(arriving, chains, strict=True)):
            waits = np.any(connection.delay) or connection.source not in self.place
            if not chain and (waits or self.place[connection.source] in ends):
                chain = (identity(population.name, population.shape),)  # NIR has no two edges between the same nodes
            ends.append(self._add_chain(position, connection.source, chain, bias if i == carrier else None))
        return ends

    def _add_chain(self, position: int, source: str, chain: tuple[Lowered, ...], bias: np.ndarray | None) -> int:
        shape, previous = self.netlist[source].shape, self.place.get(source)
        self.chains[position] = []
        delay = self.netlist.connections[position].delay if position >= 0 else 0
        if isinstance(delay, np.ndarray):
            raise UnsupportedError(
                self.netlist.connections[position].name, "delays of single synapses, of which NIR has none", KEEP
            )
        # A loop takes a timestep in NIR as it is.
        if delay > (1 if previous is None else 0):
            wait = nir.Delay(np.full(shape, delay * DT))
            previous = self._follow("delay", wait, source, previous)
        for i, piece in enumerate(chain):
            where = f"{source} -> {self.netlist.connections[position].target if position >= 0 else 'bias'}"
            kind, node = _synapse(where, piece.operator, shape, bias if i == len(chain) - 1 else None)
            previous = self._follow(kind, node, source, previous)
            self.chains[position].append(previous)
            shape = piece.operator.output_shape(shape)
        assert previous is not None
        return previous

    def _follow(self, kind: str, node: nir.NIRNode, source: str, previous: int | None) -> int:
        """Add a node behind another, or behind a source that is yet to come."""
        if previous is not None:
            return self.add(kind, node, previous)
        index = self.add(kind, node)
        self.pending.append((source, index))
        return index

    def close_loops(self) -> None:
        """Add the edges from sources that have come since."""
        self.edges += [(self.place[source], index) for source, index in self.pending]
        self.pending = []

    def finish(self, **entries: Any) -> nir.NIRGraph:
        """Return the graph, with the metadata of the profile's page, our structure, and `entries`."""
        names = self.names
        chains = [[names[i] for i in self.chains[position]] for position in range(len(self.netlist.connections))]
        return nir.NIRGraph(
            nodes={name: node for name, (_, node) in zip(names, self.nodes, strict=True)},
            edges=[(names[a], names[b]) for a, b in self.edges],
            metadata=metadata(**profile(self.netlist), **describe(self.netlist, chains), **entries),
        )


def grow(
    netlist: Netlist,
    add_neurons: Callable[[GrowingGraph, AdaFire], int],
    add_leaky: Callable[[GrowingGraph, Leaky], int],
    add_readout: Callable[[GrowingGraph, Readout], int],
) -> GrowingGraph:
    """Turn a netlist into nodes, population by population.

    Parameters
    ----------
    netlist : Netlist
    add_neurons, add_leaky, add_readout : callable
        How the profile writes a population: adds its nodes, returns the one that stands for what it emits.

    Raises
    ------
    UnsupportedError
        When NIR has no node for a part of the network; names it.
    """
    refuse_digits(netlist, "NIR")
    growing = GrowingGraph(netlist)
    for population in netlist.populations:
        name, shape = population.name, np.array(population.shape)
        match population:
            case Input():
                place = growing.add("input", nir.Input(input_type=shape, metadata=metadata(population=name)))
            case MaxPool():
                raise UnsupportedError(name, "NIR has no max-pooling", f"use average pooling, or {KEEP}")
            case AdaFire():
                place = add_neurons(growing, population)
            case CubaLif() | LeakyReadout():
                place = add_leaky(growing, population)
            case Readout():
                place = add_readout(growing, population)
        growing.place[name] = place
    growing.close_loops()
    for readout in netlist.readouts:
        growing.add("output", nir.Output(output_type=np.array(readout.shape)), growing.place[readout.name])
    return growing


def in_full(values: np.ndarray, shape: Shape) -> np.ndarray:
    """Return values (C,) or `shape` for each neuron of a population, as NIR has them."""
    return np.broadcast_to(per_channel(values, shape), shape)


def metadata(**entries: Any) -> dict[str, Any]:
    """Return a node's or the graph's metadata."""
    return {"adafire": entries}


def profile(netlist: Netlist) -> dict[str, Any]:
    """Return the graph's metadata by the profile's page, provenance beside."""
    source = netlist.input
    entries: dict[str, Any] = {
        "version": VERSION,
        "timesteps": netlist.timesteps,
        "input_scale": source.scale,
        "input_bits": source.bits,
        "input_signed": source.signed,
        "coding": source.coding,
        "normalize_mean": source.mean,
        "normalize_std": source.std,
        "weight_bits": netlist.weight_bits,
        "membrane_bits": netlist.membrane_bits,
        "netlist_hash": netlist.content_hash,
        "provenance": canonical_json(netlist.provenance.to_json()),
    }
    if any(isinstance(p, CubaLif | LeakyReadout) for p in netlist.populations) or any(
        np.any(c.delay) for c in netlist.connections
    ):
        entries["dt"] = DT
    if netlist.alpha:
        entries["alpha"] = np.array(netlist.alpha)
    return entries


def _bias(population: AdaFire | Readout) -> np.ndarray:
    """Return the bias per channel, or raise where neurons of a channel differ: a synapse has no such bias."""
    bias = population.bias
    if bias.ndim > 1:
        flat = bias.reshape(bias.shape[0], -1)
        if not np.all(flat == flat[:, :1]):
            raise UnsupportedError(
                population.name,
                "its bias differs from neuron to neuron, and NIR's are per channel",
                KEEP,
            )
        bias = flat[:, 0]
    return bias


def exact_float32(where: str, what: str, values: np.ndarray) -> np.ndarray:
    """Return numbers as float32, or raise where that is not exact."""
    array = values.astype(np.float32)
    if not np.array_equal(array.astype(np.float64), values):
        raise UnsupportedError(where, f"{what} reach {int(np.abs(values).max())}, which float32 does not hold exactly")
    return array


def _synapse(
    where: str, operator: Conv | Linear | SumPool | Reshape, shape: Shape, bias: np.ndarray | None
) -> tuple[str, nir.NIRNode]:
    match operator:
        case Conv(weight, stride, padding, dilation):
            even = tuple(before for before, _ in padding)
            own = np.zeros(weight.shape[0], np.int64) if bias is None else bias
            fields = (exact_float32(where, "weights", weight), stride, even, dilation)
            offset = exact_float32(where, "biases", own)
            if len(even) == 2:
                return "conv", nir.Conv2d(shape[1:], *fields, 1, offset)
            weight32, (s,), (p,), (d,) = fields
            return "conv", nir.Conv1d(shape[1], weight32, s, p, d, 1, offset)
        case Linear(weight) if bias is not None:
            return "affine", nir.Affine(exact_float32(where, "weights", weight), exact_float32(where, "biases", bias))
        case Linear(weight):
            return "linear", nir.Linear(exact_float32(where, "weights", weight))
        case SumPool(kernel, stride, padding):
            sides = [before for before, _ in padding]
            return "sumpool", nir.SumPool2d(np.array(kernel), np.array(stride), np.array(sides))
        case Reshape(new):
            first, last = flattening(where, shape, new)
            return "flatten", nir.Flatten({"input": np.array(shape)}, first, last)
