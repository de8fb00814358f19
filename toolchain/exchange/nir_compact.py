"""NIR, profile "adafire" version 1: a netlist in the nodes of NIR and a little metadata (docs/formats.md).

A reader that knows the profile's page and the NIR standard reproduces every spike. Beside it the graph's
metadata tell how the netlist was made up, so that reading the file gives the identical netlist back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np

from toolchain.exchange.loss_report import Loss, LossReport
from toolchain.exchange.lowering import Lowered, carries_bias, flattening, identity, lower, zeros
from toolchain.exchange.nir_file import read_graph, write_graph
from toolchain.exchange.nir_import import import_graph
from toolchain.exchange.nir_structure import describe, restore
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    FormatError,
    Input,
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
from toolchain.netlist.hdf5 import canonical_json

#: Version of the profile.
VERSION = 1


def write_nir(netlist: Netlist, path: Path | str) -> LossReport:
    """Write a netlist as NIR, in the compact profile.

    Parameters
    ----------
    netlist : Netlist
    path : path

    Returns
    -------
    LossReport
        What readers that do not know the profile will compute instead.

    Raises
    ------
    UnsupportedError
        When NIR has no node for a part of the network; names it.
    InputError
        When the file cannot be written.
    """
    write_graph(to_nir(netlist), path)
    return losses(netlist)


def read_nir(path: Path | str) -> Netlist:
    """Read a NIR file: the identical netlist from a file of ours, else what its nodes say.

    Raises
    ------
    InputError
        When there is no such file.
    FormatError
        When the file is damaged or contradicts itself.
    UnsupportedError
        When a node means something that a netlist cannot express; names it.
    """
    graph, file = read_graph(path), Path(path).name
    profile = graph.metadata.get("adafire")
    if not isinstance(profile, dict) or "structure" not in profile:
        return import_graph(graph, file).netlist
    check_version(file, profile)
    netlist = restore(file, graph)
    difference = first_difference(to_nir(netlist).to_dict(), graph.to_dict())
    if difference is not None:
        raise FormatError(
            f"{file}:{difference}",
            "differs from what the adafire metadata say",
            "the file was changed: remove the metadata 'structure' to import its nodes as they are",
        )
    return netlist


def check_version(file: str, profile: dict[str, Any]) -> None:
    """Raise unless the profile's version is one that this reader knows."""
    version = profile.get("version")
    if not isinstance(version, int | np.integer) or int(version) != VERSION:
        raise FormatError(file, f"profile version {version} found, expected {VERSION}", "update adafire")


class _Growing:
    """A NIR graph that is being made: nodes are numbered as they come, so that names sort in this order."""

    def __init__(self, netlist: Netlist) -> None:
        self.netlist = netlist
        self.nodes: list[tuple[str, nir.NIRNode]] = []
        self.edges: list[tuple[int, int]] = []
        #: Node of each population; nodes of each connection, by its position.
        self.place: dict[str, int] = {}
        self.chains: dict[int, list[int]] = {}

    def add(self, kind: str, node: nir.NIRNode, *sources: int) -> int:
        self.nodes.append((kind, node))
        index = len(self.nodes) - 1
        self.edges += [(source, index) for source in sources]
        return index

    @property
    def names(self) -> list[str]:
        digits = max(3, len(str(len(self.nodes))))
        return [f"n{i:0{digits}d}_{kind}" for i, (kind, _) in enumerate(self.nodes)]

    def deliver(self, population: AdaFire | Readout) -> list[int]:
        """Add the synapses of all connections into a population; return the nodes that reach it."""
        netlist, bias = self.netlist, _bias(population)
        arriving = [(i, c) for i, c in enumerate(netlist.connections) if c.target == population.name]
        chains = [lower(c.name, c.operators, netlist[c.source].shape) for _, c in arriving]
        if not arriving:
            source = netlist.input
            arriving = [(-1, Connection(source.name, population.name, ()))]
            chains = [zeros(population.name, source.shape, population.shape)]
        carrier = next((i for i, chain in enumerate(chains) if carries_bias(chain)), 0)
        if not carries_bias(chains[carrier]):
            chains[carrier] = (*chains[carrier], identity(population.shape))
        ends: list[int] = []
        for i, ((position, connection), chain) in enumerate(zip(arriving, chains, strict=True)):
            if not chain and self.place[connection.source] in ends:
                chain = (identity(population.shape),)  # NIR has no two edges between the same nodes
            ends.append(self._add_chain(position, connection.source, chain, bias if i == carrier else None))
        return ends

    def _add_chain(self, position: int, source: str, chain: tuple[Lowered, ...], bias: np.ndarray | None) -> int:
        shape, previous = self.netlist[source].shape, self.place[source]
        self.chains[position] = []
        for i, piece in enumerate(chain):
            where = f"{source} -> {self.netlist.connections[position].target if position >= 0 else 'bias'}"
            kind, node = _synapse(where, piece.operator, shape, bias if i == len(chain) - 1 else None)
            previous = self.add(kind, node, previous)
            self.chains[position].append(previous)
            shape = piece.operator.output_shape(shape)
        return previous


