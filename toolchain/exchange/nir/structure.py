"""How a netlist was made up before it became NIR nodes, and back.

The description lists populations and connections as the netlist has them. Weights of convolutions and
matrices are not repeated: they are found in the nodes, by lowering an operator whose weights are
their own numbers 1, 2, 3, ... and looking where the numbers went.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import nir
import numpy as np

from toolchain.exchange.lowering import lower
from toolchain.files import canonical_json, parse_json, whole
from toolchain.netlist import Connection, Conv, FormatError, Linear, Netlist, Provenance, UnsupportedError
from toolchain.netlist.operators import OPERATOR_KINDS
from toolchain.netlist.populations import POPULATION_KINDS
from toolchain.netlist.records import from_record, smallest_integer, to_record

#: Version of the profiles.
VERSION = 1

#: A node's weights stand for those of an operator of at most this many.
MAX_WEIGHTS = 1 << 28


def describe(netlist: Netlist, chains: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the metadata `structure` (JSON) and `arrays`.

    Parameters
    ----------
    netlist : Netlist
    chains : sequence of sequence of str
        The nodes that each connection became.
    """
    arrays: dict[str, np.ndarray] = {}
    populations = []
    for i, population in enumerate(netlist.populations):
        entry, own = _split(population)
        arrays |= {f"p{i:04d}.{name}": array for name, array in own.items()}
        populations.append(entry)
    connections = []
    for i, (connection, names) in enumerate(zip(netlist.connections, chains, strict=True)):
        lowered = lower(connection.name, connection.operators, netlist[connection.source].shape)
        nodes = {p.origin: name for p, name in zip(lowered, names, strict=False) if p.origin is not None}
        operators = []
        for j, operator in enumerate(connection.operators):
            entry, own = _split(operator)
            if j in nodes:
                entry["weight"] = {"node": nodes[j], "shape": own.pop("weight").shape}
            arrays |= {f"c{i:04d}.{j:02d}.{name}": array for name, array in own.items()}
            operators.append(entry)
        entry = {"source": connection.source, "target": connection.target, "operators": operators}
        if isinstance(connection.delay, np.ndarray):
            arrays[f"c{i:04d}.delay"] = smallest_integer(connection.delay)
        elif connection.delay:
            entry["delay"] = int(connection.delay)
        connections.append(entry)
    return {
        "structure": canonical_json({"populations": populations, "connections": connections}),
        "arrays": arrays,
    }


def _split(item: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Separate a record's arrays from its plain values."""
    entry: dict[str, Any] = {"kind": type(item).__name__}
    arrays: dict[str, np.ndarray] = {}
    for name, value in to_record(item).items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value):
            arrays |= {f"{name}.{k:02d}": v for k, v in enumerate(value)}
        else:
            entry[name] = value
    return entry, arrays


def restore(file: str, graph: nir.NIRGraph) -> Netlist:
    """Return the netlist that a graph's metadata describe, with the weights of its nodes.

    Raises
    ------
    FormatError
        When the description is damaged, or its content hash is another.
    """
    profile = graph.metadata["adafire"]
    where = f"{file}:adafire/structure"
    try:
        with whole(where):
            netlist = _netlist(file, where, graph)
    except UnsupportedError as error:
        raise FormatError(f"{where}, {error.where}", error.problem) from None
    stored = profile.get("netlist_hash")
    if not isinstance(stored, str) or netlist.content_hash != stored:
        raise FormatError(
            where,
            f"content hash {netlist.content_hash[:16]}... found, the file says {stored!r:.18}",
            "the file was changed: remove the metadata 'structure' to import its nodes as they are",
        )
    return netlist


