"""Cut a population into boxes that each fit one core: as few as possible, then with the least halo."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

from hw_targets.placement.boxes import Box, grid, volume, whole
from hw_targets.placement.footprint import connection_footprints, core_limits, footprint
from hw_targets.target import Target
from toolchain.netlist import Netlist, TargetError
from toolchain.netlist.shapes import Shape

#: What to do about one neuron that needs more of a resource than a core has.
FIXES = {
    "neurons": "choose a target whose cores hold more neurons",
    "synapse_bytes": "use fewer weight bits, or split the layer's inputs over two populations",
    "memory_bytes": "use fewer weight bits, or split the layer's inputs over two populations",
    "in_axons": "split the layer's inputs over two populations, or pool before it",
    "out_axons": "send to fewer cores: narrow the layers that this one feeds",
}


class CapacityError(TargetError):
    """A resource that one neuron, or the whole network, needs more of than the target has.

    Parameters
    ----------
    where, fix : str
        As in `AdafireError`.
    resource : str
    used, limit : int
    target : str
        The target's title.
    whole : bool
        Whether the whole population must fit one core, not one neuron of it.
    """

    def __init__(
        self, where: str, resource: str, used: int, limit: int, target: str, fix: str, *, whole: bool = False
    ) -> None:
        self.resource, self.used, self.limit, self.target, self.whole = resource, used, limit, target, whole
        what = "the network" if where == "netlist" else "the layer" if whole else "one neuron"
        has = target if where == "netlist" else f"a core of {target}"
        super().__init__(where, f"{what} takes {used:,} {resource}, {has} has {limit:,}", fix)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the constructor's arguments."""
        arguments = (self.where, self.resource, self.used, self.limit, self.target, self.fix or "")
        return partial(type(self), whole=self.whole), arguments


def excess(used: Mapping[str, int], target: Target) -> tuple[str, int, int] | None:
    """Return (resource, used, limit) of the resource that is furthest over its limit, if any is."""
    over = [
        (name, used[name], limit) for name, limit in core_limits(target).items() if limit and used.get(name, 0) > limit
    ]
    return max(over, key=lambda o: o[1] / o[2]) if over else None


def _blocks(n: int) -> list[int]:
    """Return the block sizes that each cut an axis of n into another number of parts, longest first."""
    return sorted({-(-n // parts) for parts in range(1, n + 1)}, reverse=True)


def _candidates(shape: Shape) -> Iterator[tuple[int, Shape]]:
    """Yield (number of boxes, block) for every way to cut channels and space, fewest boxes first."""
    blocks = product(*(_blocks(n) for n in shape))
    counted = [(math.prod(-(-n // b) for n, b in zip(shape, block, strict=True)), block) for block in blocks]
    yield from sorted(counted, key=lambda c: (c[0], tuple(-b for b in c[1])))


def _inner(shape: Shape, block: Shape) -> Box:
    """Return a box of a cut that lies as far inside as any: it listens to the most sources."""
    return tuple(((k := (-(-n // b) - 1) // 2) * b, min((k + 1) * b, n)) for n, b in zip(shape, block, strict=True))


def split(netlist: Netlist, target: Target, name: str, at_least: int = 1) -> tuple[Box, ...]:
    """Cut a population into boxes of which each fits a core of the target.

    Parameters
    ----------
    netlist : Netlist
    target : Target
    name : str
    at_least : int
        Least number of boxes.

    Returns
    -------
    tuple of Box
        They cover the population without overlap.

    Raises
    ------
    CapacityError
        When one neuron alone needs more of a resource than a core has.
    """
    shape = netlist[name].shape
    one = tuple((n // 2, n // 2 + 1) for n in shape)
    over = excess(footprint(netlist, target, name, one), target)
    if over is not None:
        resource, used, limit = over
        raise CapacityError(name, resource, used, limit, target.title, FIXES[resource])
    best: tuple[int, int, Shape] | None = None
    for count, block in _candidates(shape):
        if best is not None and count > best[0]:
            break
        if count < min(at_least, volume(whole(shape))) or excess(_estimate(netlist, target, name, block), target):
            continue
        if any(excess(footprint(netlist, target, name, box), target) for box in grid(shape, block)):
            continue
        halo = count * _halo(netlist, name, _inner(shape, block))
        if best is None or halo < best[1]:
            best = (count, halo, block)
    if best is None:
        raise TargetError(name, f"no cut of {shape} fits the cores of {target.title}", "narrow the layer")
    return tuple(grid(shape, best[2]))


def _estimate(netlist: Netlist, target: Target, name: str, block: Shape) -> dict[str, int]:
    """Return what an inner box takes: rules most cuts out before every box is looked at."""
    return footprint(netlist, target, name, _inner(netlist[name].shape, block))


def _halo(netlist: Netlist, name: str, box: Box) -> int:
    """Count the source neurons that a box listens to, over all connections."""
    return sum(volume(c.sources(box)) for c in connection_footprints(netlist)[name])