def to_nir(netlist: Netlist) -> nir.NIRGraph:
    """Return a netlist as a NIR graph in the compact profile.

    Raises
    ------
    UnsupportedError
        When NIR has no node for a part of the network; names it.
    """
    growing = _Growing(netlist)
    for population in netlist.populations:
        name = population.name
        match population:
            case Input():
                node = nir.Input(input_type=np.array(population.shape), metadata=_metadata(population=name))
                growing.place[name] = growing.add("input", node)
            case MaxPool():
                raise UnsupportedError(name, "NIR has no max-pooling", "use average pooling, or keep the .h5 netlist")
            case AdaFire():
                growing.place[name] = growing.add("if", _if_node(population), *growing.deliver(population))
            case Readout():
                r = np.broadcast_to(per_channel(population.scale, population.shape), population.shape)
                node = nir.I(r=r.astype(np.float64), metadata=_metadata(population=name))
                growing.place[name] = growing.add("readout", node, *growing.deliver(population))
    for population in netlist.readouts:
        growing.add("output", nir.Output(output_type=np.array(population.shape)), growing.place[population.name])
    names = growing.names
    chains = [[names[i] for i in growing.chains[position]] for position in range(len(netlist.connections))]
    return nir.NIRGraph(
        nodes={name: node for name, (_, node) in zip(names, growing.nodes, strict=True)},
        edges=[(names[a], names[b]) for a, b in growing.edges],
        metadata=_metadata(**_profile(netlist), **describe(netlist, chains)),
    )


def _metadata(**entries: Any) -> dict[str, Any]:
    return {"adafire": entries}


def _profile(netlist: Netlist) -> dict[str, Any]:
    source = netlist.input
    profile: dict[str, Any] = {
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
        "provenance": canonical_json(netlist.provenance),
    }
    if netlist.alpha:
        profile["alpha"] = np.array(netlist.alpha)
    return profile


def _bias(population: AdaFire | Readout) -> np.ndarray:
    """Return the bias per channel, or raise where neurons of a channel differ: a synapse has no such bias."""
    bias = population.bias
    if bias.ndim > 1:
        flat = bias.reshape(bias.shape[0], -1)
        if not np.all(flat == flat[:, :1]):
            raise UnsupportedError(
                population.name,
                "its bias differs from neuron to neuron, and NIR's are per channel",
                "keep the .h5 netlist",
            )
        bias = flat[:, 0]
    return bias


def _float32(where: str, what: str, values: np.ndarray) -> np.ndarray:
    """Return integers as float32, exactly."""
    array = values.astype(np.float32)
    if not np.array_equal(array.astype(np.int64), values):
        raise UnsupportedError(where, f"{what} reach {int(np.abs(values).max())}, which float32 does not hold exactly")
    return array


