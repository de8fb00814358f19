"""The netlist file (.h5): the authoritative form of a netlist (schema in docs/formats.md).

Plain, uncompressed HDF5 that any reader opens. The same netlist gives the same bytes: no times, no
random names, a fixed version of the container. Reading trusts nothing: see `guarded_hdf5`.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np

from toolchain.files.atomic import write_bytes
from toolchain.files.guarded_hdf5 import Guarded, open_guarded, whole
from toolchain.files.hdf5_new import create_hdf5
from toolchain.files.json_text import canonical_json, parse_json
from toolchain.netlist.errors import FormatError
from toolchain.netlist.graph import Connection, Netlist
from toolchain.netlist.leaky import CubaLif, LeakyReadout
from toolchain.netlist.operators import OPERATOR_KINDS
from toolchain.netlist.populations import POPULATION_KINDS
from toolchain.netlist.provenance import Provenance
from toolchain.netlist.radix import SpikeCode
from toolchain.netlist.records import from_record, smallest_integer, to_record

FORMAT = "adafire-netlist"
#: Newest version of the schema. Every version is read.
SCHEMA = 3

#: More operators than this in one connection, or entries in the graph, are refused.
MAX_OPERATORS = 64
MAX_ENTRIES = 20_000


def write_netlist(netlist: Netlist, path: Path | str) -> None:
    """Write a netlist, whole or not at all; equal netlists give equal bytes.

    Parameters
    ----------
    netlist : Netlist
    path : path

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    write_bytes(path, netlist_bytes(netlist))


def schema_of(netlist: Netlist) -> int:
    """Return the oldest version of the schema that says all of a netlist, so that older readers take what they can.

    2 added the spike code: a file without it holds rates. 3 added leaky populations, and delays of connections.
    """
    leaky = any(isinstance(p, CubaLif | LeakyReadout) for p in netlist.populations)
    if leaky or any(np.any(c.delay) for c in netlist.connections):
        return 3
    return 1 if netlist.spike_code == "rate" else 2


def netlist_bytes(netlist: Netlist) -> bytes:
    """Return the bytes of a netlist's file."""
    buffer = io.BytesIO()
    with create_hdf5(buffer) as file:
        file.attrs["format"] = np.bytes_(FORMAT)
        file.attrs["schema"] = np.int64(schema_of(netlist))
        file.attrs["content_hash"] = np.bytes_(netlist.content_hash)
        for name in ("timesteps", "weight_bits", "membrane_bits"):
            file.attrs[name] = np.int64(getattr(netlist, name))
        if schema_of(netlist) > 1:
            file.attrs["spike_code"] = np.bytes_(netlist.spike_code)
        file.create_dataset("alpha", data=np.array(netlist.alpha, dtype="<f8"))
        provenance = canonical_json(netlist.provenance.to_json()).encode("ascii")
        file.create_dataset("provenance", data=np.frombuffer(provenance, np.uint8))
        populations = file.create_group("populations")
        for index, population in enumerate(netlist.populations):
            _write_record(populations.create_group(f"{index:05d}"), population)
        connections = file.create_group("connections")
        for index, connection in enumerate(netlist.connections):
            group = connections.create_group(f"{index:05d}")
            group.attrs["source"] = np.bytes_(connection.source)
            group.attrs["target"] = np.bytes_(connection.target)
            # Only where there is one: what earlier versions wrote has none, and equal netlists give equal bytes.
            if np.any(connection.delay):
                _write_delay(group, connection.delay)
            for position, operator in enumerate(connection.operators):
                _write_record(group.create_group(f"{position:02d}"), operator)
    return buffer.getvalue()


def _write_delay(group: h5py.Group, delay: int | np.ndarray) -> None:
    """Write one delay as an attribute, those of every synapse as an array."""
    if isinstance(delay, np.ndarray):
        group.create_dataset("delay", data=smallest_integer(delay))
    else:
        group.attrs["delay"] = np.int64(delay)


def _write_record(group: h5py.Group, item: Any) -> None:
    group.attrs["kind"] = np.bytes_(type(item).__name__)
    for name, value in to_record(item).items():
        if isinstance(value, np.ndarray):
            group.create_dataset(name, data=value)
        elif isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value):
            arrays = group.create_group(name)
            for index, array in enumerate(value):
                arrays.create_dataset(f"{index:02d}", data=array)
        elif isinstance(value, str):
            group.attrs[name] = np.bytes_(value)
        elif isinstance(value, bool):
            group.attrs[name] = np.bool_(value)
        elif isinstance(value, float):
            group.attrs[name] = np.float64(value)
        else:
            group.attrs[name] = np.array(value, dtype="<i8")


def read_netlist(path: Path | str) -> Netlist:
    """Read and check a netlist: types, shapes, ranges, references and content hash.

    Parameters
    ----------
    path : path

    Returns
    -------
    Netlist

    Raises
    ------
    InputError
        When there is no such file.
    FormatError
        When the file is damaged, of another schema, or contradicts itself; names the place.
    """
    with open_guarded(path, "a netlist (.h5)") as root:
        _check_header(root)
        netlist = _read(root)
        stored = root.text_attribute("content_hash")
    if netlist.content_hash != stored:
        raise FormatError(
            str(path),
            f"content hash {netlist.content_hash[:16]}... found, the file says {stored[:16]!r}...",
            "the file was changed or damaged: make it again",
        )
    return netlist


