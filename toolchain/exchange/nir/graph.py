"""A NIR graph without subgraphs, checked, in topological order; of a loop one edge waits a timestep."""

from __future__ import annotations

import graphlib
from dataclasses import dataclass
from typing import Any

import nir

from toolchain.netlist import FormatError, UnsupportedError


@dataclass(frozen=True)
class FlatGraph:
    """Nodes by name, edges between them, and an order in which sources come first.

    Parameters
    ----------
    nodes : dict of str to nir node
        Inputs and outputs of subgraphs are gone.
    edges : tuple of (str, str)
    order : tuple of str
        Topological but for `delayed`; names decide where edges do not.
    delayed : frozenset of (str, str)
        The edges that close a loop, walking from the input: what they carry arrives one timestep later.
    """

    nodes: dict[str, Any]
    edges: tuple[tuple[str, str], ...]
    order: tuple[str, ...]
    delayed: frozenset[tuple[str, str]] = frozenset()

    def sources(self, name: str) -> list[str]:
        """Return the nodes with an edge to `name`, in order."""
        found = [a for a, b in self.edges if b == name]
        return sorted(found, key=self.order.index)

    def targets(self, name: str) -> list[str]:
        """Return the nodes that `name` has an edge to."""
        return [b for a, b in self.edges if a == name]


def flatten_graph(file: str, graph: nir.NIRGraph) -> FlatGraph:
    """Put subgraphs in line, check edges, and sort.

    Raises
    ------
    FormatError
        When an edge leads nowhere or there is not exactly one input, or no output.
    UnsupportedError
        When a loop has no neurons in it.
    """
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    _collect(file, graph, "", nodes, edges)
    inner = {
        n
        for n, node in nodes.items()
        if isinstance(node, nir.Input | nir.Output) and "." in n and n in _ports(nodes, graph)
    }
    for name in sorted(inner):
        before = [a for a, b in edges if b == name]
        after = [b for a, b in edges if a == name]
        edges = [(a, b) for a, b in edges if name not in (a, b)] + [(a, b) for a in before for b in after]
        del nodes[name]
    if len(set(edges)) != len(edges):
        twice = next(e for e in edges if edges.count(e) > 1)
        raise FormatError(file, f"edge {twice[0]} -> {twice[1]} is there twice")
    inputs = [n for n, node in nodes.items() if isinstance(node, nir.Input)]
    if len(inputs) != 1:
        raise UnsupportedError(file, f"inputs {sorted(inputs)[:5]} found, expected exactly one")
    if not any(isinstance(node, nir.Output) for node in nodes.values()):
        raise FormatError(file, "there is no output")
    into = [a for a, b in edges if b == inputs[0]]
    if into:
        raise FormatError(file, f"edge {into[0]} -> {inputs[0]} leads into the input")
    delayed = _closing(edges, inputs[0])
    forward = [edge for edge in edges if edge not in delayed]
    _check_loops(file, nodes, edges)
    return FlatGraph(nodes, tuple(edges), _sorted(file, nodes, forward, inputs[0]), delayed)


def _ports(nodes: dict[str, Any], graph: nir.NIRGraph) -> set[str]:
    return set(nodes) - set(graph.nodes)


def _collect(file: str, graph: Any, prefix: str, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> None:
    """Add a graph's nodes under a prefix; edges to a subgraph go to its input, edges from it leave its output."""
    entry, leave = {}, {}
    for name, node in graph.nodes.items():
        full = prefix + name
        if isinstance(node, nir.NIRGraph):
            _collect(file, node, f"{full}.", nodes, edges)
            entry[name] = _port(file, full, node, nir.Input)
            leave[name] = _port(file, full, node, nir.Output)
        elif full in nodes:
            raise FormatError(file, f"two nodes are called {full!r}")
        else:
            nodes[full] = node
            entry[name] = leave[name] = full
    for a, b in graph.edges:
        if a not in leave or b not in entry:
            raise FormatError(file, f"edge {prefix}{a} -> {prefix}{b} leads to no node")
        edges.append((leave[a], entry[b]))


def _port(file: str, name: str, graph: Any, kind: type) -> str:
    found = [n for n, node in graph.nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        raise UnsupportedError(
            f"{file}:{name}", f"a subgraph with {len(found)} nodes of type {kind.__name__} found, expected one"
        )
    return f"{name}.{found[0]}"


def _closing(edges: list[tuple[str, str]], first: str) -> frozenset[tuple[str, str]]:
    """Return the edges that lead back into the walk from the input; names decide which way it takes."""
    targets: dict[str, list[str]] = {}
    for a, b in sorted(edges):
        targets.setdefault(a, []).append(b)
    found: set[tuple[str, str]] = set()
    done: set[str] = set()
    inside: set[str] = set()
    starts = [first, *sorted({a for a, _ in edges})]
    for start in starts:
        walk = [] if start in done else [(start, iter(targets.get(start, [])))]
        inside.update(name for name, _ in walk)
        while walk:
            name, left = walk[-1]
            following = next(left, None)
            if following is None:
                walk.pop()
                inside.discard(name)
                done.add(name)
            elif following in inside:
                found.add((name, following))
            elif following not in done:
                inside.add(following)
                walk.append((following, iter(targets.get(following, []))))
    return frozenset(found)


def _check_loops(file: str, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> None:
    """Raise where a loop has no neuron in it: nothing would remember what goes around."""
    passive = {name for name, node in nodes.items() if not isinstance(node, _REMEMBER)}
    _sorted(file, {n: nodes[n] for n in passive}, [(a, b) for a, b in edges if a in passive and b in passive], "")


#: Nodes that loops may lead through.
_REMEMBER = (nir.CubaLI, nir.CubaLIF, nir.I, nir.IF, nir.LI, nir.LIF)


def _sorted(file: str, nodes: dict[str, Any], edges: list[tuple[str, str]], first: str) -> tuple[str, ...]:
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter({name: [] for name in nodes})
    for a, b in edges:
        sorter.add(b, a)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        cycle = " -> ".join(error.args[1][:8])
        raise UnsupportedError(file, f"a loop without neurons: {cycle}") from None
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda n: (n != first, n))
        order += ready
        sorter.done(*ready)
    return (first, *(n for n in order if n != first)) if first else tuple(order)
