"""The shipped targets as a list, and one target as a data sheet with the source of every number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hw_targets.target import BASES, Target, available_targets, load_target

if TYPE_CHECKING:
    from rich.console import RenderableType

#: The numbers that the list shows.
_LISTED = ("payload_bits", "membrane_bits", "cores_per_chip", "chips")


@dataclass(frozen=True)
class Catalogue:
    """Every shipped target."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets, by name."""
        return tuple(load_target(name) for name in available_targets())

    def to_json(self) -> dict[str, Any]:
        """Return name, title, kind and the main numbers of each target."""
        return {
            "targets": [
                {
                    "name": t.name,
                    "title": t.title,
                    "kind": t.kind,
                    "chip": t.chip,
                    **{k: getattr(t, k) for k in _LISTED},
                }
                for t in self.targets
            ]
        }

    def __rich__(self) -> RenderableType:
        """Show the list as a table."""
        from rich.table import Column, Table

        table = Table(Column("target", no_wrap=True), "what", "spikes", "weights", "cores per chip", "chips")
        for t in self.targets:
            spikes = "?" if t.payload_bits is None else "binary" if t.binary else f"{t.payload_bits} bits"
            weights = "?" if t.weight_bits is None else f"up to {max(t.weight_bits)} bits"
            cores = "?" if t.cores_per_chip is None else str(t.cores_per_chip)
            chips = "any number" if t.chips is None else f"{t.chips:,}"
            table.add_row(t.name, t.title, spikes, weights, cores, chips)
        return table


@dataclass(frozen=True)
class Sheet:
    """One target's numbers with their sources."""

    target: Target

    def to_json(self) -> dict[str, Any]:
        """Return every fact with value, basis and source."""
        return self.target.to_json()

    def __rich__(self) -> RenderableType:
        """Show the facts as a table, unknown ones with the reason."""
        from rich.console import Group
        from rich.table import Column, Table

        table = Table(Column("number", no_wrap=True), "value", "basis", "source", title=self.target.title)
        for name, fact in self.target.facts.items():
            value = "unknown" if fact.value is None else _spell(fact.value)
            table.add_row(name, value, fact.basis, fact.source + (f" ({fact.note})" if fact.note else ""))
        used = {f.basis for f in self.target.facts.values()}
        return Group(table, *(f"{basis}: {meaning}" for basis, meaning in BASES.items() if basis in used))


def _spell(value: int | tuple[int, ...]) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{v:,}" for v in value)
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:,}"
