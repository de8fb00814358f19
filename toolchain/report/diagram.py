"""Coordinates of the report's own drawings: the network as an arc diagram, the cores as a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hw_targets.placement import Placement
from toolchain.netlist import Netlist
from toolchain.report.rows import Row

#: Pixels from one population to the next, and the side of its square.
STEP, SIDE = 56, 36
#: Rows of cores in the map.
CORES_PER_ROW = 32


@dataclass(frozen=True)
class Square:
    """One population: a square with a label below."""

    name: str
    anchor: str
    x: int
    label: str
    share: int
    title: str


@dataclass(frozen=True)
class Edge:
    """One connection: an arrow to the next population, or an arc over those between."""

    path: str
    title: str
    is_skip: bool


@dataclass(frozen=True)
class Diagram:
    """The network, left to right; all numbers are SVG units."""

    width: int
    height: int
    top: int
    nodes: tuple[Square, ...]
    edges: tuple[Edge, ...]


def draw_network(netlist: Netlist, rows: Sequence[Row], anchors: Mapping[str, str]) -> Diagram:
    """Lay populations out in a line, connections that skip populations as arcs above it."""
    position = {p.name: i for i, p in enumerate(netlist.populations)}
    spans = [position[c.target] - position[c.source] for c in netlist.connections]
    top = 26 + _rise(max(spans, default=1))
    middle = top + SIDE // 2
    edges = []
    for connection, span in zip(netlist.connections, spans, strict=True):
        start, stop = _center(position[connection.source]), _center(position[connection.target])
        operators = ", ".join(type(o).__name__ for o in connection.operators) or "identity"
        title = f"{connection.source} → {connection.target}: {operators}"
        if span == 1:
            edges.append(Edge(f"M{start + SIDE // 2},{middle} H{stop - SIDE // 2 - 3}", title, False))
        else:
            over = top - 4 - _rise(span)
            curve = f"M{start + 6},{top - 2} C{start + 10},{over} {stop - 10},{over} {stop - 6},{top - 4}"
            edges.append(Edge(curve, title, True))
    nodes = tuple(
        Square(
            name=row.name,
            anchor=anchors[row.name],
            x=_center(i) - SIDE // 2,
            label=_label(row),
            share=min(100, round(100 * (row.firing_rate or 0))),
            title=_title(row),
        )
        for i, row in enumerate(rows)
    )
    longest = max(len(row.name) for row in rows)
    return Diagram(
        width=_center(len(rows) - 1) + STEP // 2 + 20,
        height=top + SIDE + 26 + int(longest * 4.8),
        top=top,
        nodes=nodes,
        edges=tuple(edges),
    )


def _center(position: int) -> int:
    # The first label leans to the left, so it needs room there.
    return 70 + position * STEP


def _rise(span: int) -> int:
    return 0 if span <= 1 else int(22 * span**0.6)


def _label(row: Row) -> str:
    return {"Input": "in", "MaxPool": "max"}.get(row.kind, "out" if row.phi is None else f"φ{row.phi}")


def _title(row: Row) -> str:
    shape = "×".join(map(str, row.shape))
    rate = "" if row.firing_rate is None else f", {row.firing_rate:.1%} of payloads are not zero"
    return f"{row.name}: {row.kind}, {shape}{rate}"


@dataclass(frozen=True)
class Core:
    """One core of the map."""

    x: int
    y: int
    share: int
    title: str


def draw_cores(placement: Placement) -> tuple[Core, ...]:
    """Lay the cores out in rows, each with the share of its fullest limited resource."""
    tenants: dict[int, list[str]] = {}
    for tile in placement.tiles:
        names = tenants.setdefault(tile.core, [])
        if tile.population not in names:
            names.append(tile.population)
    found = []
    for core, used in enumerate(placement.used):
        limited = {name: (n, limit) for name, n in used.items() if (limit := placement.limits[core][name])}
        share = max((100 * n / limit for n, limit in limited.values()), default=0.0)
        amounts = ", ".join(f"{name.replace('_', ' ')} {n:,} of {limit:,}" for name, (n, limit) in limited.items())
        title = f"core {core}, chip {placement.chips[core]}: {', '.join(tenants.get(core, []))}; {amounts}"
        found.append(Core(core % CORES_PER_ROW * 26, core // CORES_PER_ROW * 26, min(100, round(share)), title))
    return tuple(found)


@dataclass(frozen=True)
class Bar:
    """One payload of a burst histogram; numbers are percent of the drawing."""

    payload: int
    x: float
    width: float
    height: float
    share: float
    title: str


def draw_bursts(bursts: np.ndarray) -> tuple[Bar, ...]:
    """Lay out how often a population emits each payload, relative to the most frequent one."""
    total, most = max(1, int(bursts.sum())), max(1, int(bursts.max()))
    slot = 100 / len(bursts)
    return tuple(
        Bar(
            payload=n,
            x=round(slot * (n + 0.08), 2),
            width=round(slot * 0.84, 2),
            height=round(100 * int(times) / most, 2),
            share=round(100 * int(times) / total, 1),
            title=f"payload {n}: {int(times) / total:.2%} ({int(times):,} times)",
        )
        for n, times in enumerate(bursts)
    )
