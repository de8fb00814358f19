"""A netlist from the nodes of a NIR graph, whoever wrote it.

Every path of linear nodes between two populations becomes a connection; what several paths deliver adds
up, as NIR says. Neurons become AdaFire populations as far as the arithmetic of docs/semantics.md goes; the
report says what had to be assumed, and everything else is refused with the node's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from toolchain.exchange.integers import IntegerCurrent, RealCurrent, to_integers
from toolchain.exchange.loss_report import Imported, Loss, LossReport
from toolchain.exchange.nir.file import as_float, profile_of
from toolchain.exchange.nir.graph import FlatGraph, flatten_graph
from toolchain.exchange.nir.neurons import every_neuron, neuron, reason_against
from toolchain.exchange.nir.nodes import LINEAR, LinearNode, linear_node
from toolchain.netlist import (
    AdaFire,
    Connection,
    FormatError,
    Input,
    Netlist,
    Operator,
    Population,
    Provenance,
    Readout,
    Shape,
    UnsupportedError,
    apply_chain,
    per_channel,
)
from toolchain.netlist.checks import MAX_ELEMENTS

#: More paths than this into one population are refused.
MAX_PATHS = 4096


def import_graph(graph: nir.NIRGraph, file: str, *, timesteps: int = 16, weight_bits: int = 8) -> Imported:
    """Make a netlist of a NIR graph.

    Parameters
    ----------
    graph : nir.NIRGraph
        Read without NIR's own type check.
    file : str
        For messages.
    timesteps, weight_bits : int
        For graphs that do not say.

    Raises
    ------
    FormatError
        When the graph is damaged: cycles of linear nodes, edges to nowhere, shapes that do not fit.
    UnsupportedError
        When a node means something that a netlist cannot express; names it.
    """
    return _GraphReader(file, flatten_graph(file, graph), profile_of(graph)).read(timesteps, weight_bits)


class _GraphReader:
    """Follows a flat graph from its input, node by node in topological order."""

    def __init__(self, file: str, flat: FlatGraph, profile: dict[str, Any] | None) -> None:
        self.file, self.flat, self.profile = file, flat, profile
        self.shapes: dict[str, Shape] = {}
        self.linear: dict[str, LinearNode] = {}
        self.names: dict[str, str] = {}
        self.losses: list[Loss] = []
        self.unit = self._unit()
        self._refuse()

    def _unit(self) -> float:
        """Return the r that counts as 1 per timestep: NIR says no dt, and where all neurons have one r, it is 1/dt."""
        found = {
            float(v)
            for name, node in self.flat.nodes.items()
            if isinstance(node, nir.IF)
            for v in np.unique(as_float(f"{self.file}:{name}/r", node.r))
        }
        if self.profile is not None or len(found) != 1 or found == {1.0} or min(found) <= 0:
            return 1.0
        (r,) = found
        self.losses.append(Loss("graph", "adafire", f"r = {r:g} of all neurons is taken for 1/dt, dt = {1 / r:g} s"))
        return r

    def _refuse(self) -> None:
        """Refuse what no netlist can express, all nodes at once."""
        reasons = [(name, reason_against(self.flat.nodes[name])) for name in self.flat.order]
        against = [f"node {name!r}: {reason}" for name, reason in reasons if reason is not None]
        if against:
            more = f"; and {len(against) - 8} more" if len(against) > 8 else ""
            raise UnsupportedError(self.file, "; ".join(against[:8]) + more, "use IF neurons and linear nodes")

    def read(self, timesteps: int, weight_bits: int) -> Imported:
        profile = self.profile
        populations: list[Population] = []
        connections: list[Connection] = []
        if profile is not None:
            timesteps = self._number("timesteps", int)
            weight_bits = self._number("weight_bits", int)
        for name in self.flat.order:
            population, incoming = self._visit(name, weight_bits)
            if population is not None:
                populations.append(population)
                connections += incoming
        alpha = () if profile is None else tuple(as_float(self.file, profile["alpha"])) if "alpha" in profile else ()
        netlist = Netlist(
            tuple(populations),
            tuple(connections),
            timesteps,
            weight_bits=weight_bits,
            membrane_bits=24 if profile is None else self._number("membrane_bits", int),
            alpha=tuple(float(a) for a in alpha),
            provenance=Provenance(imported=self.file),
        )
        return Imported(netlist, LossReport("nir", tuple(self.losses)))

    def _number(self, key: str, kind: type) -> Any:
        value = (self.profile or {}).get(key)
        value = value.item() if isinstance(value, np.generic) else value
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise FormatError(f"{self.file}:adafire/{key}", f"{value!r:.40} found, expected {kind.__name__}")
        return value

    def _visit(self, name: str, weight_bits: int) -> tuple[Population | None, tuple[Connection, ...]]:
        where, node = f"{self.file}:{name}", self.flat.nodes[name]
        if isinstance(node, nir.Input):
            return self._input(name, node), ()
        arriving = {self.shapes[s] for s in self.flat.sources(name)}
        if len(arriving) > 1:
            raise FormatError(where, f"shapes {sorted(arriving)} arrive, which do not add up")
        shape = next(iter(arriving), None)
        if shape is None:
            raise FormatError(where, "nothing leads to it")
        if isinstance(node, LINEAR):
            self.linear[name] = linear_node(where, node, shape)
            for operator in self.linear[name].operators:
                shape = operator.output_shape(shape)
                if int(np.prod(shape, dtype=object)) > MAX_ELEMENTS:
                    raise FormatError(where, f"an output of shape {shape} is too large")
            self.shapes[name] = shape
            return None, ()
        if isinstance(node, nir.IF):
            return self._neuron(name, node, shape, weight_bits)
        if isinstance(node, nir.I):
            if any(not isinstance(self.flat.nodes[t], nir.Output) for t in self.flat.targets(name)):
                raise UnsupportedError(
                    where, "an integrator inside the network has no counterpart", "use it as a readout"
                )
            scale = every_neuron(f"{where}/r", node.r, shape)
            return self._readout(name, node, shape, scale, weight_bits)
        if isinstance(node, nir.Output):
            if any(isinstance(self.flat.nodes[s], nir.I) for s in self.flat.sources(name)):
                return None, ()
            return self._readout(name, node, shape, np.ones(shape), weight_bits)
        raise UnsupportedError(where, f"{type(node).__name__}: a netlist has no such node")

    def _input(self, name: str, node: nir.Input) -> Input:
        where = f"{self.file}:{name}"
        declared = np.asarray(node.input_type.get("input"))
        if declared.dtype.kind not in "iu" or declared.ndim != 1 or not 1 <= declared.size <= 4 or declared.min() < 1:
            raise FormatError(where, f"shape {declared!r:.60} found, expected one to four positive axes")
        shape = self._without_batch(name, tuple(int(n) for n in declared))
        self.shapes[name] = shape
        self.names[name] = self._name(name, node)
        if self.profile is None:
            self.losses.append(Loss(self.names[name], "adafire", "data are rounded to the integers -127 .. 127"))
            return Input(self.names[name], shape, 8, True, 1.0, np.zeros(shape[0]), np.ones(shape[0]))
        return Input(
            self.names[name],
            shape,
            self._number("input_bits", int),
            self._number("input_signed", bool),
            self._number("input_scale", float),
            as_float(f"{self.file}:adafire/normalize_mean", self.profile.get("normalize_mean")),
            as_float(f"{self.file}:adafire/normalize_std", self.profile.get("normalize_std")),
            self._number("coding", str),
        )

    def _without_batch(self, name: str, shape: Shape) -> Shape:
        """Drop a leading 1 that no consumer takes: some writers (norse) leave the batch in the shape."""
        if shape[0] != 1 or len(shape) < 2:
            return shape
        for target in self.flat.targets(name):
            node = self.flat.nodes[target]
            axes = {nir.Affine: 1, nir.Linear: 1, nir.Conv1d: 2, nir.Conv2d: 3}.get(type(node))
            if axes != len(shape) - 1:
                return shape
        self.losses.append(Loss(name, "adafire", f"shape {shape} is taken to begin with a batch of 1"))
        return shape[1:]

    def _name(self, name: str, node: Any) -> str:
        given = (profile_of(node) or {}).get("population")
        wanted = (
            given if isinstance(given, str) else re.sub(r"[^A-Za-z0-9_.\-]", "_", name)[:120].lstrip(".-") or "node"
        )
        taken, tried, count = set(self.names.values()), wanted, 1
        while tried in taken:
            if given is not None:
                raise FormatError(f"{self.file}:{name}", f"population name {given!r} is taken")
            count += 1
            tried = f"{wanted}_{count}"
        return tried

    def _neuron(
        self, name: str, node: Any, shape: Shape, weight_bits: int
    ) -> tuple[Population, tuple[Connection, ...]]:
        found = neuron(f"{self.file}:{name}", node, shape, self.unit)
        self.names[name], self.shapes[name] = self._name(name, node), shape
        self.losses += [Loss(self.names[name], "adafire", note) for note in found.notes]
        current = self._current(name, shape, found.threshold, found.initial)
        integers = self._integers(current, weight_bits)
        if integers.threshold is None or integers.initial is None or integers.threshold.ndim > 1:
            raise UnsupportedError(f"{self.file}:{name}", "thresholds differ from neuron to neuron of a channel")
        population = AdaFire(
            self.names[name], shape, found.phi, integers.threshold, integers.bias, integers.initial, integers.scale
        )
        return population, integers.connections

    def _readout(
        self, name: str, node: Any, shape: Shape, scale: np.ndarray, weight_bits: int
    ) -> tuple[Population, tuple[Connection, ...]]:
        where = f"{self.file}:{name}"
        flat = scale.reshape(shape[0], -1)
        if not np.all(flat == flat[:, :1]) or not np.all(flat > 0):
            raise UnsupportedError(where, "r must be positive and the same for all neurons of a channel")
        self.names[name], self.shapes[name] = self._name(name, node), shape
        integers = self._integers(self._current(name, shape, None, None), weight_bits)
        population = Readout(self.names[name], shape, integers.bias, flat[:, 0] * integers.scale)
        return population, integers.connections

    def _integers(self, current: RealCurrent, weight_bits: int) -> IntegerCurrent:
        try:
            integers = to_integers(current, weight_bits, exactly=self.profile is not None)
        except FormatError as error:
            raise FormatError(f"{self.file}:{error.where}", error.problem, error.fix) from None
        self.losses += integers.losses
        return integers

    def _current(
        self, name: str, shape: Shape, threshold: np.ndarray | None, initial: np.ndarray | None
    ) -> RealCurrent:
        bias = np.zeros(shape)
        paths = []
        for path in self._paths(name):
            source, operators = path.source, path.operators
            if path.bias is not None:
                before = self.shapes[source]
                offset = np.broadcast_to(per_channel(path.bias, before), before).astype(np.float64)
                bias += apply_chain(operators, offset[np.newaxis], before)[0]
            else:
                paths.append((self.names[source], operators))
        return RealCurrent(self.names[name], shape, tuple(paths), bias, threshold, initial)

    def _paths(self, target: str) -> Iterator[_Path]:
        """Yield every path of linear nodes from a population, and every bias with the path that it takes."""
        waiting: list[tuple[str, tuple[Operator, ...]]] = [(s, ()) for s in self.flat.sources(target)]
        count = 0
        while waiting:
            name, operators = waiting.pop(0)
            count += 1
            if count > MAX_PATHS:
                raise FormatError(f"{self.file}:{target}", f"more than {MAX_PATHS} paths lead to it")
            if name not in self.linear:
                yield _Path(name, operators, None)
                continue
            found = self.linear[name]
            if found.bias is not None and np.any(found.bias):
                yield _Path(name, operators, found.bias)
            waiting += [(s, (*found.operators, *operators)) for s in self.flat.sources(name)]


@dataclass(frozen=True, eq=False)
class _Path:
    """Operators from a population to another, or from a linear node that adds `bias`."""

    source: str
    operators: tuple[Operator, ...]
    bias: np.ndarray | None
