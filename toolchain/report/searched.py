"""What a search left in a netlist's provenance, read without trust: the file may be anyone's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Point:
    """One setting as measured on the search's held-out samples.

    Parameters
    ----------
    name : str
    operations : float
        SOPs per sample.
    divergence, agreement : float
        Symmetric KL divergence from the ANN; share of samples with the ANN's decision.
    predicted : float or None
        SOPs per sample that the search expected.
    """

    name: str
    operations: float
    divergence: float
    agreement: float
    predicted: float | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """Increase of the divergence of the whole network when one layer takes one setting.

    Parameters
    ----------
    title : str
    layers : tuple of str
    settings : tuple of float
    increase : ndarray (layers, settings), float64
    """

    title: str
    layers: tuple[str, ...]
    settings: tuple[float, ...]
    increase: np.ndarray


@dataclass(frozen=True, eq=False)
class Search:
    """A search, as far as its report could be read.

    Parameters
    ----------
    strategy : str
    points : tuple of Point
        Uniform phi without compression first, where it was measured; what was chosen last.
    rho, sensitivity : mapping of str to float
        Of layers, where the strategy has them.
    tables : tuple of Table
    """

    strategy: str
    points: tuple[Point, ...]
    rho: Mapping[str, float]
    sensitivity: Mapping[str, float]
    tables: tuple[Table, ...]


def read_search(provenance: Mapping[str, Any]) -> Search | None:
    """Read a search's report; None where there is none."""
    report = provenance.get("search")
    if not isinstance(report, dict):
        return None
    firing, compression = (_mapping(report, key) for key in ("firing", "compression"))
    points = [
        _point("uniform φ, no compression", report.get("uniform", firing.get("uniform"))),
        _point("search", firing.get("measured"), firing.get("candidates")),
        _point("compression", compression.get("measured"), compression.get("candidates")),
    ]
    phi_table, rho_table = _table("φ", report.get("firing_table")), _table("ρ", report.get("compression_table"))
    return Search(
        strategy=str(report.get("strategy", "unknown")),
        points=tuple(p for p in points if p is not None),
        rho=_numbers(compression.get("rho")),
        sensitivity={} if phi_table is None else _chosen(phi_table, _numbers(firing.get("phi"))),
        tables=tuple(t for t in (phi_table, rho_table) if t is not None),
    )


def _mapping(report: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = report.get(key)
    return found if isinstance(found, dict) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


def _numbers(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        return {}
    return {str(name): float(number) for name, number in value.items() if _is_number(number)}


def _point(name: str, measured: object, candidates: object = None) -> Point | None:
    found = _numbers(measured)
    if not {"operations", "divergence", "agreement"} <= found.keys():
        return None
    return Point(name, found["operations"], found["divergence"], found["agreement"], _predicted(measured, candidates))


def _predicted(measured: object, candidates: object) -> float | None:
    """Return what was predicted for the candidate that was measured so."""
    for candidate in candidates if isinstance(candidates, list) else []:
        if isinstance(candidate, dict) and candidate.get("measured") == measured:
            return _numbers({**candidate, **_mapping(candidate, "predicted")}).get(
                "operations", _numbers(candidate).get("predicted_operations")
            )
    return None


def _table(title: str, value: object) -> Table | None:
    if not isinstance(value, dict):
        return None
    try:
        divergence = np.array(value["divergence"], dtype=float)
        base = np.array(value["base"], dtype=np.int64)
        layers = tuple(str(name) for name in value["layers"])
        settings = tuple(float(setting) for setting in value["settings"])
        if divergence.shape != (len(layers), len(settings)) or base.shape != (len(layers),):
            return None
        increase = divergence - np.take_along_axis(divergence, base[:, None], axis=1)
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    return Table(title, layers, settings, increase) if np.all(np.isfinite(increase)) else None


def _chosen(table: Table, phi: Mapping[str, float]) -> dict[str, float]:
    """Return each layer's increase of the divergence at the phi that was chosen for it."""
    return {
        name: float(table.increase[row, table.settings.index(phi[name])])
        for row, name in enumerate(table.layers)
        if phi.get(name) in table.settings
    }
