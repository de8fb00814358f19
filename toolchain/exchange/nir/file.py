"""NIR files: written whole or not at all, read without trusting them.

The HDF5 tree is read by our own guarded reader; what it holds is then handed to the `nir` package.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nir
import numpy as np

from toolchain.files import Guarded, open_guarded, write_bytes
from toolchain.netlist.errors import FormatError

#: Largest file, bytes of all arrays together, groups inside groups, nodes and characters of a name.
MAX_FILE = 1 << 32
MAX_CLAIM = 1 << 33
MAX_DEPTH = 12
MAX_ENTRIES = 50_000
MAX_NAME = 256


def graph_bytes(graph: nir.NIRGraph) -> bytes:
    """Return the bytes of a NIR file; the same graph gives the same bytes."""
    buffer = io.BytesIO()
    nir.write(buffer, graph)
    return buffer.getvalue()


def write_graph(graph: nir.NIRGraph, path: Path | str) -> None:
    """Write a NIR file, whole or not at all."""
    write_bytes(path, graph_bytes(graph))


def read_graph(path: Path | str) -> nir.NIRGraph:
    """Read a NIR file into the graph that the `nir` package makes of it, without its type check.

    Raises
    ------
    InputError
        When there is no such file.
    FormatError
        When the file is damaged or is not NIR.
    """
    with open_guarded(path, "a NIR graph (.nir)", limit=MAX_FILE, claims=MAX_CLAIM) as root:
        if "node" not in root or "version" not in root:
            raise FormatError(root.file, "is an HDF5 file, but no NIR graph")
        version = root.text("version")
        if version.split(".")[0] not in ("0", "1"):
            raise FormatError(
                root.at("version"), f"NIR version {version!r} found, expected 0.x or 1.x", "update adafire"
            )
        tree = _tree(root.child("node"), 0, [MAX_ENTRIES])
    return graph_of(Path(path).name, tree)


def graph_of(file: str, tree: dict[str, Any]) -> nir.NIRGraph:
    """Build the graph of a tree of plain values, as `nir` writes it."""
    kind = tree.get("type")
    if not isinstance(kind, str) or kind != "NIRGraph":
        raise FormatError(file, f"the root is {kind!r:.40}, expected a NIRGraph")
    return nir.NIRGraph(*_parts(file, tree), type_check=False)


def _parts(where: str, tree: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]], dict[str, Any]]:
    nodes, edges = tree.get("nodes"), tree.get("edges")
    if not isinstance(nodes, dict) or not isinstance(edges, list):
        raise FormatError(where, "a graph must have nodes and edges")
    return {name: _node(f"{where}/{name}", node) for name, node in nodes.items()}, edges, tree.get("metadata", {})


def _node(where: str, tree: Any) -> Any:
    kind = tree.get("type") if isinstance(tree, dict) else None
    if not isinstance(kind, str):
        raise FormatError(where, "a node must have a type")
    if kind == "NIRGraph":
        return nir.NIRGraph(*_parts(where, tree), type_check=False)
    try:
        with np.errstate(all="ignore"):
            return nir.dict2NIRNode(dict(tree))
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        # The package checks a node's fields by assertions and by the constructor's signature.
        reason = str(error).split("\n")[0][:200] or "unknown type or fields"
        raise FormatError(where, f"no valid {kind} node ({reason})") from None


def _tree(group: Guarded, depth: int, left: list[int]) -> dict[str, Any]:
    """Read a group into nested dictionaries of arrays, numbers and texts."""
    if depth > MAX_DEPTH:
        raise FormatError(group.where, f"groups are nested deeper than {MAX_DEPTH}")
    names = group.names()
    left[0] -= len(names)
    if left[0] < 0:
        raise FormatError(group.where, f"more than {MAX_ENTRIES} entries found")
    tree: dict[str, Any] = {}
    for name in names:
        if len(name) > MAX_NAME:
            raise FormatError(group.where, f"a name of {len(name)} characters found, expected at most {MAX_NAME}")
        if name == "edges":
            tree[name] = _edges(group, name)
            continue
        entry = group.entry(name)
        tree[name] = _tree(entry, depth + 1, left) if isinstance(entry, Guarded) else entry
    return tree


def _edges(group: Guarded, name: str) -> list[tuple[str, str]]:
    pairs = group.texts(name)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise FormatError(group.at(name), f"edges of shape {pairs.shape} found, expected (E, 2)")
    return [(str(a), str(b)) for a, b in pairs]


def as_float(where: str, values: Any) -> np.ndarray:
    """Return a node's numbers as float64, refusing NaN, infinity and text."""
    array = np.asarray(values)
    if array.size == 0:
        raise FormatError(where, f"is empty, of shape {array.shape}")
    if array.dtype.kind not in "iuf":
        raise FormatError(where, f"{array.dtype} found, expected numbers")
    array = array.astype(np.float64)
    if not np.all(np.isfinite(array)):
        raise FormatError(where, "holds NaN or infinite values")
    return array


def profile_of(item: Any) -> dict[str, Any] | None:
    """Return what the profile says of a node or graph; None where another tool wrote it."""
    entries = item.metadata.get("adafire") if isinstance(item.metadata, dict) else None
    return entries if isinstance(entries, dict) else None
