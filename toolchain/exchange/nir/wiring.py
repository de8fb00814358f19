"""A graph's nodes but for its neurons: shapes, names, operators, and the paths from one population to another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from toolchain.exchange.loss_report import Loss
from toolchain.exchange.nir.file import as_float, profile_of
from toolchain.exchange.nir.graph import FlatGraph
from toolchain.exchange.nir.nodes import LINEAR, LinearNode, linear_node
from toolchain.netlist import FormatError, Operator, Shape, UnsupportedError
from toolchain.netlist.checks import MAX_ELEMENTS
from toolchain.netlist.delays import MAX_DELAY

#: More paths than this into one population are refused.
MAX_PATHS = 4096


@dataclass(frozen=True, eq=False)
class Path:
    """Operators from a population to another, or from a linear node that adds `bias`; timesteps on the way."""

    source: str
    operators: tuple[Operator, ...]
    bias: np.ndarray | None
    delay: int


class Wiring:
    """What stands between the populations of a flat graph.

    Parameters
    ----------
    file : str
        For messages.
    flat : FlatGraph
    dt : float or None
        Seconds of a timestep, where the graph has delays.
    losses : list of Loss
        What had to be assumed is added.

    Attributes
    ----------
    shapes, names : dict of str
        What every node sends; what populations are called.
    linear : dict of str to LinearNode
    """

    def __init__(self, file: str, flat: FlatGraph, dt: float | None, losses: list[Loss]) -> None:
        self.file, self.flat, self.dt, self.losses = file, flat, dt, losses
        self.shapes: dict[str, Shape] = {}
        self.linear: dict[str, LinearNode] = {}
        self.names: dict[str, str] = {}
        self.waits: dict[str, int] = {}
        for name in flat.order:
            self._measure(name)
        self._check_loops()

    def _measure(self, name: str) -> None:
        """Find the shape of what a node sends, its operators and its name."""
        where, node = f"{self.file}:{name}", self.flat.nodes[name]
        if isinstance(node, nir.Input):
            self.shapes[name] = self._input_shape(name, node)
            self.names[name] = self._name(name, node)
            return
        arriving = {self.shapes[s] for s in self.flat.sources(name) if (s, name) not in self.flat.delayed}
        if len(arriving) > 1:
            raise FormatError(where, f"shapes {sorted(arriving)} arrive, which do not add up")
        shape = next(iter(arriving), None)
        if shape is None:
            raise FormatError(where, "nothing leads to it")
        if isinstance(node, nir.Delay):
            self.linear[name], self.waits[name] = LinearNode(()), self._timesteps(where, node)
        elif isinstance(node, LINEAR):
            self.linear[name] = linear_node(where, node, shape)
            for operator in self.linear[name].operators:
                shape = operator.output_shape(shape)
                if int(np.prod(shape, dtype=object)) > MAX_ELEMENTS:
                    raise FormatError(where, f"an output of shape {shape} is too large")
        else:
            self.names[name] = self._name(name, node)
        self.shapes[name] = shape

    def _check_loops(self) -> None:
        """Raise where what closes a loop has another shape than what else arrives; say where a timestep passes."""
        for a, b in sorted(self.flat.delayed):
            takes = next(self.shapes[s] for s in self.flat.sources(b) if (s, b) not in self.flat.delayed)
            if self.shapes[a] != takes:
                raise FormatError(f"{self.file}:{b}", f"shape {self.shapes[a]} comes back from {a!r}, {takes} arrives")
            self.losses.append(Loss(b, "adafire", f"what comes back from {a} arrives one timestep later"))

    def _timesteps(self, where: str, node: nir.Delay) -> int:
        """Return a delay in timesteps, the same for all neurons."""
        seconds = np.unique(as_float(f"{where}/delay", node.delay))
        if seconds.size != 1 or seconds[0] < 0:
            raise UnsupportedError(f"{where}/delay", "delays that differ from neuron to neuron, or are negative")
        steps = float(seconds[0]) / (self.dt or 1.0)
        whole = int(np.rint(steps))
        if whole > MAX_DELAY:
            raise UnsupportedError(f"{where}/delay", f"{seconds[0]:g} s are {steps:.4g} timesteps, at most {MAX_DELAY}")
        if abs(whole - steps) > 1e-6 * max(1.0, steps):
            self.losses.append(Loss(where, "adafire", f"{seconds[0]:g} s are taken for {whole} timesteps"))
        return whole

    def _input_shape(self, name: str, node: nir.Input) -> Shape:
        where = f"{self.file}:{name}"
        declared = np.asarray(node.input_type.get("input"))
        if declared.dtype.kind not in "iu" or declared.ndim != 1 or not 1 <= declared.size <= 4 or declared.min() < 1:
            raise FormatError(where, f"shape {declared!r:.60} found, expected one to four positive axes")
        return self._without_batch(name, tuple(int(n) for n in declared))

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

    def paths(self, target: str) -> Iterator[Path]:
        """Yield every path of linear nodes from a population, and every bias with the path that it takes."""
        waiting: list[tuple[str, tuple[Operator, ...], int, int]] = [
            (source, (), self._closes(source, target), 0) for source in self.flat.sources(target)
        ]
        count = 0
        while waiting:
            name, operators, loops, waits = waiting.pop(0)
            count += 1
            if count > MAX_PATHS:
                raise FormatError(f"{self.file}:{target}", f"more than {MAX_PATHS} paths lead to it")
            # A loop takes a timestep, unless a delay in it takes one already.
            delay = max(loops, waits)
            if name not in self.linear:
                yield Path(name, operators, None, delay)
                continue
            found = self.linear[name]
            if found.bias is not None and np.any(found.bias):
                yield Path(name, operators, found.bias, delay)
            waits += self.waits.get(name, 0)
            waiting += [
                (s, (*found.operators, *operators), loops + self._closes(s, name), waits)
                for s in self.flat.sources(name)
            ]

    def _closes(self, source: str, target: str) -> int:
        return int((source, target) in self.flat.delayed)
