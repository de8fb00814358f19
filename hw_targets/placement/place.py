"""Place a netlist on the cores and chips of a target within every per-core limit.

Populations are cut into boxes (channel- and space-wise), the boxes fill cores in topological order,
and the cores fill chips in the same order. Neighbouring layers so land on neighbouring cores. Where
METIS (pymetis) is installed and more than one chip is needed, its partition of the core graph is
taken instead when it sends less between chips.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import numpy as np

from hw_targets.fields import membrane_bits
from hw_targets.placement.boxes import Box, index, intersection, receptive_box, volume, whole
from hw_targets.placement.footprint import RESOURCES, core_limits, footprint
from hw_targets.placement.layers import LAYER_RESOURCES, holds_layers, layer_footprint, layer_limits, match_layers
from hw_targets.placement.placement import HOST, Placement, Tile, Traffic
from hw_targets.placement.split import FIXES, CapacityError, excess, split
from hw_targets.target import Target, available_targets, load_target
from hw_targets.unroll import unroll as unroll_bursts
from toolchain.netlist import MaxPool, Netlist, TargetError, UnsupportedError

#: Rounds of splitting sources further until their out-axons fit.
_ROUNDS = 24

Spikes = Mapping[str, np.ndarray]
_Key = tuple[str, Box]
_Edges = dict[tuple[_Key, _Key], float]


def place(netlist: Netlist, target: Target, traffic: Spikes | None = None, *, unroll: bool = False) -> Placement:
    """Place a netlist on a target.

    Parameters
    ----------
    netlist : Netlist
    target : Target
    traffic : mapping of str to ndarray (population shape), optional
        Spikes per neuron and inference, by population (measured: `Trace.spikes` summed over time
        and averaged over samples); one per neuron by default.
    unroll : bool
        Place the netlist with its bursts unrolled to binary spikes (see `hw_targets.unroll`); `traffic` is
        the original's.

    Returns
    -------
    Placement

    Raises
    ------
    CapacityError
        When a neuron, or the network, needs more of a resource than the target has.
    TargetError
        When it cannot be unrolled within the target's membrane.
    UnsupportedError
        When the target's file does not describe its cores.
    """
    if unroll:
        # A burst of n is n spikes either way: what was measured holds unrolled too, but for the input's bits.
        traffic = traffic and {name: spikes for name, spikes in traffic.items() if name != netlist.input.name}
        netlist = unroll_bursts(netlist, membrane_bits(netlist, target)).netlist
    if holds_layers(target):
        return _place_layers(netlist, target, traffic)
    if all(limit is None for limit in core_limits(target).values()):
        raise UnsupportedError(
            target.name, f"no source describes the cores of {target.title}, so nothing can be placed"
        )
    boxes = cut(netlist, target)
    edges = _edges(netlist, boxes, traffic)
    tiles = _fill_cores(netlist, target, boxes, edges)
    if target.cores is not None and (needed := max(t.core for t in tiles) + 1) > target.cores:
        raise CapacityError("netlist", "cores", needed, target.cores, target.title, larger_system(target, needed))
    flows = _flows(tiles, edges)
    chips = _fill_chips(max(t.core for t in tiles) + 1, target, flows)
    return Placement(
        target=target,
        netlist_hash=netlist.content_hash,
        tiles=tiles,
        chips=chips,
        used=_usage(netlist, target, tiles, edges),
        limits=(core_limits(target),) * len(chips),
        traffic=_sum_traffic(flows, chips),
        measured=traffic is not None,
    )


def _place_layers(netlist: Netlist, target: Target, traffic: Spikes | None) -> Placement:
    """Place each population whole on a core of its own."""
    cores = match_layers(netlist, target)
    boxes = {name: (whole(netlist[name].shape),) for name in cores}
    tiles = tuple(Tile(name, boxes[name][0], core) for name, core in cores.items())
    empty = dict.fromkeys(LAYER_RESOURCES, 0)
    on_core = {core: layer_footprint(netlist, name) for name, core in cores.items()}
    limits = layer_limits(target)
    chips = (0,) * len(limits)
    return Placement(
        target=target,
        netlist_hash=netlist.content_hash,
        tiles=tiles,
        chips=chips,
        used=tuple(on_core.get(core, empty) for core in range(len(limits))),
        limits=limits,
        traffic=_sum_traffic(_flows(tiles, _edges(netlist, boxes, traffic)), chips),
        measured=traffic is not None,
    )


def _flows(tiles: tuple[Tile, ...], edges: _Edges) -> dict[tuple[int, int], float]:
    """Return the spikes from core to core; the input's come from `HOST`."""
    core_of = {(t.population, t.box): t.core for t in tiles}
    flows: dict[tuple[int, int], float] = {}
    for (source, sink), spikes in edges.items():
        pair = (core_of.get(source, HOST), core_of[sink])
        flows[pair] = flows.get(pair, 0.0) + spikes
    return flows


