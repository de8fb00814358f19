"""Does the target hold what was made for it? What no rounding mends is said at once, not by the next command."""

from __future__ import annotations

from collections.abc import Iterator

from hw_targets.rules import CheckReport, check
from hw_targets.target import Target
from toolchain.netlist import AdafireError, Netlist

#: Violations that a note names; `adafire check` names all.
_NAMED = 3


def fit_notes(netlist: Netlist, target: Target | None) -> Iterator[str]:
    """Say what of a netlist its target does not hold; nothing where all fits.

    Parameters
    ----------
    netlist : Netlist
        Made for the target. Of rates on binary spikes, it counts whether it fits with its bursts unrolled.
    target : Target or None
    """
    if target is None or (report := check(netlist, target)).passed:
        return
    if not target.binary or netlist.radix is not None:
        yield f"{target.name} does not hold it: {_named(report)}"
        return
    try:
        report = check(netlist, target, unroll=True)
    except AdafireError as error:
        yield f"{target.name} does not hold it, nor with bursts unrolled: {error}"
        return
    if report.passed:
        yield f"{target.name} holds it with bursts unrolled: `adafire check --unroll`, and place alike"
    else:
        yield f"{target.name} does not hold it, nor with bursts unrolled: {_named(report)}"


def _named(report: CheckReport) -> str:
    said = [f"{v.rule} in {v.where} ({v.actual} found, {v.limit} held)" for v in report.violations]
    more = len(said) - _NAMED
    return f"{'; '.join(said[:_NAMED])}{f' and {more} more' if more > 0 else ''}; `adafire check` says what to do"