def _check_header(root: Guarded) -> None:
    if "format" not in root.attribute_names() or root.text_attribute("format") != FORMAT:
        raise FormatError(root.file, "is an HDF5 file, but no netlist of adafire")
    schema = root.attribute("schema")
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        fix = "update adafire" if type(schema) is int and schema > SCHEMA else "convert the network again"
        raise FormatError(root.file, f"schema version {schema} found, expected 1 to {SCHEMA}", fix)
    expected = {"format", "schema", "content_hash", "timesteps", "weight_bits", "membrane_bits"}
    if schema > 1:
        expected.add("spike_code")
    if root.attribute_names() != expected:
        raise FormatError(root.where, f"attributes {sorted(root.attribute_names())} found, expected {sorted(expected)}")
    names = ["alpha", "connections", "populations", "provenance"]
    if root.names() != names:
        raise FormatError(root.where, f"entries {root.names()} found, expected {names}")


def _read(root: Guarded) -> Netlist:
    alpha = root.array("alpha")
    if alpha.ndim != 1 or alpha.dtype.kind != "f":
        raise FormatError(root.at("alpha"), f"{alpha.dtype} of shape {alpha.shape} found, expected floats (T,)")
    provenance = root.array("provenance")
    if provenance.dtype != np.uint8 or provenance.ndim != 1:
        raise FormatError(root.at("provenance"), f"{provenance.dtype} of {provenance.ndim} axes found, expected bytes")
    try:
        text = provenance.tobytes().decode("ascii")
    except UnicodeDecodeError:
        raise FormatError(root.at("provenance"), "text is not ASCII") from None
    stored = root.text_attribute("spike_code") if "spike_code" in root.attribute_names() else "rate"
    code: SpikeCode | None = next((c for c in get_args(SpikeCode) if c == stored), None)
    if code is None:
        raise FormatError(root.where, f"spike_code {stored!r} found, expected one of {', '.join(get_args(SpikeCode))}")
    populations, connections = root.child("populations"), root.child("connections")
    return Netlist(
        populations=tuple(
            _read_record(populations.child(name), POPULATION_KINDS) for name in _numbered(populations, MAX_ENTRIES, 5)
        ),
        connections=tuple(_read_connection(connections.child(name)) for name in _numbered(connections, MAX_ENTRIES, 5)),
        timesteps=root.integer("timesteps"),
        weight_bits=root.integer("weight_bits"),
        membrane_bits=root.integer("membrane_bits"),
        alpha=tuple(alpha.tolist()),
        provenance=Provenance.from_json(parse_json(root.at("provenance"), text)),
        spike_code=code,
    )


def _numbered(group: Guarded, limit: int, digits: int, besides: Collection[str] = ()) -> list[str]:
    names = [name for name in group.names() if name not in besides]
    if len(names) > limit:
        raise FormatError(group.where, f"{len(names)} entries found, expected at most {limit}")
    expected = [f"{i:0{digits}d}" for i in range(len(names))]
    if names != expected:
        raise FormatError(group.where, f"entries are not numbered {expected[:1]} ... {expected[-1:]}")
    return names


def _read_connection(group: Guarded) -> Connection:
    source, target = group.text_attribute("source"), group.text_attribute("target")
    if group.attribute_names() - {"delay"} != {"source", "target"}:
        raise FormatError(group.where, "attributes other than source, target and delay found")
    names = _numbered(group, MAX_OPERATORS, 2, besides={"delay"})
    operators = tuple(_read_record(group.child(name), OPERATOR_KINDS) for name in names)
    return Connection(source, target, operators, _read_delay(group))


def _read_delay(group: Guarded) -> int | np.ndarray:
    if "delay" in group.attribute_names():
        return group.integer("delay")
    if "delay" not in group.names():
        return 0
    delay = group.array("delay")
    if delay.dtype.kind not in "iu":
        raise FormatError(group.at("delay"), f"{delay.dtype} found, expected integers")
    return delay.astype(np.int64)


def _read_record(group: Guarded, kinds: Mapping[str, type]) -> Any:
    kind = group.attribute("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise FormatError(group.where, f"kind {kind!r} found, expected one of {', '.join(kinds)}")
    cls = kinds[kind]
    known = {f.name for f in fields(cls)}
    record: dict[str, Any] = {}
    for name in group.attribute_names() - {"kind"}:
        record[name] = group.attribute(name) if name in known else None
    for name in group.names():
        if name in known and group.is_group(name):
            arrays = group.child(name)
            record[name] = tuple(arrays.array(n) for n in _numbered(arrays, MAX_OPERATORS, 2))
        else:
            record[name] = group.array(name) if name in known else None
    with whole(group.where):
        return from_record(group.where, cls, record)
