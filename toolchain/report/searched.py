"""What a search left in a netlist's provenance, as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.netlist import Measured, Provenance, SensitivityTable
from toolchain.netlist.provenance import SearchRecord, Trial


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
class Search:
    """A search as the page shows it.

    Parameters
    ----------
    strategy : str
    points : tuple of Point
        Uniform phi without compression first, where it was measured; what was chosen last.
    rho, sensitivity : mapping of str to float
        Of layers, where the strategy has them.
    tables : mapping of str to SensitivityTable
        By the sign of what they vary.
    """

    strategy: str
    points: tuple[Point, ...]
    rho: Mapping[str, float]
    sensitivity: Mapping[str, float]
    tables: Mapping[str, SensitivityTable]


def read_search(provenance: Provenance) -> Search | None:
    """Lay out a search's record; None where there is none."""
    record = provenance.search
    if record is None:
        return None
    firing, compression = record.firing, record.compression
    tables = {"φ": record.firing_table, "ρ": record.compression_table}
    return Search(
        strategy=record.strategy,
        points=tuple(_points(record)),
        rho=(compression.rho if compression else None) or {},
        sensitivity=_chosen(record.firing_table, (firing.phi if firing else None) or {}),
        tables={sign: table for sign, table in tables.items() if table is not None},
    )


def _points(record: SearchRecord) -> list[Point]:
    firing, compression = record.firing, record.compression
    uniform = record.uniform or (firing.uniform if firing else None)
    points = [] if uniform is None else [_point("uniform φ, no compression", uniform, ())]
    if firing is not None:
        points.append(_point("search", firing.measured, firing.candidates))
    if compression is not None:
        points.append(_point("compression", compression.measured, compression.candidates))
    return points


def _point(name: str, measured: Measured, trials: Sequence[Trial]) -> Point:
    """Return a point, with what was predicted for the trial that was measured so."""
    predicted = next((trial.expected_operations for trial in trials if trial.measured == measured), None)
    return Point(name, measured.operations, measured.divergence, measured.agreement, predicted)


def _chosen(table: SensitivityTable | None, phi: Mapping[str, int]) -> dict[str, float]:
    """Return each layer's increase of the divergence at the phi that was chosen for it."""
    if table is None:
        return {}
    return {
        name: float(table.increase[row, table.settings.index(phi[name])])
        for row, name in enumerate(table.layers)
        if phi.get(name) in table.settings
    }
