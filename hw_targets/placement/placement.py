"""Where every neuron goes, what each core is filled with, and what travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hw_targets.placement.boxes import Box, volume
from hw_targets.target import Target
from toolchain.display import Displayed

if TYPE_CHECKING:
    from rich.console import RenderableType

#: The "core" that the input's spikes come from.
HOST = -1


@dataclass(frozen=True)
class Tile:
    """A box of one population's neurons on one core.

    Parameters
    ----------
    population : str
    box : Box
        One half-open (start, stop) per axis of the population's shape, channels first.
    core : int
    """

    population: str
    box: Box
    core: int


@dataclass(frozen=True)
class Traffic:
    """Spikes per inference by how far they go; a spike counts once per box that listens to it.

    Parameters
    ----------
    from_host, within_cores, between_cores, between_chips : float
        Into the first layers; inside one core; between cores of one chip; between chips.
    """

    from_host: float
    within_cores: float
    between_cores: float
    between_chips: float


@dataclass(frozen=True, eq=False)
class Placement(Displayed):
    """A netlist on the cores of a target.

    Parameters
    ----------
    target : Target
    netlist_hash : str
        Content hash of the netlist that was placed.
    tiles : tuple of Tile
        They cover every population but the input, without overlap.
    chips : tuple of int
        The chip of each core.
    used : tuple of mapping of str to int
        Per core, what is used of each resource.
    limits : tuple of mapping of str to int or None
        Per core, how much of each resource there is; None where unlimited or unknown.
    traffic : Traffic
    measured : bool
        Whether `traffic` weighs neurons by measured spikes; otherwise each neuron spikes once.
    """

    target: Target
    netlist_hash: str
    tiles: tuple[Tile, ...]
    chips: tuple[int, ...]
    used: tuple[Mapping[str, int], ...]
    limits: tuple[Mapping[str, int | None], ...]
    traffic: Traffic
    measured: bool

    @property
    def cores(self) -> int:
        """Number of cores in use."""
        return len(self.used)

    @property
    def chip_count(self) -> int:
        """Number of chips in use."""
        return len(set(self.chips))

    @cached_property
    def utilization(self) -> Mapping[str, tuple[int, int | None]]:
        """(used, max) of chips and cores, and of each resource on the core that uses most of it."""
        fullest = {f"{r}_per_core": max(self._pairs(r), key=lambda p: p[0] / (p[1] or 1)) for r in self.used[0]}
        return {"chips": (self.chip_count, self.target.chips), "cores": (self.cores, self.target.cores), **fullest}

    def _pairs(self, resource: str) -> list[tuple[int, int | None]]:
        return [(used[resource], limit[resource]) for used, limit in zip(self.used, self.limits, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Return the placement as JSON values: tiles, cores, utilization, traffic."""
        return {
            "target": self.target.name,
            "netlist_hash": self.netlist_hash,
            "utilization": {name: list(pair) for name, pair in self.utilization.items()},
            "traffic": {**self.traffic.__dict__, "measured": self.measured},
            "cores": [
                {"core": i, "chip": self.chips[i], "used": {r: [used[r], limit[r]] for r in used}}
                for i, (used, limit) in enumerate(zip(self.used, self.limits, strict=True))
            ],
            "tiles": [
                {"population": t.population, "box": [list(r) for r in t.box], "core": t.core} for t in self.tiles
            ],
        }

    def __rich__(self) -> RenderableType:
        """Show utilisation, populations and traffic as tables."""
        from rich.console import Group
        from rich.table import Table

        summary = Table(
            "resource", "used", "max", title=f"{self.target.title}: {self.cores} cores on {self.chip_count} chips"
        )
        for name, (used, most) in self.utilization.items():
            summary.add_row(
                name.replace("_", " "), f"{used:,}", "unlimited or unknown" if most is None else f"{most:,}"
            )
        populations = Table("population", "boxes", "cores", "neurons")
        for name in dict.fromkeys(t.population for t in self.tiles):
            tiles = [t for t in self.tiles if t.population == name]
            cores = sorted({t.core for t in tiles})
            populations.add_row(name, str(len(tiles)), _ranges(cores), f"{sum(volume(t.box) for t in tiles):,}")
        traffic = Table("spikes per inference", "measured" if self.measured else "one per neuron")
        for name, value in self.traffic.__dict__.items():
            traffic.add_row(name.replace("_", " "), f"{value:,.0f}")
        return Group(summary, populations, traffic)


def _ranges(numbers: list[int]) -> str:
    """Spell ascending integers as ranges: 0-3, 7."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)
