"""The shipped targets as a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hw_targets.target import Target, available_targets, load_target
from toolchain.display import Displayed

if TYPE_CHECKING:
    from rich.console import RenderableType

#: The numbers that the list shows.
_LISTED = ("payload_bits", "membrane_bits", "cores_per_chip", "chips")


@dataclass(frozen=True)
class Catalogue(Displayed):
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
