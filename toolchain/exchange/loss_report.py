"""What a file in another format cannot carry, and what others will compute from it instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from toolchain.display import Displayed
from toolchain.exchange.real_network import Moved, RealNetwork
from toolchain.netlist import Netlist, UnsupportedError


@dataclass(frozen=True)
class Loss:
    """One difference between the network and what the file says of it.

    Parameters
    ----------
    where : str
        Population, connection or node; "graph" for all of it.
    reader : str
        Who is concerned: "NIR" (the standard has no place for it), or the name of an importer.
    what : str
    """

    where: str
    reader: str
    what: str


@dataclass(frozen=True)
class LossReport(Displayed):
    """What an export or an import lost.

    Parameters
    ----------
    format : str
        The profile that was written or read.
    losses : tuple of Loss
    """

    format: str
    losses: tuple[Loss, ...]

    @property
    def is_lossless(self) -> bool:
        """Whether every reader of the standard computes the same."""
        return not self.losses

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "format": self.format,
            "lossless": self.is_lossless,
            "losses": [{"where": loss.where, "reader": loss.reader, "what": loss.what} for loss in self.losses],
        }

    def __rich__(self) -> RenderableType:
        """Return the losses as a table for a terminal."""
        if self.is_lossless:
            return f"{self.format}: nothing is lost"
        table = Table("where", "reader", "what", title=f"{self.format}: {len(self.losses)} notes", title_justify="left")
        for loss in self.losses:
            table.add_row(loss.where, loss.reader, loss.what)
        return table


def refuse_digits(netlist: Netlist, to: str) -> None:
    """Raise where bursts are digits, for formats whose neurons know no place value.

    Raises
    ------
    UnsupportedError
    """
    if netlist.radix is not None:
        raise UnsupportedError(
            "netlist",
            f"digits in base {netlist.radix.base} found: no neuron of {to} multiplies its potential, or fires once "
            f"in {netlist.radix.digits} timesteps and sends for as many",
            "export a netlist of rates, or keep the .h5",
        )


@dataclass(frozen=True, eq=False)
class Imported:
    """A netlist, and what was lost or assumed on the way.

    Parameters
    ----------
    netlist : Netlist
    report : LossReport
    real : RealNetwork or None
        The network before rounding, where spikes tell how much that moved.
    moved : tuple of Moved
        How many spikes of each layer that were, where it was measured (`measure_moved`).
    """

    netlist: Netlist
    report: LossReport
    real: RealNetwork | None = None
    moved: tuple[Moved, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the netlist's hash, the report and what was moved as JSON values."""
        return {
            "hash": self.netlist.content_hash,
            **self.report.to_json(),
            "moved": [m.to_json() for m in self.moved],
        }
