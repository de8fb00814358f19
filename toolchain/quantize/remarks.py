"""What happened to some of a layer's numbers, counted; over a network, each kind of it is one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: Layers that a line names.
_NAMED = 5


@dataclass(frozen=True)
class Remark:
    """Numbers of one layer that something was done to.

    Parameters
    ----------
    where : str
        The layer.
    what : str
        What numbers they are and what was done: "biases rounded to the target's field".
    count, of : int
        How many, of how many there are.
    most : float, optional
        By how much at most.
    """

    where: str
    what: str
    count: int
    of: int
    most: float | None = None


def summed_up(remarks: Iterable[Remark]) -> Iterator[str]:
    """Say every kind of remark in one line, with all layers counted and some of them named, in their order."""
    kinds: dict[str, list[Remark]] = {}
    for remark in remarks:
        kinds.setdefault(remark.what, []).append(remark)
    for what, found in kinds.items():
        said = f"{sum(r.count for r in found)} of {sum(r.of for r in found)} {what}"
        worst = [r.most for r in found if r.most is not None]
        most = f", by at most {max(worst):g}" if worst else ""
        if len(found) == 1:
            yield f"{found[0].where}: {said}{most}"
        else:
            named = ", ".join(f"{r.where} ({r.count})" for r in found[:_NAMED])
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            yield f"in {len(found)} layers, {said}{most}: {named}{more}"
