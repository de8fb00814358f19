"""What a check found: every violation with its limit, margin and a fix, and how full the target is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolchain.display import Displayed

if TYPE_CHECKING:
    from rich.console import RenderableType

Number = int | float


@dataclass(frozen=True)
class Violation:
    """One number of a netlist that a target cannot hold.

    Parameters
    ----------
    rule : str
        Name of the rule's function.
    where : str
        Population, connection, or "netlist".
    limit : int or str
        What the target holds.
    actual : int or str
        What the netlist has.
    fix : str
        What would make it fit.
    """

    rule: str
    where: str
    limit: int | str
    actual: int | str
    fix: str

    @property
    def margin(self) -> int | None:
        """Limit less actual (negative), where both are numbers."""
        return self.limit - self.actual if isinstance(self.limit, int) and isinstance(self.actual, int) else None

    def to_json(self) -> dict[str, Any]:
        """Return rule, where, limit, actual, margin and fix."""
        keys = ("rule", "where", "limit", "actual", "margin", "fix")
        return {key: getattr(self, key) for key in keys}


@dataclass(frozen=True, eq=False)
class CheckReport(Displayed):
    """The result of checking a netlist against a target.

    Parameters
    ----------
    target : str
        The target's name.
    title : str
    netlist_hash : str
    unrolled : bool
        Whether the netlist was checked with its bursts unrolled.
    violations : tuple of Violation
        All of them; none when the netlist passes.
    utilization : mapping of str to (used, max)
        max is None where the target sets no limit or none is known.
    notes : tuple of str
        What was not checked, because no source states the number, and what else to know.
    """

    target: str
    title: str
    netlist_hash: str
    unrolled: bool
    violations: tuple[Violation, ...]
    utilization: Mapping[str, tuple[Number, Number | None]]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is violated."""
        return not self.violations

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "target": self.target,
            "netlist_hash": self.netlist_hash,
            "unrolled": self.unrolled,
            "passed": self.passed,
            "violations": [v.to_json() for v in self.violations],
            "utilization": {name: list(pair) for name, pair in self.utilization.items()},
            "notes": list(self.notes),
        }

    def __rich__(self) -> RenderableType:
        """Show violations, utilisation and notes."""
        from rich.console import Group
        from rich.table import Table

        verdict = "fits" if self.passed else f"does not fit: {len(self.violations)} violations"
        usage = Table(
            "resource", "used", "max", "share", title=f"{self.title}{', unrolled' * self.unrolled}: {verdict}"
        )
        for name, (used, most) in self.utilization.items():
            share = "" if not most else f"{100 * used / most:.0f} %"
            usage.add_row(name.replace("_", " "), f"{used:,}", "" if most is None else f"{most:,}", share)
        violations = Table("rule", "where", "limit", "actual", "fix", title="violations")
        for v in self.violations:
            violations.add_row(v.rule, v.where, str(v.limit), str(v.actual), v.fix)
        parts = [usage] if self.passed else [violations, usage]
        return Group(*parts, *(f"note: {note}" for note in self.notes))