def _if_node(population: AdaFire) -> nir.IF:
    shape = population.shape
    threshold = np.broadcast_to(per_channel(population.threshold, shape), shape)
    initial = np.broadcast_to(per_channel(population.initial, shape), shape)
    return nir.IF(
        r=np.ones(shape, np.float32),
        v_threshold=_float32(population.name, "thresholds", threshold),
        v_reset=np.zeros(shape, np.float32),
        metadata=_metadata(
            population=population.name,
            phi=population.phi,
            reset="subtract",
            compare=">=",
            v_init=np.ascontiguousarray(initial, dtype=np.int64),
        ),
    )


def _synapse(
    where: str, operator: Conv | Linear | SumPool | Reshape, shape: Shape, bias: np.ndarray | None
) -> tuple[str, nir.NIRNode]:
    match operator:
        case Conv(weight, stride, padding, dilation):
            even = tuple(before for before, _ in padding)
            own = np.zeros(weight.shape[0], np.int64) if bias is None else bias
            fields = (_float32(where, "weights", weight), stride, even, dilation)
            offset = _float32(where, "biases", own)
            if len(even) == 2:
                return "conv", nir.Conv2d(shape[1:], *fields, 1, offset)
            weight32, (s,), (p,), (d,) = fields
            return "conv", nir.Conv1d(shape[1], weight32, s, p, d, 1, offset)
        case Linear(weight) if bias is not None:
            return "affine", nir.Affine(_float32(where, "weights", weight), _float32(where, "biases", bias))
        case Linear(weight):
            return "linear", nir.Linear(_float32(where, "weights", weight))
        case SumPool(kernel, stride, padding):
            sides = [before for before, _ in padding]
            return "sumpool", nir.SumPool2d(np.array(kernel), np.array(stride), np.array(sides))
        case Reshape(new):
            first, last = flattening(where, shape, new)
            return "flatten", nir.Flatten({"input": np.array(shape)}, first, last)


def first_difference(a: Any, b: Any, where: str = "") -> str | None:
    """Return the place of the first difference of two graphs as dictionaries, or None.

    Values count, not their containers: a file gives arrays back for tuples.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys(), key=str):
            if key not in a or key not in b:
                return f"{where}/{key}"
            found = first_difference(a[key], b[key], f"{where}/{key}")
            if found is not None:
                return found
        return None
    if where.endswith("/edges"):
        return None if {tuple(e) for e in a} == {tuple(e) for e in b} else where
    if isinstance(a, str) or isinstance(b, str):
        return None if a == b else where
    return None if np.array_equal(np.asarray(a), np.asarray(b)) else where


def losses(netlist: Netlist) -> LossReport:
    """Say what an importer that does not know the profile computes from a compact file."""
    bursts = sorted({p.phi for p in netlist.populations if isinstance(p, AdaFire)})
    found = [
        Loss("IF", "NIR", "reset by subtraction, '>=', bursts and the initial potential are metadata, not part of IF"),
        Loss("graph", "NIR", "timesteps, input quantisation and the width of the membrane are metadata"),
        Loss("IF", "norse", "resets to zero and fires at > threshold, one spike at most"),
        Loss("IF", "spikingjelly", "resets to zero, one spike at most"),
        Loss("IF", "sinabs", "fires without limit to a burst and holds the potential above -threshold"),
        Loss("IF", "snntorch", "leaks by a factor 0.9 per timestep"),
    ]
    if bursts != [1]:
        found.append(Loss("IF", "NIR", f"bursts of up to {bursts[-1]} need a reader that knows 'phi'"))
    if netlist.alpha:
        found.append(Loss("graph", "NIR", "early exit (alpha) is metadata"))
    if netlist.input.coding == "frames":
        found.append(Loss(netlist.input.name, "NIR", "frame coding is metadata"))
    return LossReport("nir", tuple(found))