def _netlist(file: str, where: str, graph: nir.NIRGraph) -> Netlist:
    profile = graph.metadata["adafire"]
    structure, arrays = parse_json(where, profile["structure"]), profile["arrays"]
    populations = tuple(
        _join(f"{where}/{i}", POPULATION_KINDS, entry, arrays, f"p{i:04d}")
        for i, entry in enumerate(structure["populations"])
    )
    shapes = {p.name: p.shape for p in populations}
    connections = tuple(
        Connection(
            entry["source"],
            entry["target"],
            _operators(where, entry, arrays, f"c{i:04d}", shapes[entry["source"]], graph),
            _delay(entry, arrays, f"c{i:04d}"),
        )
        for i, entry in enumerate(structure["connections"])
    )
    return Netlist(
        populations,
        connections,
        timesteps=int(profile["timesteps"]),
        weight_bits=int(profile["weight_bits"]),
        membrane_bits=int(profile["membrane_bits"]),
        alpha=tuple(float(a) for a in profile.get("alpha", ())),
        provenance=Provenance.from_json(parse_json(f"{file}:adafire/provenance", profile["provenance"])),
    )


def _join(where: str, kinds: dict[str, type], entry: Any, arrays: Any, key: str) -> Any:
    if not isinstance(entry, dict) or entry.get("kind") not in kinds:
        raise FormatError(where, f"kind {entry!r:.60} found, expected one of {', '.join(kinds)}")
    cls = kinds[entry["kind"]]
    record = {name: value for name, value in entry.items() if name != "kind"}
    for field in fields(cls):
        if field.name not in record:
            if f"{key}.{field.name}" in arrays:
                record[field.name] = np.asarray(arrays[f"{key}.{field.name}"])
            else:
                several = [np.asarray(arrays[n]) for n in sorted(arrays) if n.startswith(f"{key}.{field.name}.")]
                record |= {field.name: tuple(several)} if several else {}
    return from_record(where, cls, record)


def _delay(connection: Any, arrays: Any, key: str) -> int | np.ndarray:
    if f"{key}.delay" in arrays:
        return np.asarray(arrays[f"{key}.delay"]).astype(np.int64)
    return int(connection.get("delay", 0))


def _operators(
    where: str, connection: Any, arrays: Any, key: str, shape: tuple[int, ...], graph: nir.NIRGraph
) -> tuple[Any, ...]:
    """Build a connection's operators, first with numbered weights, then with those of the nodes."""
    numbered, nodes = [], {}
    for j, entry in enumerate(connection["operators"]):
        weight = entry.get("weight")
        if weight is not None:
            size = int(np.prod([int(n) for n in weight["shape"]], dtype=object))
            nodes[j] = np.asarray(graph.nodes[weight["node"]].weight)
            if not 1 <= size <= min(MAX_WEIGHTS, nodes[j].size):
                raise FormatError(where, f"weights of shape {weight['shape']} are not in node {weight['node']!r}")
            entry = {**entry, "weight": np.arange(1, size + 1).reshape(weight["shape"])}
        numbered.append(_join(f"{where}/{key}.{j:02d}", OPERATOR_KINDS, entry, arrays, f"{key}.{j:02d}"))
    lowered = {p.origin: p.operator for p in lower(key, numbered, shape) if p.origin is not None}
    for j, node in nodes.items():
        numbers = lowered[j]
        if not isinstance(numbers, Conv | Linear) or numbers.weight.shape != node.shape:
            raise FormatError(where, f"node weights of shape {node.shape} do not fit {key}.{j:02d}")
        used = numbers.weight > 0
        found = np.zeros(numbered[j].weight.size, np.int64)
        values = node[used].astype(np.float64)
        if not np.array_equal(values, np.rint(values)):
            raise FormatError(where, "weights are not integers")
        found[numbers.weight[used] - 1] = values.astype(np.int64)
        numbered[j] = replace(numbered[j], weight=found.reshape(numbered[j].weight.shape))
    return tuple(numbered)


def check_version(file: str, entries: dict[str, Any]) -> None:
    """Raise unless the profile's version is one that this reader knows."""
    version = entries.get("version")
    if not isinstance(version, int | np.integer) or int(version) != VERSION:
        raise FormatError(file, f"profile version {version} found, expected {VERSION}", "update adafire")


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
        return None if isinstance(a, str) and isinstance(b, str) and a == b else where
    return None if np.array_equal(np.asarray(a), np.asarray(b)) else where
