"""AdaFire: from a trained PyTorch network to an integer netlist proven equal on Lava.

The three jobs, each in a few lines::

    import toolchain as adafire

    netlist = adafire.to_netlist(model, "train.npz", normalize="cifar10")
    adafire.verify(netlist, adafire.dataset("test.npz", limit=16), "lava")
    adafire.price(netlist, "test.npz")

Names are loaded when they are first used: importing `toolchain.netlist` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolchain.jobs import dataset, price, run, to_netlist, write_report
    from toolchain.netlist.hdf5 import read_netlist, write_netlist
    from toolchain.summary import summarize
    from toolchain.verification import verify

_HOMES = {
    "dataset": "toolchain.jobs",
    "price": "toolchain.jobs",
    "read_netlist": "toolchain.netlist.hdf5",
    "run": "toolchain.jobs",
    "summarize": "toolchain.summary",
    "to_netlist": "toolchain.jobs",
    "verify": "toolchain.verification",
    "write_netlist": "toolchain.netlist.hdf5",
    "write_report": "toolchain.jobs",
}

__all__ = [
    "dataset",
    "price",
    "read_netlist",
    "run",
    "summarize",
    "to_netlist",
    "verify",
    "write_netlist",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
