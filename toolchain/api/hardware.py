"""Whether a netlist fits a chip, and where it goes."""

from __future__ import annotations

from hw_targets.catalogue import Catalogue
from hw_targets.placement import Placement
from hw_targets.placement import place as place_netlist
from hw_targets.rules import CheckReport
from hw_targets.rules import check as check_netlist
from hw_targets.target import Target, load_target
from toolchain.api.arguments import dataset, target_of
from toolchain.doors import Data
from toolchain.evaluate import measure_traffic
from toolchain.netlist import Netlist


def check(netlist: Netlist, target: str | Target, *, unroll: bool = False) -> CheckReport:
    """Check a netlist against a hardware target's design rules.

    Parameters
    ----------
    netlist : Netlist
    target : str or Target
        A name of `targets`, or the path of a target file.
    unroll : bool
        With bursts unrolled to binary spikes.

    Raises
    ------
    InputError
        When there is no such target.
    """
    return check_netlist(netlist, target_of(target), unroll=unroll)


def place(
    netlist: Netlist, target: str | Target, *, unroll: bool = False, data: Data | None = None, limit: int = 16
) -> Placement:
    """Place a netlist on the cores and chips of a hardware target.

    Parameters
    ----------
    netlist : Netlist
    target : str or Target
    unroll : bool
        With bursts unrolled to binary spikes.
    data : Dataset, path, ndarray or iterable, optional
        Samples to weigh traffic with measured spikes.
    limit : int
        Use the first of them only.

    Raises
    ------
    InputError
        When there is no such target, or the data do not fit.
    TargetError
        When the netlist does not fit.
    """
    traffic = None if data is None else measure_traffic(netlist, dataset(data, limit=limit))
    return place_netlist(netlist, target_of(target), traffic, unroll=unroll)


def targets(name: str | None = None) -> Catalogue | Target:
    """List the hardware targets, or show one with the source of every number.

    Raises
    ------
    InputError
        When there is no such target.
    """
    return Catalogue() if name is None else load_target(name)
