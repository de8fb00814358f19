"""A netlist as text for `diff`: one line per population and per operator, everything that the content hash covers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from toolchain.netlist import Netlist
from toolchain.netlist.records import digest, to_record


def netlist_text(netlist: Netlist) -> str:
    """Return a stable text of a netlist, without its provenance (layout in docs/formats.md).

    Two texts differ where the netlists do. An array stands there as its shape, its range and the first 8 hex digits of
    the SHA-256 of its values (`toolchain.netlist.records.digest`); the last line is the content hash.

    Parameters
    ----------
    netlist : Netlist

    Returns
    -------
    str
        Lines, each with its end.
    """
    names = ["timesteps", "weight_bits", "membrane_bits", *(["spike_code"] if netlist.radix is not None else [])]
    settings = {name: getattr(netlist, name) for name in names}
    lines = [_line("netlist", {**settings, "alpha": np.array(netlist.alpha)}.items())]
    for population in netlist.populations:
        record = to_record(population)
        lines.append(_line(f"population {record.pop('name')} {type(population).__name__}", record.items()))
    for connection in netlist.connections:
        delay = [("delay", connection.delay)] if np.any(connection.delay) else []
        lines.append(_line(f"connection {connection.name}", delay))
        lines += [_line(f"  {type(o).__name__}", to_record(o).items()) for o in connection.operators]
    lines.append(f"hash {netlist.content_hash}")
    return "".join(f"{line}\n" for line in lines)


def _line(head: str, fields: Iterable[tuple[str, Any]]) -> str:
    return " ".join([head, *(f"{name}={_value(value)}" for name, value in fields)])


def _value(value: Any) -> str:
    """Return a field of a record, without spaces."""
    match value:
        case np.ndarray():
            extent = f":{value.min()}..{value.max()}" if value.size else ""
            return f"{_value(value.shape)}{extent}#{digest([value])[:8]}"
        case tuple():
            return f"({','.join(_value(v) for v in value)})"
    return str(value)