def larger_system(target: Target, cores: int) -> str:
    """Return the advice for a network that needs more cores than a target has."""
    systems = [t for t in map(load_target, available_targets()) if t.chip == target.chip and (t.cores or 0) >= cores]
    if systems:
        best = min(systems, key=lambda t: t.cores or 0)
        return f"place it on {best.name} ({best.cores:,} cores), use fewer weight bits, or narrow the network"
    return "use fewer weight bits, or narrow the network"


def cut(netlist: Netlist, target: Target) -> dict[str, tuple[Box, ...]]:
    """Cut every population but the input into boxes that fit a core, out-axons included."""
    boxes = {p.name: split(netlist, target, p.name) for p in netlist.populations[1:]}
    if target.out_axons_per_core is None:
        return boxes
    for _ in range(_ROUNDS):
        wide: dict[str, int] = {}
        for (name, box), axons in _out_axons(netlist, target, boxes).items():
            if axons > target.out_axons_per_core:
                if volume(box) == 1:
                    limit = target.out_axons_per_core
                    raise CapacityError(name, "out_axons", axons, limit, target.title, FIXES["out_axons"])
                factor = min(-(-axons // target.out_axons_per_core), 4)
                wide[name] = max(wide.get(name, 0), len(boxes[name]) * factor, len(boxes[name]) + 1)
        if not wide:
            return boxes
        boxes |= {name: split(netlist, target, name, at_least) for name, at_least in wide.items()}
    raise TargetError(
        "netlist", f"out-axons do not fit {target.title} after {_ROUNDS} rounds of splitting", FIXES["out_axons"]
    )


def _out_axons(netlist: Netlist, target: Target, boxes: Mapping[str, tuple[Box, ...]]) -> dict[_Key, int]:
    """Count the output axons of each box: one per (neuron or position, box that listens to it)."""
    axons = {(name, box): 0 for name, parts in boxes.items() for box in parts}
    for (source, sink), _ in _edges(netlist, boxes, None).items():
        if source in axons:
            axons[source] += _shared_axons(netlist, target, source, sink)
    return axons


def _shared_axons(netlist: Netlist, target: Target, source: _Key, sink: _Key) -> int:
    """Count the axons of one edge: positions where the target shares kernels, neurons elsewhere."""
    count = 0
    for connection in netlist.inputs(sink[0]):
        if connection.source != source[0]:
            continue
        shape = netlist[source[0]].shape
        common = intersection(source[1], receptive_box(connection.operators, shape, _current_box(netlist, *sink)))
        if common is not None:
            count += volume(common[1:]) if target.shares_kernels and len(common) > 1 else volume(common)
    return count


def _current_box(netlist: Netlist, name: str, box: Box) -> Box:
    """Return the box of currents that a box of neurons takes: wider for max-pooling."""
    population = netlist[name]
    if isinstance(population, MaxPool):
        return receptive_box((population.window,), population.input_shape, box)
    return box


def _edges(netlist: Netlist, boxes: Mapping[str, tuple[Box, ...]], traffic: Spikes | None) -> _Edges:
    """Return the spikes from each box to each box that listens to it, the input included."""
    edges: _Edges = {}
    spikes = {p.name: _spikes(p.name, p.shape, traffic) for p in netlist.populations if p.emits}
    parts = {netlist.input.name: (whole(netlist.input.shape),), **boxes}
    for connection in netlist.connections:
        source, shape = connection.source, netlist[connection.source].shape
        for sink in boxes[connection.target]:
            receptive = receptive_box(connection.operators, shape, _current_box(netlist, connection.target, sink))
            for part in parts[source]:
                common = intersection(part, receptive)
                if common is not None:
                    key = ((source, part), (connection.target, sink))
                    edges[key] = edges.get(key, 0.0) + float(spikes[source][index(common)].sum())
    return edges


def _spikes(name: str, shape: tuple[int, ...], traffic: Spikes | None) -> np.ndarray:
    if traffic is None or name not in traffic:
        return np.ones(shape)
    if traffic[name].shape != shape:
        raise TargetError(name, f"traffic has shape {traffic[name].shape}, expected {shape}")
    return np.asarray(traffic[name], dtype=np.float64)


def _fill_cores(
    netlist: Netlist, target: Target, boxes: Mapping[str, tuple[Box, ...]], edges: _Edges
) -> tuple[Tile, ...]:
    """Put the boxes on cores in topological order, several on one while every limit holds."""
    out = _out_axons(netlist, target, boxes) if target.out_axons_per_core is not None else {}
    tiles: list[Tile] = []
    core, used = 0, dict.fromkeys(RESOURCES, 0)
    for name, parts in boxes.items():
        for box in parts:
            own = {**footprint(netlist, target, name, box), "out_axons": out.get((name, box), 0)}
            together = {r: used[r] + own[r] for r in RESOURCES}
            if tiles and excess(together, target):
                core, together = core + 1, own
            used = together
            tiles.append(Tile(name, box, core))
    return tuple(tiles)


def _fill_chips(cores: int, target: Target, flows: Mapping[tuple[int, int], float]) -> tuple[int, ...]:
    per_chip = target.cores_per_chip
    if per_chip is None or cores <= per_chip:
        return (0,) * cores
    greedy = tuple(core // per_chip for core in range(cores))
    parts = -(-cores // per_chip)
    partition = _metis(cores, parts, flows)
    if partition is None or max(partition.count(p) for p in range(parts)) > per_chip:
        return greedy
    return min((greedy, partition), key=lambda chips: _sum_traffic(flows, chips).between_chips)


def _metis(cores: int, parts: int, flows: Mapping[tuple[int, int], float]) -> tuple[int, ...] | None:
    """Partition the cores into chips with METIS; None where it is not installed."""
    if importlib.util.find_spec("pymetis") is None:
        return None
    import pymetis

    # METIS takes an undirected graph with integer weights: both directions add up, in millionths of the top.
    weights: list[dict[int, int]] = [{} for _ in range(cores)]
    top = max(flows.values(), default=0.0) or 1.0
    for (a, b), spikes in flows.items():
        if a != b and HOST not in (a, b):
            weight = max(1, round(spikes / top * 1_000_000))
            for x, y in ((a, b), (b, a)):
                weights[x][y] = weights[x].get(y, 0) + weight
    starts = np.cumsum([0, *(len(w) for w in weights)])
    _, membership = pymetis.part_graph(
        parts,
        pymetis.CSRAdjacency(starts.tolist(), [n for w in weights for n in w]),
        eweights=[e for w in weights for e in w.values()],
        recursive=False,
        options=pymetis.Options(seed=0, ufactor=1),
    )
    order = {part: chip for chip, part in enumerate(dict.fromkeys(membership))}
    return tuple(order[part] for part in membership)


def _sum_traffic(flows: Mapping[tuple[int, int], float], chips: tuple[int, ...]) -> Traffic:
    host = within = between = chip = 0.0
    for (a, b), spikes in flows.items():
        if a == HOST:
            host += spikes
        elif a == b:
            within += spikes
        elif chips[a] == chips[b]:
            between += spikes
        else:
            chip += spikes
    return Traffic(from_host=host, within_cores=within, between_cores=between, between_chips=chip)


def _usage(netlist: Netlist, target: Target, tiles: tuple[Tile, ...], edges: _Edges) -> tuple[Mapping[str, int], ...]:
    used = [dict.fromkeys(RESOURCES, 0) for _ in range(max(t.core for t in tiles) + 1)]
    for tile in tiles:
        for resource, amount in footprint(netlist, target, tile.population, tile.box).items():
            used[tile.core][resource] += amount
    core_of = {(t.population, t.box): t.core for t in tiles}
    for source, sink in edges:
        if source in core_of:
            used[core_of[source]]["out_axons"] += _shared_axons(netlist, target, source, sink)
    return tuple(used)
